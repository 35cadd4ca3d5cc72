"""Takes a failed batch back, or forward to the end; costs nothing when it passed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import StartTriggerArgs

from node_rotation.model import StepName
from node_rotation_airflow.constants import HEAL_TIMEOUT
from node_rotation_airflow.operators.step import StepOperator

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context


class HealOperator(StepOperator):
    """Starts in the triggerer; a worker is asked for only if a step of its batch failed.

    :param step_task_ids: the batch's other tasks.
    """

    deed = StepName.HEAL.value
    start_from_trigger = True
    ui_color = "#fde2cf"

    def __init__(self, *, step_task_ids: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step_task_ids = list(step_task_ids)
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls="node_rotation_airflow.triggers.heal.HealTrigger",
            trigger_kwargs={"task_ids": self.step_task_ids},
            next_method="heal",
            timeout=HEAL_TIMEOUT,
        )

    def heal(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any] | None:
        """Heal after the trigger found something failed."""
        self.log.info("not passed: %s", ", ".join(event["failed"]))
        return self.execute(context)  # type: ignore[no-any-return]
