"""Admission of a batch that has to wait: no worker, however long, until its turn has come."""

from __future__ import annotations

from asyncio import sleep
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Set
from contextlib import contextmanager
from typing import Any

from airflow.triggers.base import (
    TaskFailedEvent,
    TaskSkippedEvent,
    TaskSuccessEvent,
    TriggerEvent,
)

from node_rotation.admission import Refuse
from node_rotation.outcome import Done
from node_rotation.patience import Patience
from node_rotation.run import Run
from node_rotation_airflow.admission import ask, blocked_by, refusal_of
from node_rotation_airflow.constants import CAUSE_KEY, POSTPONED_KEY
from node_rotation_airflow.documents import Cause, Postponed
from node_rotation_airflow.narrator import Narrator
from node_rotation_airflow.triggers.base import RotationTrigger
from node_rotation_airflow.triggers.comms import in_thread, states, the_run

NEAR = 8
"""So many of a run's waiting batches ask at every poll; who stands further back asks half as often."""

_queues: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
"""Map indices that wait in this process, by DAG and run id; only for how often they ask."""


@contextmanager
def _queued(key: tuple[str, str], index: int) -> Iterator[set[int]]:
    queue = _queues[key]
    queue.add(index)
    try:
        yield queue
    finally:
        queue.discard(index)
        if not queue:
            _queues.pop(key, None)


class AdmitTrigger(RotationTrigger):
    """Waits until its batch may start, and ends the task by itself.

    :param gate_task_id: the task whose states give order and hold.
    :param plan_id: the plan the task began with.
    """

    def __init__(self, gate_task_id: str, plan_id: str) -> None:
        super().__init__()
        self.gate_task_id, self.plan_id = gate_task_id, plan_id

    def kwargs(self) -> dict[str, Any]:
        """What makes it again."""
        return {"gate_task_id": self.gate_task_id, "plan_id": self.plan_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask until admitted or refused."""
        run = await the_run(self.ti, self.plan_id)
        index = self.ti.map_index or 0
        with _queued((self.ti.dag_id, self.ti.run_id), index) as queue:
            yield await self._turn(run, index, queue)

    async def _turn(self, run: Run, index: int, queue: Set[int]) -> TriggerEvent:
        name = run.plan.batches[index].name
        narrator, patience = Narrator(self.log.info), Patience()
        while True:
            gates = await states(self.ti, self.gate_task_id, run.settings.policy.poll * 0.8)
            answer = await in_thread(run.settings.name, ask, run, index, gates)
            if blocked := patience.spent(answer, run.clock.now()):
                answer = blocked_by(blocked)
            if isinstance(answer, Done):
                self.log.info("%s is admitted. %s", name, answer.detail)
                return TaskSuccessEvent()
            if isinstance(answer, Refuse):
                return self._refused(name, answer)
            narrator.waits(answer.reasons, run.clock.now())
            ahead = sum(other < index for other in queue)
            await sleep(answer.poll_s if ahead < NEAR else 2 * answer.poll_s)

    def _refused(self, name: str, answer: Refuse) -> TriggerEvent:
        self.log.error("%s is not admitted: %s", name, answer.reason)
        if answer.how == "later":
            left = Postponed(batch=name, reason=answer.reason)
            return TaskSkippedEvent(xcoms={POSTPONED_KEY: left.dump()})
        if answer.how == "skip":
            return TaskSkippedEvent()
        return TaskFailedEvent(xcoms={CAUSE_KEY: Cause.of(refusal_of(name, answer)).dump()})
