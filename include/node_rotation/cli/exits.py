"""Exit codes, and what makes them; docs/cli.md has the table."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from enum import IntEnum

from node_rotation.blockers import in_the_way, reasons
from node_rotation.cli.failures import TRY_AGAIN
from node_rotation.cli.interrupted import MidwayError
from node_rotation.engine import Result
from node_rotation.errors import BlockedError, RotationError, TransientError
from node_rotation.model import Blocker, GroupDrift, Plan


class ExitCode(IntEnum):
    """What a command's exit code says to a pipeline."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> ExitCode:
        """Keep the meaning beside the number."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    OK = 0, "nothing to do, or done"
    ERROR = 1, "something went wrong: one message on stderr says what, where and what to do"
    FOUND = 2, "drift found, the plan is not empty, or a maintenance window closed before all was done"
    BLOCKED = 3, "blocked until somebody does something: the object and the remedy are named"
    HUNG_UP = 129, "as 130, by SIGHUP: the connection to the terminal was lost"
    INTERRUPTED = (
        130,
        "interrupted by Ctrl-C: a rotation before its plan is carried out or while it gives everything back, "
        "any other command at any time",
    )
    TERMINATED = 143, "as 130, by SIGTERM: a job was cancelled, a pod or a service stopped"


def of_drift(clusters: Iterable[Sequence[GroupDrift]]) -> ExitCode:
    """What a drift check's findings exit with.

    :param clusters: of each cluster that was looked at the findings of its groups.
    """
    found = [(drifts, {drift.group for drift in drifts if drift.drifted}) for drifts in clusters]
    if any(in_the_way(reasons(drifts), drifted) for drifts, drifted in found):
        return ExitCode.BLOCKED
    return ExitCode.FOUND if any(drifted for _, drifted in found) else ExitCode.OK


def of_plan(plan: Plan) -> ExitCode:
    """What making a plan exits with.

    :param plan: the plan as it was made.
    """
    if plan.blockers:
        return ExitCode.BLOCKED
    return ExitCode.FOUND if plan.batches else ExitCode.OK


def of_result(result: Result) -> ExitCode:
    """What a rotation exits with; one that was superseded did nothing wrong.

    :param result: how it ended.
    """
    if result.ok or result.not_begun:
        return ExitCode.OK
    if result.blocked or result.failed:
        return ExitCode.BLOCKED
    verdict = result.verdict
    left = verdict is not None and (verdict.orphans or verdict.residue or verdict.problems)
    return ExitCode.FOUND if result.postponed and not left else ExitCode.ERROR


_OF_SIGNALS = {signal.SIGHUP: ExitCode.HUNG_UP, signal.SIGTERM: ExitCode.TERMINATED}


def of_signals(heard: Sequence[signal.Signals]) -> ExitCode:
    """What an interrupted command exits with, as shells have it: 128 and the number of the first signal.

    :param heard: those that came; none is Ctrl-C.
    """
    return _OF_SIGNALS[heard[0]] if heard else ExitCode.INTERRUPTED


def of_error(error: RotationError, heard: Sequence[signal.Signals] = ()) -> tuple[ExitCode, str]:
    """The exit code and the one message for an error of ours.

    :param error: what was raised.
    :param heard: as :func:`of_signals` takes it.
    """
    if isinstance(error, MidwayError):
        return of_signals(heard), str(error)
    if isinstance(error, BlockedError):
        return ExitCode.BLOCKED, str(error)
    if isinstance(error, TransientError):
        end = "" if str(error).endswith((".", "?")) else "."
        return ExitCode.ERROR, f"{error}{end} {TRY_AGAIN}"
    return ExitCode.ERROR, str(error)


def say_blocker(blocker: Blocker) -> str:
    """One line for a person, objects and remedy included.

    :param blocker: what stands in a plan's way.
    """
    objects = f" ({', '.join(blocker.objects)})" if blocker.objects else ""
    remedy = f" Remedy: {blocker.remedy}" if blocker.remedy else ""
    return f"{blocker.reason.rstrip('.')}{objects}.{remedy}"
