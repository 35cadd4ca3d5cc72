"""Admission: starts and ends in the triggerer, however long a batch waits for its turn."""

from __future__ import annotations

from asyncio import sleep
from collections.abc import AsyncIterator, Mapping
from typing import Any

from airflow.triggers.base import (
    TaskFailedEvent,
    TaskSkippedEvent,
    TaskSuccessEvent,
    TriggerEvent,
)

from node_rotation.admission import Refuse
from node_rotation.errors import PermanentError, TransientError
from node_rotation.model import Batch, StepName
from node_rotation.outcome import Blocked, Done, Waiting
from node_rotation.policy import OnGateFailure
from node_rotation.run import Run
from node_rotation.steps.admit import refusal
from node_rotation_airflow import deeds
from node_rotation_airflow.narrator import Narrator
from node_rotation_airflow.triggers.base import RotationTrigger
from node_rotation_airflow.triggers.comms import in_thread, states, the_run

BAD = frozenset({"failed", "upstream_failed", "skipped", "removed"})
AWAY = Waiting(("Airflow's API server, to learn how earlier batches fare",), 5.0)


def earlier_failure(run: Run, index: int, gates: Mapping[int, str | None]) -> Waiting | Refuse | None:
    """What an earlier batch's gate that did not pass means, as Airflow knows it; None if there is none.

    The ledger knows slots and what failed in them; that a batch was marked, skipped, or failed before it had any,
    only Airflow knows.

    :param index: the asking batch's map index.
    :param gates: state of the gate task by map index.
    """
    failed = next((run.plan.batches[i] for i in range(index) if gates.get(i) in BAD), None)
    if failed is None:
        return None
    how = run.policy(failed).gate.on_failure
    if how is OnGateFailure.HOLD:
        return Waiting((f"the gate of {failed.name} to pass: clear its task {StepName.GATE} once it can",))
    return Refuse("skip" if how is OnGateFailure.SKIP else "fail", f"{failed.name} did not pass its gate")


async def _ask(run: Run, batch: Batch) -> Done | Waiting | Refuse:
    """Claim slots, or learn why not."""
    try:
        outcome = await in_thread(deeds.attempt, StepName.ADMIT.value, run, batch.name)
        if isinstance(outcome, Blocked):
            return await in_thread(refusal, run, batch) or Refuse("fail", str(outcome))
    except PermanentError as error:
        return Refuse("fail", str(error))
    except TransientError as error:
        return Waiting((str(error),), error.retry_after_s)
    return outcome


class AdmitTrigger(RotationTrigger):
    """Waits until its batch may start.

    :param gate_task_id: the task whose states give order and hold.
    """

    def __init__(self, gate_task_id: str) -> None:
        super().__init__()
        self.gate_task_id = gate_task_id

    def kwargs(self) -> dict[str, Any]:
        """What makes it again."""
        return {"gate_task_id": self.gate_task_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ask until admitted or refused."""
        run = await the_run(self.ti)
        index = self.ti.map_index or 0
        batch = run.plan.batches[index]
        narrator = Narrator(self.log.info)
        while True:
            gates = await states(self.ti, self.gate_task_id, run.settings.policy.poll * 0.8)
            answer = AWAY if gates is None else earlier_failure(run, index, gates) or await _ask(run, batch)
            if isinstance(answer, Done):
                self.log.info("%s is admitted. %s", batch.name, answer.detail)
                yield TaskSuccessEvent()
                return
            if isinstance(answer, Refuse):
                self.log.error("%s is not admitted: %s", batch.name, answer.reason)
                yield TaskSkippedEvent() if answer.how == "skip" else TaskFailedEvent()
                return
            narrator.waits(answer.reasons, run.clock.now())
            await sleep(answer.poll_s)
