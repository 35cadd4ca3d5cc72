"""Admission of a batch, without a worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import StartTriggerArgs

from node_rotation_airflow.constants import ADMIT_TIMEOUT
from node_rotation_airflow.operators.base import RotationOperator

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context


class AdmitOperator(RotationOperator):
    """Starts and ends in the triggerer.

    :param spec: the batch; mapped, for the instance's name.
    :param gate_task_id: the task whose states say how earlier batches fared.
    """

    start_from_trigger = True
    template_fields: Sequence[str] = ("spec",)

    def __init__(self, *, spec: Any, gate_task_id: str, **kwargs: Any) -> None:
        super().__init__(**{"map_index_template": "{{ task.spec['name'] }}", **kwargs})
        self.spec = spec
        self.gate_task_id = gate_task_id
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls="node_rotation_airflow.triggers.admit.AdmitTrigger",
            trigger_kwargs={"gate_task_id": gate_task_id},
            next_method="resumed",
            timeout=ADMIT_TIMEOUT,
        )

    def work(self, context: Context) -> None:
        """Wait in the trigger; only where Airflow did not start there by itself."""
        from node_rotation_airflow.triggers.admit import AdmitTrigger

        self.defer(trigger=AdmitTrigger(self.gate_task_id), method_name="resumed", timeout=ADMIT_TIMEOUT)

    def resumed(self, context: Context, event: Any = None) -> None:
        """Nothing: the trigger ends the task by itself."""
