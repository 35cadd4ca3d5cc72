"""Admission of a batch: one look in a worker, then without one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from node_rotation_airflow.constants import ADMIT_TIMEOUT, POSTPONED_KEY
from node_rotation_airflow.operators.base import RotationOperator, run_of

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context


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
        :raises AirflowFailException: if they fail, or nothing may start in this run any more.
        """
        from node_rotation.admission import Refuse
        from node_rotation.outcome import Done
        from node_rotation_airflow.admission import ask, gates_of
        from node_rotation_airflow.documents import Postponed
        from node_rotation_airflow.triggers.admit import AdmitTrigger

        ti: Any = context["ti"]
        run = run_of(context)
        found = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id], task_ids=[self.gate_task_id])
        answer = ask(run, ti.map_index, gates_of(found.get(ti.run_id, {}), self.gate_task_id))
        name = run.plan.batches[ti.map_index].name
        if isinstance(answer, Done):
            self.log.info("%s is admitted. %s", name, answer.detail)
            return
        if isinstance(answer, Refuse):
            if answer.how == "later":
                ti.xcom_push(key=POSTPONED_KEY, value=Postponed(batch=name, reason=answer.reason).dump())
            refused = AirflowFailException if answer.how == "fail" else AirflowSkipException
            raise refused(f"{name} is not admitted: {answer.reason}")
        self.log.info("waits: %s", "; ".join(answer.reasons))
        trigger = AdmitTrigger(self.gate_task_id, run.plan.id)
        self.defer(trigger=trigger, method_name="resumed", timeout=ADMIT_TIMEOUT)

    def resumed(self, context: Context, event: Any = None) -> None:
        """Nothing: the trigger ends the task by itself."""
