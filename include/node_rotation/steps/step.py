"""What a step is: an ``act`` that may be repeated by two actors at once, and a ``look`` that only reads."""

from __future__ import annotations

from typing import Protocol

from node_rotation.model import Batch, StepName
from node_rotation.outcome import Outcome
from node_rotation.run import Run

MARGIN_S = 120.0
"""Whoever drives a step gives up so much later than the step itself would."""


class Step(Protocol):
    """One step of a batch."""

    @property
    def name(self) -> StepName:
        """Its name."""
        ...

    def act(self, run: Run, batch: Batch) -> Outcome | None:
        """Do what may be done now; nothing when it is done. Idempotent, safe with two actors.

        :returns: what a look would say now, where that is known because nothing was changed; else None.
        :raises RotationError: the classes of ``errors``.
        """
        ...

    def look(self, run: Run, batch: Batch) -> Outcome:
        """Say whether it is done, what it waits for, or what blocks it. Reads only."""
        ...

    def timeout_s(self, run: Run, batch: Batch) -> float:
        """Seconds after which whoever drives the step gives up, later than the step's own Blocked."""
        ...
