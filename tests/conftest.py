"""For every run: the longest files begin first; and a run with a skipped test, which proves nothing, has failed."""

from __future__ import annotations

import pytest

SKIPPED = pytest.StashKey[list[str]]()
LONGEST = ("test_rotate_nodes", "test_promotion", "test_kops_pipeline", "test_pipelines", "test_demo", "test_laptop")
"""Begun last, one of these would be at work for ten minutes while the others' processes idle."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SKIPPED] = []
    config.pluginmanager.register(NothingSkipped(config.stash[SKIPPED]), "nothing-skipped")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, then what starts servers; the quick ones fill the gaps at the end."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    if item.path.parent.name == "e2e" and item.path.stem in LONGEST:
        return LONGEST.index(item.path.stem)
    return len(LONGEST) + (item.get_closest_marker("proving_ground") is None)


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
