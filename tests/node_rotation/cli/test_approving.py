"""Approval on a terminal, by ``--yes``, and where there is nobody to ask."""

from __future__ import annotations

import getpass
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
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


@pytest.fixture
def late_answer(world: MemoryWorld, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have a person on the terminal who says yes after so many seconds."""

    class Terminal(io.StringIO):
        after: float

        def isatty(self) -> bool:
            return True

        def readline(self, size: int | None = -1, /) -> str:
            world.clock.wait(self.after)
            return super().readline(-1 if size is None else size)

    def sits(after: float) -> None:
        terminal = Terminal("y\n")
        terminal.after = after
        monkeypatch.setattr("sys.stdin", terminal)

    return sits


def test_an_answer_that_comes_too_late_approves_nothing(
    cli: Cli, name: str, world: MemoryWorld, late_answer: Any
) -> None:
    late_answer(3600.0 + 1.0)
    ran = cli("rotate", name, *ASKED, "--set", "approval.timeout=1h")
    assert ran.code == 3
    assert "was approved too late" in ran.err
    assert "approval.timeout" in ran.err
    assert "nothing was touched" in ran.err
    assert world.mutations == []


def test_one_in_the_last_minute_does(cli: Cli, name: str, world: MemoryWorld, late_answer: Any) -> None:
    late_answer(3600.0 - 60.0)
    ran = cli("rotate", name, *ASKED, "--set", "approval.timeout=1h")
    assert ran.code == 0
    assert "until 20" in ran.out
    assert world.on_image("base-old") == ()


def test_nobody_is_asked_below_the_blast_radius(cli: Cli, name: str) -> None:
    ran = cli("-o", "json", "rotate", name, "--set", "approval.above.share=6")
    assert (ran.code, ran.document["approved_by"]) == (0, None)


@pytest.fixture
def careful(fleet_file: Path) -> None:
    """The environment asks for approval above a quarter of the machines."""
    data = yaml.safe_load(fleet_file.read_text())
    data["environments"][0]["policy"] = {"approval": {"above": {"share": "25%"}}}
    fleet_file.write_text(yaml.safe_dump(data))


@pytest.mark.parametrize("given", ["approval.above.share=100%", "approval={above: {share: null}}"])
@pytest.mark.parametrize("command", ["drift", "plan", "rotate", "drain"])
@pytest.mark.usefixtures("careful")
def test_who_starts_a_run_can_not_have_it_ask_nobody(
    cli: Cli, name: str, world: MemoryWorld, given: str, command: str
) -> None:
    node = world.cluster.nodes()[0].name
    ran = cli(command, node if command == "drain" else name, "--set", given)
    assert (ran.code, ran.out) == (1, "")
    assert "run parameters: approval.above.share: the policy of dev.dev says 25%, this run" in ran.err
    assert "--yes" in ran.err
    assert world.mutations == []


@pytest.mark.parametrize("edit", [{"cluster_machines": 1000}, {"role": "control-plane"}])
@pytest.mark.usefixtures("careful")
def test_nor_can_an_edited_plan(cli: Cli, name: str, world: MemoryWorld, tmp_path: Path, edit: dict[str, Any]) -> None:
    plan = cli("-o", "json", "plan", name).document
    place = plan["groups"][0] if "role" in edit else plan
    place.update(edit)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan))
    ran = cli("rotate", name, "--plan", str(path))
    said = (
        "6 of 6 machines are replaced, more than 25%"
        if "role" not in edit
        else "the role of group workers is worker, planned was control-plane"
    )
    assert ran.code == 3
    assert said in ran.err
    assert world.mutations == []
