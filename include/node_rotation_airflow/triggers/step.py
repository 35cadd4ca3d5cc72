"""The one trigger that all steps wait in: act, look, wait, until done, blocked, or out of time."""

from __future__ import annotations

from asyncio import sleep
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from node_rotation.errors import PermanentError
from node_rotation.outcome import Blocked, Done, Waiting
from node_rotation.patience import Patience
from node_rotation_airflow import deeds
from node_rotation_airflow.documents import Cause
from node_rotation_airflow.narrator import Narrator
from node_rotation_airflow.triggers.base import RotationTrigger, event
from node_rotation_airflow.triggers.comms import in_thread, the_run

DONE = "done"
FAILED = "failed"
DEADLINE = "deadline"
WORKER = "worker"
"""What is left to do can only be done in a worker."""
MIN_POLL_S = 0.2


class StepTrigger(RotationTrigger):
    """Repeats one deed. Safe to run twice, and beside a new attempt's: every deed is.

    Ends the task by itself when the deed is done; else a worker says why it failed.

    :param deed: a key of ``deeds.DEEDS``.
    :param subject: the name of its batch or node group.
    :param plan_id: the plan the task began with.
    :param deadline: epoch seconds; absolute, for a restarted trigger begins anew.
    :param began: epoch seconds; when the task's first attempt began.
    :param resume: end in a worker even when done, so that the task can say more.
    """

    def __init__(
        self, deed: str, subject: str, plan_id: str, deadline: float, began: float, resume: bool = False
    ) -> None:
        super().__init__()
        self.deed, self.subject, self.plan_id = deed, subject, plan_id
        self.deadline, self.began, self.resume = deadline, began, resume

    def kwargs(self) -> dict[str, Any]:
        """What makes it again."""
        always = {
            "deed": self.deed,
            "subject": self.subject,
            "plan_id": self.plan_id,
            "deadline": self.deadline,
            "began": self.began,
        }
        return {**always, "resume": True} if self.resume else always

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Repeat until there is something to say."""
        run = await the_run(self.ti, self.plan_id)
        cluster, narrator, patience = run.settings.name, Narrator(self.log.info), Patience()
        while True:
            left_s = self.deadline - run.clock.now()
            try:
                outcome = await in_thread(cluster, deeds.attempt, self.deed, run, self.subject, left_s)
            except PermanentError as error:
                outcome = deeds.refused(self.deed, self.subject, error)
            now = run.clock.now()
            outcome = patience.spent(outcome, now) or outcome
            if isinstance(outcome, Done):
                self.log.info("%s of %s is done. %s", self.deed, self.subject, outcome.detail)
                span = await in_thread(cluster, deeds.spanned, run, self.deed, self.subject, self.began, now)
                done = {"status": DONE, "span": span.dump()}
                yield event(done) if self.resume else TaskSuccessEvent(xcoms={"return_value": span.dump()})
                return
            if isinstance(outcome, Blocked):
                yield event({"status": FAILED, **Cause.of(outcome).dump()})
                return
            narrator.waits(outcome.reasons, now)
            if outcome.here:
                yield event({"status": WORKER})
                return
            if now >= self.deadline:
                said = {"reason": "; ".join(narrator.open()), "waits_for": list(outcome.reasons)}
                yield event({"status": DEADLINE, **said})
                return
            await sleep(_pause(outcome, self.deadline - now))


def _pause(outcome: Waiting, left_s: float) -> float:
    return max(MIN_POLL_S, min(outcome.poll_s, left_s))
