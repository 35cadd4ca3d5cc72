"""Approval on a terminal, by ``--yes``, and where there is nobody to ask."""

from __future__ import annotations

import getpass
import io
from typing import Any

import pytest
from tests.node_rotation.cli.conftest import Cli

from node_rotation.testing.world import MemoryWorld

ASKED = ("--set", "approval.required=true")


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have a person on the terminal who answers."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    return lambda text: monkeypatch.setattr("sys.stdin", Terminal(text))


def test_without_a_terminal_it_ends_blocked_and_touches_nothing(cli: Cli, name: str, world: MemoryWorld) -> None:
    ran = cli("rotate", name, *ASKED)
    assert ran.code == 3
    assert "needs approval: dev asks for every rotation" in ran.err
    assert "start again with --yes" in ran.err
    assert world.mutations == []


def test_yes_approves_and_the_document_says_who(cli: Cli, name: str, world: MemoryWorld) -> None:
    ran = cli("-o", "json", "rotate", name, "--yes", *ASKED)
    assert (ran.code, ran.document["approved_by"]) == (0, getpass.getuser())
    assert world.on_image("base-old") == ()


def test_a_person_approves(cli: Cli, name: str, world: MemoryWorld, answer: Any) -> None:
    answer("y\n")
    assert cli("rotate", name, *ASKED).code == 0
    assert world.on_image("base-old") == ()


def test_a_person_declines_after_having_seen_the_plan(cli: Cli, name: str, world: MemoryWorld, answer: Any) -> None:
    answer("n\n")
    ran = cli("rotate", name, *ASKED)
    assert (ran.code, "was not approved: nothing was touched" in ran.err) == (3, True)
    assert "6 machines in 6 batches" in ran.out
    assert world.mutations == []


def test_nobody_is_asked_below_the_blast_radius(cli: Cli, name: str) -> None:
    ran = cli("-o", "json", "rotate", name, "--set", "approval.above.share=6")
    assert (ran.code, ran.document["approved_by"]) == (0, None)
