"""Between plan and first change: waits until the run may begin, at most one look long in a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from node_rotation_airflow.constants import CLEAR_TIMEOUT
from node_rotation_airflow.operators.base import RotationOperator, run_of

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context


class ClearOperator(RotationOperator):
    """Done once nothing stands in the run's way (maintenance window, promotion); touches nothing.

    Clearing it, or marking it failed, is safe at any time: it only reads.

    :param batches: what the plan task returned.
    """

    template_fields = ("batches",)

    def __init__(self, *, batches: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batches = batches

    def work(self, context: Context) -> None:
        """Look once, then wait in the triggerer.

        :raises BlockedError: if the run can't begin until somebody does something.
        """
        from node_rotation.clearance import look
        from node_rotation.errors import BlockedError
        from node_rotation.outcome import Blocked, Done
        from node_rotation_airflow.triggers.clear import ClearTrigger

        if not self.batches:
            return
        run = run_of(context)
        answer = look(run)
        if isinstance(answer, Done):
            self.log.info("the run may begin: %s", answer.detail)
            return
        if isinstance(answer, Blocked):
            raise BlockedError(answer)
        self.log.info("waits: %s", "; ".join(answer.reasons))
        self.defer(trigger=ClearTrigger(run.plan.id), method_name="resumed", timeout=CLEAR_TIMEOUT)

    def resumed(self, context: Context, event: Any = None) -> None:
        """Nothing: the trigger ends the task by itself."""
