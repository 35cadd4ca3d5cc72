"""Admission: starts and ends in the triggerer, however long a batch waits for its turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from airflow.triggers.base import (
    BaseTrigger,
    TaskFailedEvent,
    TaskSkippedEvent,
    TaskSuccessEvent,
    TriggerEvent,
)

from node_rotation.errors import PermanentError
from node_rotation.model import Plan, StepName
from node_rotation.outcome import Blocked, Done, Outcome, Waiting
from node_rotation.policy import OnGateFailure
from node_rotation.run import Run
from node_rotation_airflow import deeds
from node_rotation_airflow.narrator import Narrator
from node_rotation_airflow.triggers.comms import in_thread, states, the_run

BAD = frozenset({"failed", "upstream_failed", "skipped", "removed"})
AWAY = Waiting(("Airflow's API server, to learn how earlier batches fare",), 5.0)


def earlier_failure(plan: Plan, index: int, gates: Mapping[int, str | None]) -> str:
    """The name of the first earlier batch whose gate did not pass, as Airflow knows it; "" if there is none.

    The ledger knows the slots; that a batch was marked, skipped, or failed before it had any, only Airflow knows.

    :param index: the asking batch's map index.
    :param gates: state of the gate task by map index.
    """
    return next((plan.batches[i].name for i in range(index) if gates.get(i) in BAD), "")


class AdmitTrigger(BaseTrigger):
    """Waits until its batch may start.

    :param gate_task_id: the task whose states give order and hold.
    """

    def __init__(self, gate_task_id: str) -> None:
        super().__init__()
        self.gate_task_id = gate_task_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What makes it again."""
        return f"{type(self).__module__}.{type(self).__name__}", {"gate_task_id": self.gate_task_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask until admitted or refused."""
        ti = self.task_instance
        if ti is None:
            raise RuntimeError("a batch waits only as a task of a run")
        run = await the_run(ti)
        batch = run.plan.batches[ti.map_index]
        how = run.policy(batch).gate.on_failure
        narrator = Narrator(self.log.info)
        while True:
            gates = await states(ti, self.gate_task_id, run.settings.policy.poll * 0.8)
            failure = earlier_failure(run.plan, ti.map_index, gates or {})
            outcome = _held(failure, how) if failure else AWAY if gates is None else await _ask(run, batch.name)
            if isinstance(outcome, Done):
                self.log.info("%s is admitted. %s", batch.name, outcome.detail)
                yield TaskSuccessEvent()
                return
            if isinstance(outcome, Blocked):
                self.log.error("%s is not admitted: %s", batch.name, outcome)
                yield TaskSkippedEvent() if how is OnGateFailure.SKIP else TaskFailedEvent()
                return
            narrator.waits(outcome.reasons, time.time())
            await asyncio.sleep(outcome.poll_s)


def _held(failure: str, how: OnGateFailure) -> Outcome:
    if how is OnGateFailure.HOLD:
        return Waiting((f"the gate of {failure} to pass: clear its task {StepName.GATE} once it can",))
    return Blocked(f"{failure} did not pass its gate", (f"batch {failure}",))


async def _ask(run: Run, batch: str) -> Outcome:
    try:
        return await in_thread(deeds.attempt, StepName.ADMIT.value, run, batch)
    except PermanentError as error:
        return Blocked(str(error))
