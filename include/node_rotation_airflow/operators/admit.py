"""Admission of a batch: who stands in front looks once in a worker, everybody else without one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from node_rotation.model import StepName
from node_rotation_airflow.constants import ADMIT_TIMEOUT, CAUSE_KEY, POSTPONED_KEY
from node_rotation_airflow.operators.base import NO_TIME, RotationOperator, rotation_of, run_of, time_left

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

    from node_rotation.model import Plan


class AdmitOperator(RotationOperator):
    """Takes slots for its batch; if there are none, waits for them in the triggerer, which ends the task.

    :param spec: ``{"name": "workers/1", "group": "workers"}``; mapped.
    :param gate_task_id: the task whose states say how earlier batches fared.
    """

    template_fields: Sequence[str] = ("spec",)

    def __init__(self, *, spec: Any, gate_task_id: str, **kwargs: Any) -> None:
        # Batches under way come first when workers are short.
        super().__init__(**{"map_index_template": "{{ task.spec['name'] }}", "weight_rule": "upstream", **kwargs})
        self.spec = spec
        self.gate_task_id = gate_task_id

    def work(self, context: Context) -> None:
        """Be admitted, be refused, or wait.

        :raises AirflowSkipException: if later batches are skipped after a failure, or it is left to a run to come.
        :raises AirflowFailException: if they fail, nothing may start in this run any more, or it has waited too long.
        """
        ti: Any = context["ti"]
        rotation, index, left = rotation_of(context), ti.map_index, time_left(context, ADMIT_TIMEOUT)
        if rotation is not None and left > NO_TIME and not _in_front(rotation.plan, index):
            self.log.info("waits: there are batches before %s", rotation.plan.batches[index].name)
            self._wait(rotation.plan.id, left)
        self._ask(context, left)

    def _ask(self, context: Context, left: timedelta) -> None:
        from node_rotation.admission import Refuse
        from node_rotation.outcome import Done, Waiting, too_long
        from node_rotation_airflow.admission import ask, gates_of, refusal_of
        from node_rotation_airflow.documents import Cause, Postponed

        ti: Any = context["ti"]
        run = run_of(context)
        found = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id], task_ids=[self.gate_task_id])
        answer = ask(run, ti.map_index, gates_of(found.get(ti.run_id, {}), self.gate_task_id))
        name = run.plan.batches[ti.map_index].name
        if isinstance(answer, Done):
            self.log.info("%s is admitted. %s", name, answer.detail)
            return
        if isinstance(answer, Waiting) and left <= NO_TIME:
            late = too_long(StepName.ADMIT, f"batch {name}", answer.reasons)
            answer = Refuse("fail", late.reason, late.remedy)
        if isinstance(answer, Refuse):
            if answer.how == "later":
                ti.xcom_push(key=POSTPONED_KEY, value=Postponed(batch=name, reason=answer.reason).dump())
            if answer.how == "fail":
                ti.xcom_push(key=CAUSE_KEY, value=Cause.of(refusal_of(name, answer)).dump())
            refused = AirflowFailException if answer.how == "fail" else AirflowSkipException
            raise refused(f"{name} is not admitted: {answer.reason}")
        self.log.info("waits: %s", "; ".join(answer.reasons))
        self._wait(run.plan.id, left)

    def _wait(self, plan_id: str, left: timedelta) -> NoReturn:
        from node_rotation_airflow.triggers.admit import AdmitTrigger

        self.defer(trigger=AdmitTrigger(self.gate_task_id, plan_id), method_name="resumed", timeout=left)

    def resumed(self, context: Context, event: Any = None) -> None:
        """Nothing: the trigger ends the task by itself."""


def _in_front(plan: Plan, index: int) -> bool:
    """Whether a batch may find slots the moment a run begins; a look of everybody would keep those in front waiting.

    :param index: the batch's map index.
    """
    return index < (1 if plan.batches[0].canary else plan.slots)
