"""For every run: the longest begin first, who shares a ground shares a process, and a skipped test is a failed run."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

SKIPPED = pytest.StashKey[list[str]]()
LONGEST = (
    "tests/e2e/test_rotate_nodes",
    "tests/e2e/test_promotion",
    "tests/e2e/pipelines/",
    "tests/node_rotation/contract/",
    "tests/e2e/test_demo",
    "tests/e2e/test_laptop",
)
"""Begun last, one of these would be at work for ten minutes while the others' processes idle."""
ONE_GROUND = ("tests/node_rotation/contract/", "tests/e2e/kops/", "tests/e2e/pipelines/")
"""Packages whose tests share a proving ground: each process more would start one more."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SKIPPED] = []
    config.pluginmanager.register(NothingSkipped(config.stash[SKIPPED]), "nothing-skipped")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, then what starts servers; the quick ones fill the gaps at the end."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    begun = [rank for rank, path in enumerate(LONGEST) if item.nodeid.startswith(path)]
    return begun[0] if begun else len(LONGEST) + (item.get_closest_marker("proving_ground") is None)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    return GroundScheduling(config, log)


class GroundScheduling(LoadFileScheduling):
    """Gives a process whole files, as ``--dist loadfile`` does, and together those that share a ground."""

    def _split_scope(self, nodeid: str) -> str:
        shared = [package for package in ONE_GROUND if nodeid.startswith(package)]
        return shared[0] if shared else str(super()._split_scope(nodeid))


class NothingSkipped:
    """Listens on the process that reports: with several workers, on the one that hears of all their tests."""

    def __init__(self, skipped: list[str]) -> None:
        self.skipped = skipped

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self.skipped.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.skipped.append(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.skipped and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for name in self.skipped:
            terminalreporter.write_line(f"skipped, which counts as failed here: {name}", red=True)
