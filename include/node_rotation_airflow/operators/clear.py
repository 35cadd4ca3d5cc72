"""Between plan and first change: waits until the run may begin, at most one look long in a worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from node_rotation_airflow.constants import CAUSE_KEY, CLEAR_TIMEOUT, ENDED_KEY, WAIT_TASK
from node_rotation_airflow.operators.base import NO_TIME, RotationOperator, rotation_of, run_of, time_left

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context


class ClearOperator(RotationOperator):
    """Done once nothing stands in the run's way: maintenance window, promotion. Skipped if a newer run takes over.

    Clearing it, or marking it failed, is safe at any time: it only reads.

    :param batches: what the plan task returned.
    """

    template_fields: Sequence[str] = ("batches",)

    def __init__(self, *, batches: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batches = batches

    def work(self, context: Context) -> None:
        """Look once, then wait in the triggerer.

        :raises AirflowSkipException: if the run is superseded.
        :raises BlockedError: if it can't begin until somebody does something, or has waited too long.
        """
        from node_rotation.clearance.look import Superseded
        from node_rotation.errors import BlockedError
        from node_rotation.outcome import Blocked, Done, Waiting, too_long
        from node_rotation_airflow import newest
        from node_rotation_airflow.clearing import ask
        from node_rotation_airflow.documents import Cause
        from node_rotation_airflow.triggers.clear import ClearTrigger

        rotation = rotation_of(context)
        if not self.batches or rotation is None:
            return
        dag_run: Any = context["dag_run"]
        mine = newest.waiter(str(context["ti"].run_id), dag_run.run_after, rotation)
        run = run_of(context)
        answer = ask(run, mine)
        if isinstance(answer, Superseded):
            why = f"superseded: {answer.reason}"
            context["ti"].xcom_push(key=ENDED_KEY, value=why)
            raise AirflowSkipException(why)
        if isinstance(answer, Waiting) and (left := time_left(context, CLEAR_TIMEOUT)) <= NO_TIME:
            answer = too_long(WAIT_TASK, f"cluster {rotation.settings.name}", answer.reasons)
        if isinstance(answer, Blocked):
            context["ti"].xcom_push(key=CAUSE_KEY, value=Cause.of(answer).dump())
            raise BlockedError(answer)
        if not run.settings.policy.pin:  # who ends here takes nobody's place
            newest.announce(run.settings.name, mine)
        if isinstance(answer, Done):
            self.log.info("the run may begin: %s", answer.detail)
            return
        self.log.info("waits: %s", "; ".join(answer.reasons))
        trigger = ClearTrigger(run.plan.id, mine.since.isoformat())
        self.defer(trigger=trigger, method_name="resumed", timeout=left)

    def resumed(self, context: Context, event: Any = None) -> None:
        """Nothing: the trigger ends the task by itself."""
