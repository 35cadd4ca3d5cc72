"""What a look at the world says of a step: done, waiting, or blocked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DEFAULT_POLL_S = 2.0
REASON_LENGTH = 1000
"""So many characters of a reason are written down: an SSM parameter holds 4 KiB, a Lease's ledger 256 KiB."""
REFUSED_CALL = "A call was refused and would be again: correct what the message names, then start it again."
"""What to do about an error that nobody foresaw: no retry helps."""
CLEAR_BATCH = "clear the batch from its admit step."
"""What to do about a batch that was taken back, in Airflow: its other steps find nothing to go on with."""


@dataclass(frozen=True, slots=True)
class Done:
    """The step has reached what it is for.

    :param detail: one line for the log.
    """

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The step goes on by itself; somebody looks again.

    :param reasons: what it waits for, each naming its object (pod, budget, node, capacity text).
    :param poll_s: seconds until the next look is worth it.
    :param here: what goes on is a child of this process, or has to become one: a trigger can't wait for it.
    :param others_may_go: those behind it in the queue need not wait as well.
    :param refused: what it is blocked by, if the API server that refuses it does not soon let it in again.
    """

    reasons: tuple[str, ...]
    poll_s: float = DEFAULT_POLL_S
    here: bool = False
    others_may_go: bool = False
    refused: Blocked | None = None


@dataclass(frozen=True, slots=True)
class Blocked:
    """The step can't go on until somebody does something.

    :param reason: what happened, one sentence.
    :param objects: what it happened to, e.g. ``("pod shop/api-1", "pdb shop/api")``.
    :param remedy: what to do about it, one sentence.
    :param image_fault: True if the cause lies in the new image (never joined, NotReady, what fails
        on new nodes without a cause of its own).
    """

    reason: str
    objects: tuple[str, ...] = ()
    remedy: str = ""
    image_fault: bool = False

    def __str__(self) -> str:
        """One line for a person."""
        objects = f" ({', '.join(self.objects)})" if self.objects else ""
        remedy = f" Remedy: {self.remedy}" if self.remedy else ""
        return f"{self.reason.removesuffix('.')}{objects}.{remedy}"


Outcome = Done | Waiting | Blocked


def too_long(step: str, subject: str, waits_for: Sequence[str]) -> Blocked:
    """What a step whose time is up was blocked by, in the same words wherever it ran.

    :param subject: what it worked on, e.g. ``batch workers/1``.
    :param waits_for: the reasons for which it still waits.
    """
    return Blocked(
        f"{step} took too long: {'; '.join(waits_for)}",
        (subject,),
        "See to what it waits for, then start it again: it goes on with what is left.",
    )
