"""Somebody approves the plan, where the policy asks for it; nobody in time means: nothing is done."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput

from node_rotation_airflow.constants import APPROVAL_KEY, CAUSE_KEY, ENDED_KEY, OWNER, RETRIES, RETRY_DELAY
from node_rotation_airflow.notices import tell
from node_rotation_airflow.operators.base import rotation_of
from node_rotation_airflow.retry import RotationRetryPolicy, said_plainly

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

    from node_rotation.model import Plan


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
        with said_plainly():
            return self._ask(context)

    def _ask(self, context: Context) -> Any:
        from node_rotation import notify
        from node_rotation.clearance.approval import needed, table

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
        self._put(context, plan)
        notice = notify.approval(rotation.settings.name, str(context["ti"].run_id), plan.machines, why)
        tell(context, rotation.settings, notice, self.log)
        self.log.info("asks, because %s; not answered within %s, nothing is done", why, self.response_timeout)
        raise TaskAwaitingInput(method_name=self.execute_complete.__name__, timeout=self.response_timeout)

    def _put(self, context: Context, plan: Plan) -> None:
        """Have Airflow show the question.

        It keeps the first one that a task put, whatever is asked when the task is cleared: an answer to that is none to
        another plan.

        :raises BlockedError: if the one it shows is about another plan.
        """
        from airflow.sdk.execution_time import comms, task_runner

        from node_rotation.clearance.approval import asks_about
        from node_rotation.errors import BlockedError
        from node_rotation.outcome import Blocked
        from node_rotation_airflow.documents import Cause

        question = comms.CreateHITLDetailPayload(
            ti_id=context["ti"].id,
            options=self.options,
            subject=self.subject,
            body=self.body,
            defaults=self.defaults,
            multiple=self.multiple,
            params=self.serialized_params,
            assigned_users=[],
        )
        shown: Any = task_runner.SUPERVISOR_COMMS.send(question)
        if asks_about(plan, shown.body or ""):
            return
        stale = Blocked(
            f"Airflow still shows this run's first question, which is about another plan than {plan.id}",
            (f"run {context['ti'].run_id}",),
            f"Start a new run of rotate_nodes for {plan.environment}.{plan.cluster}: it asks about its own plan.",
        )
        context["ti"].xcom_push(key=CAUSE_KEY, value=Cause.of(stale).dump())
        raise BlockedError(stale)

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
