"""Carry out a plan outside Airflow: one loop over the batches, sleeping only through the clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from node_rotation.model import StepName
from node_rotation.outcome import Blocked
from node_rotation.run import Run
from node_rotation.steps.verify import Verdict


@dataclass(frozen=True, slots=True)
class BatchMoved:
    """A batch begins a step; ``step`` is None when it has passed, or with ``failed`` when it was given up."""

    at: float
    batch: str
    step: StepName | None
    failed: Blocked | None = None


@dataclass(frozen=True, slots=True)
class BatchWaits:
    """Why a batch does not move, said again only when it changes."""

    at: float
    batch: str
    step: StepName
    reasons: tuple[str, ...]
    since: float


@dataclass(frozen=True, slots=True)
class Note:
    """Anything else worth a line: prepared, healed, restored."""

    at: float
    text: str


Event = BatchMoved | BatchWaits | Note


@dataclass(frozen=True, slots=True)
class Result:
    """How a rotation ended.

    :param verdict: what verify found; None if nothing was touched.
    :param passed: names of the batches that passed.
    :param failed: what blocked each batch that did not.
    :param blocked: why the run as a whole stopped, e.g. the lock is another run's.
    """

    started_at: float
    ended_at: float
    passed: tuple[str, ...] = ()
    failed: tuple[tuple[str, Blocked], ...] = ()
    skipped: tuple[str, ...] = ()
    blocked: Blocked | None = None
    verdict: Verdict | None = None

    @property
    def ok(self) -> bool:
        """True if every batch passed and nothing is left behind."""
        return not self.failed and not self.skipped and self.blocked is None and (
            self.verdict is None or self.verdict.ok
        )


def rotate(run: Run, on_event: Callable[[Event], None] | None = None) -> Result:
    """Carry out a run's plan to its end; whatever happens, it ends with restore and verify.

    :param on_event: told what happens, for progress displays.
    """
    raise NotImplementedError
