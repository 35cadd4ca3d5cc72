"""A run that may not begin yet: no worker, however long, until nothing is in its way."""

from __future__ import annotations

from asyncio import sleep
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from airflow.triggers.base import TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent, TriggerEvent

from node_rotation.clearance.look import Superseded
from node_rotation.outcome import Blocked, Done
from node_rotation_airflow import newest
from node_rotation_airflow.clearing import ask
from node_rotation_airflow.constants import CAUSE_KEY, ENDED_KEY
from node_rotation_airflow.documents import Cause, Rotation
from node_rotation_airflow.narrator import Narrator
from node_rotation_airflow.triggers.base import RotationTrigger
from node_rotation_airflow.triggers.comms import in_thread, the_run


class ClearTrigger(RotationTrigger):
    """Asks until the run may begin, and ends the task by itself. It only reads: safe to run twice.

    :param plan_id: the plan the task began with.
    :param since: when the run was made, ISO 8601.
    """

    def __init__(self, plan_id: str, since: str) -> None:
        super().__init__()
        self.plan_id, self.since = plan_id, since

    def kwargs(self) -> dict[str, Any]:
        """What makes it again."""
        return {"plan_id": self.plan_id, "since": self.since}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask until there is an answer."""
        run = await the_run(self.ti, self.plan_id)
        rotation = Rotation(settings=run.settings, plan=run.plan)
        mine = newest.waiter(self.ti.run_id, datetime.fromisoformat(self.since), rotation)
        narrator = Narrator(self.log.info)
        while True:
            answer = await in_thread(run.settings.name, ask, run, mine)
            if isinstance(answer, Done):
                self.log.info("the run may begin: %s", answer.detail)
                yield TaskSuccessEvent()
                return
            if isinstance(answer, Superseded):
                self.log.info("superseded: %s", answer.reason)
                yield TaskSkippedEvent(xcoms={ENDED_KEY: f"superseded: {answer.reason}"})
                return
            if isinstance(answer, Blocked):
                self.log.error("the run can't begin: %s", answer)
                yield TaskFailedEvent(xcoms={CAUSE_KEY: Cause.of(answer).dump()})
                return
            narrator.waits(answer.reasons, run.clock.now())
            await sleep(answer.poll_s)
