"""What a run waits for before it touches anything. Reads only; engine and Airflow ask the same question."""

from __future__ import annotations

from collections.abc import Iterator

from node_rotation.errors import BlockedError, TransientError
from node_rotation.fitting import waits
from node_rotation.outcome import Blocked, Done, Waiting
from node_rotation.run import Run

LOOKS_APART = 15
"""So many times the shared look's seconds pass between two questions: what is waited for takes hours."""

Clearance = Done | Waiting | Blocked


def look(run: Run) -> Clearance:
    """Whether a run may begin: Done, what it waits for and until when, or what it can't begin for.

    :param run: its plan has at least one batch.
    """
    try:
        reasons = tuple(_window(run))
    except TransientError as error:
        return Waiting((str(error),), error.retry_after_s)
    except BlockedError as error:
        return error.blocked
    return Waiting(reasons, LOOKS_APART * run.settings.policy.poll) if reasons else Done("nothing is in its way")


def _window(run: Run) -> Iterator[str]:
    """Preparing belongs to the first batch: neither begins outside the window."""
    first = run.plan.batches[0]
    yield from waits(first, run.policy(first), run.clock.now())
