"""A run that may not begin yet: no worker, however long, until nothing is in its way."""

from __future__ import annotations

from asyncio import sleep
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import TaskFailedEvent, TaskSuccessEvent, TriggerEvent

from node_rotation.clearance import look
from node_rotation.outcome import Blocked, Done
from node_rotation_airflow.narrator import Narrator
from node_rotation_airflow.triggers.base import RotationTrigger
from node_rotation_airflow.triggers.comms import in_thread, the_run


class ClearTrigger(RotationTrigger):
    """Asks until the run may begin, and ends the task by itself. It only reads: safe to run twice.

    :param plan_id: the plan the task began with.
    """

    def __init__(self, plan_id: str) -> None:
        super().__init__()
        self.plan_id = plan_id

    def kwargs(self) -> dict[str, Any]:
        """What makes it again."""
        return {"plan_id": self.plan_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask until there is an answer."""
        run = await the_run(self.ti, self.plan_id)
        narrator = Narrator(self.log.info)
        while True:
            answer = await in_thread(look, run)
            if isinstance(answer, Done):
                self.log.info("the run may begin: %s", answer.detail)
                yield TaskSuccessEvent()
                return
            if isinstance(answer, Blocked):
                self.log.error("the run can't begin: %s", answer)
                yield TaskFailedEvent()
                return
            narrator.waits(answer.reasons, run.clock.now())
            await sleep(answer.poll_s)
