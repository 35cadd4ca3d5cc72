"""Somebody approves the plan, where the policy asks for it; nobody in time means: nothing is done."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk.exceptions import AirflowSkipException

from node_rotation_airflow.constants import APPROVAL_KEY, ENDED_KEY, OWNER, RETRIES, RETRY_DELAY
from node_rotation_airflow.notices import tell
from node_rotation_airflow.operators.base import rotation_of
from node_rotation_airflow.retry import RotationRetryPolicy, said_plainly

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context


class ApprovePlanOperator(ApprovalOperator):
    """Returns at once where nobody has to approve; else waits as ``awaiting_input``, without worker or trigger.

    Rejected, or not answered in time, it is skipped, and the run ends with nothing touched.

    :param batches: what the plan task returned.
    """

    template_fields = ("batches",)
    ui_color = "#fff3bf"

    def __init__(self, *, batches: Any, **kwargs: Any) -> None:
        defaults = {"owner": OWNER, "retries": RETRIES, "retry_delay": RETRY_DELAY}
        super().__init__(
            subject="Rotate?",
            defaults=self.REJECT,
            **{**defaults, "retry_policy": RotationRetryPolicy(), **kwargs},
        )
        self.batches = batches

    def execute(self, context: Context) -> Any:
        """Ask, if somebody has to be asked."""
        from node_rotation import notify
        from node_rotation.clearance.approval import needed, table

        with said_plainly():
            rotation = rotation_of(context)
        if not self.batches or rotation is None:
            return None
        policy, plan = rotation.settings.policy.approval, rotation.plan
        why = needed(plan, policy)
        if not why:
            self.log.info("nobody has to approve it")
            return None
        self.subject = f"Rotate {plan.machines} machines of {rotation.settings.name}?"
        self.body = table(plan, why)
        self.response_timeout = timedelta(seconds=policy.timeout)
        notice = notify.approval(rotation.settings.name, str(context["ti"].run_id), plan.machines, why)
        tell(context, rotation.settings, notice, self.log)
        self.log.info("asks, because %s; not answered within %s, nothing is done", why, self.response_timeout)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on with the answer.

        :raises AirflowSkipException: if it was rejected, or nobody answered in time.
        """
        from node_rotation_airflow.documents import Approval

        answer = super(ApprovalOperator, self).execute_complete(context, event)
        user, at = answer["responded_by_user"], answer["responded_at"]
        who = str(user["name"]) if user else ""
        if answer["chosen_options"] != [self.APPROVE]:
            why = f"rejected by {who}" if who else "nobody approved it in time"
            context["ti"].xcom_push(key=ENDED_KEY, value=why)
            raise AirflowSkipException(f"{why}: nothing is done")
        self.log.info("approved by %s", who)
        context["ti"].xcom_push(key=APPROVAL_KEY, value=Approval(by=who, at=at).dump())
        return None
