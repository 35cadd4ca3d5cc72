"""docs/coverage.md names tests and benches: each is there and is run, none can be skipped; no row is silent."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "coverage.md").read_text()
TEST = re.compile(r"`(tests/[\w/.]+\.py)::(\w+)`")
BENCH = re.compile(r"`bench/(\w+)\.py`")
REPLACED = (
    "a node-rotation library",
    "the cloud provisioner's module for kops clusters",
    "a CLI for laptops and pipelines",
    "the kops pipeline",
    "the EKS pipeline",
    "kops' rolling update, EKS managed update, instance refresh, Karpenter drift",
)
SKIPPING = {"skip", "skipif", "xfail", "importorskip", "skipTest"}
NAMED = sorted(set(TEST.findall(DOCUMENT)))


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each row of each table, headings left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if not line.startswith("|---") and not following.startswith("|---"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


REPLACING, PEERS = DOCUMENT.split("## What users of its peers can expect")


@lru_cache
def module(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def function(path: str, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    found = [
        node
        for node in module(path).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
    ]
    return found[-1] if found else None


def skips(path: str) -> list[str]:
    """By what a module, or a conftest above it, could have a test not run or its failure not minded."""
    above = [folder / "conftest.py" for folder in Path(path).parents]
    files = [path, *(str(file) for file in above if (ROOT / file).is_file())]
    names = [
        found.attr if isinstance(found, ast.Attribute) else found.id
        for file in files
        for found in ast.walk(module(file))
        if isinstance(found, ast.Attribute | ast.Name)
    ]
    return [name for name in names if name in SKIPPING]


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_named_test_exists_and_is_always_run(path: str, name: str) -> None:
    assert name.startswith("test_")
    assert (ROOT / path).name.startswith("test_")
    assert (ROOT / path).is_file(), f"{path} does not exist"
    assert function(path, name) is not None, f"{path} has no test {name}"
    assert skips(path) == []


@pytest.mark.parametrize("name", sorted(set(BENCH.findall(DOCUMENT))))
def test_a_named_bench_is_run_by_make_bench_and_fails_by_its_exit_code(name: str) -> None:
    run = re.search(r"^BENCHES \?= ([\w ]+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert run, "the Makefile names no BENCHES"
    assert name in run[1].split()
    path = f"bench/{name}.py"
    returned = function(path, "main")
    assert returned is not None, f"{path} has no main"
    assert isinstance(returned.returns, ast.Name), f"main of {path} says no exit code"
    assert returned.returns.id == "int", f"main of {path} says no exit code"


def test_every_system_that_is_replaced_has_its_row() -> None:
    assert tuple(cells[0] for cells in rows(REPLACING)) == REPLACED


@pytest.mark.parametrize("cells", list(rows(REPLACING)), ids=lambda cells: cells[0])
def test_what_it_replaces_is_shown_end_to_end(cells: list[str]) -> None:
    """A bench may stand beside end-to-end tests, never instead of them; nothing of this table is missing any more."""
    tests = TEST.findall(cells[1])
    assert tests
    assert "not yet" not in cells[1]
    assert all(path.startswith("tests/e2e/") for path, _ in tests)


@pytest.mark.parametrize("cells", list(rows(PEERS)), ids=lambda cells: cells[0])
def test_a_feature_is_there_with_its_test_or_said_to_be_missing(cells: list[str]) -> None:
    feature, has, shown = cells
    assert has.split(" ")[0] in ("yes", "no", "not"), feature
    if has == "yes":
        assert TEST.search(shown), f"{feature}: no test shows it"
    elif has == "no":
        assert shown, f"{feature}: why not?"
    else:
        assert has.startswith("not yet"), feature
        assert not TEST.search(shown), f"{feature}: there is a test, so it is there"
