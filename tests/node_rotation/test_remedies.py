"""Whoever is stopped is told what to do: every blocker and every complaint in the sources brings a remedy."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

INCLUDE = Path(__file__).parents[2] / "include"
SHIPPED = ("node_rotation", "node_rotation_airflow")
PLACE = {"Blocker": 2, "Blocked": 2, "BadInputError": 2}
"""What stops somebody, and the place of its remedy among its arguments."""


def made(root: Path) -> Iterator[tuple[str, ast.Call]]:
    for file in sorted(root.rglob("*.py")):
        if "testing" in file.relative_to(root).parts:  # the in-memory world answers as AWS and Kubernetes do
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in PLACE:
                yield f"{file.relative_to(root)}:{node.lineno}", node


def remedy(call: ast.Call) -> ast.expr | None:
    """The argument that is the remedy; all arguments in one (``*parts``) count as it."""
    named = next((k.value for k in call.keywords if k.arg == "remedy"), None)
    starred = next((a for a in call.args if isinstance(a, ast.Starred)), None)
    place = PLACE[call.func.id] if isinstance(call.func, ast.Name) else len(call.args)
    return named or starred or (call.args[place] if len(call.args) > place else None)


@pytest.mark.parametrize("package", SHIPPED)
def test_nobody_is_stopped_without_being_told_what_to_do(package: str) -> None:
    found = list(made(INCLUDE / package))
    assert found
    given = [(where, remedy(call)) for where, call in found]
    without = [where for where, said in given if said is None or (isinstance(said, ast.Constant) and not said.value)]
    assert without == []
