"""One step of one batch, or of one node group: a first try in the worker, then the trigger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.exceptions import AirflowFailException

from node_rotation.model import StepName
from node_rotation_airflow.constants import CAUSE_KEY, DEFER_MARGIN_S, PREPARE, RESTORE, TOOK_UP_KEY
from node_rotation_airflow.operators.base import RotationOperator, began_at, run_of
from node_rotation_airflow.retry import insisting, said_plainly

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

    from node_rotation.outcome import Blocked, Outcome
    from node_rotation.run import Run


class DeedOperator(RotationOperator):
    """Does one deed until it is done; no worker slot is held while it waits."""

    deed: ClassVar[str]

    def subject(self, context: Context) -> str:
        """The name of the batch or node group it works on."""
        raise NotImplementedError

    def work(self, context: Context) -> dict[str, Any] | None:
        """Act and look once; done at once needs no trigger. Returns a ``Span``."""
        return self.begin(context, self.subject(context))

    def begin(
        self, context: Context, subject: str, *, resume: bool = False, first: bool = True
    ) -> dict[str, Any] | None:
        """Try once unless it has to wait in any case, then wait in the trigger, which acts and looks as well.

        :param resume: come back to a worker when it is done.
        :param first: False if the trigger has tried already and asked for a worker.
        """
        from node_rotation.outcome import Blocked, Done
        from node_rotation_airflow.deeds import DEEDS, spanned

        run = run_of(context)
        timeout_s = DEEDS[self.deed].timeout_s(run, subject)  # it may look: the time begins once somebody answers
        now = run.clock.now()
        began = began_at(context, now)
        deadline = began + timeout_s
        if first and DEEDS[self.deed].waits(run, subject):
            self.log.info("%s of %s goes to the triggerer: it takes its time in any case", self.deed, subject)
            self._wait(run, subject, began, deadline, now, resume=resume)
            return None
        outcome = self._attempted(run, subject, deadline)
        if isinstance(outcome, Done):
            self.log.info("%s of %s is done at once. %s", self.deed, subject, outcome.detail)
            return spanned(run, self.deed, subject, began, run.clock.now()).dump()
        if isinstance(outcome, Blocked):
            self.failed(context, f"{self.deed} of {subject}: {outcome}", outcome)
            return None
        self.log.info("waits: %s", "; ".join(outcome.reasons))
        self._wait(run, subject, began, deadline, now, resume=resume)
        return None

    def _attempted(self, run: Run, subject: str, deadline: float) -> Outcome:
        """Act and look once; a worker is held only by what goes on in its own process: an image command."""
        from node_rotation.errors import PermanentError
        from node_rotation.outcome import Waiting
        from node_rotation_airflow.deeds import attempt, refused
        from node_rotation_airflow.narrator import Narrator

        narrator = Narrator(self.log.info)
        while True:
            now = run.clock.now()
            try:
                outcome = attempt(self.deed, run, subject, deadline - now)
            except PermanentError as error:
                return refused(self.deed, subject, error)
            if not isinstance(outcome, Waiting) or not outcome.here or now >= deadline:
                return outcome
            narrator.waits(outcome.reasons, now)
            run.clock.wait(outcome.poll_s)

    def _wait(self, run: Run, subject: str, began: float, deadline: float, now: float, *, resume: bool) -> None:
        from node_rotation_airflow.triggers.step import StepTrigger

        self.defer(
            trigger=StepTrigger(self.deed, subject, run.plan.id, deadline, began, resume),
            method_name="resumed",
            kwargs={"subject": subject},
            timeout=timedelta(seconds=max(0.0, deadline - now) + DEFER_MARGIN_S),
        )

    def resumed(self, context: Context, event: Mapping[str, Any], subject: str) -> dict[str, Any] | None:
        """Say why the trigger gave up, or go on with what only a worker can do."""
        from node_rotation.outcome import too_long
        from node_rotation_airflow.deeds import label
        from node_rotation_airflow.documents import Cause
        from node_rotation_airflow.triggers.step import DEADLINE, FAILED, WORKER

        if event["status"] == WORKER:
            with said_plainly():
                return self.begin(context, subject, first=False)
        if event["status"] == FAILED:
            cause = Cause.read({key: said for key, said in event.items() if key != "status"}).blocked()
            self.failed(context, f"{self.deed} of {subject}: {cause}", cause)
            return None
        if event["status"] == DEADLINE:
            what = f"{self.deed} of {subject} ran out of time; it waited for {event['reason']}"
            waits_for = event.get("waits_for", [event["reason"]])  # a triggerer of an earlier version says no more
            self.failed(context, what, too_long(self.deed, label(self.deed, subject), waits_for))
            return None
        with said_plainly():
            self.after(context, subject)
        return event.get("span")

    def after(self, context: Context, subject: str) -> None:
        """What is left to do once the deed is done, if a worker was asked for."""

    def failed(self, context: Context, message: str, cause: Blocked) -> None:
        """Fail the task, the cause left in XCom for the heal that follows and the report.

        :raises AirflowFailException: no retry: a deadline is not extended, a block needs somebody.
        """
        from node_rotation_airflow.documents import Cause

        context["ti"].xcom_push(key=CAUSE_KEY, value=Cause.of(cause).dump())
        raise AirflowFailException(message)


def cause_of(context: Context, task_ids: Sequence[str], index: int) -> Blocked | None:
    """Why the first of these tasks failed; None if nobody said.

    :param index: their map index.
    """
    from node_rotation_airflow.documents import Cause, pushed

    for task_id in task_ids:
        if said := context["ti"].xcom_pull(task_ids=task_id, key=CAUSE_KEY, map_indexes=index):
            return Cause.read(pushed(said)).blocked()
    return None


class StepOperator(DeedOperator):
    """A step of a batch.

    :param spec: ``{"name": "workers/1", "group": "workers"}``; mapped.
    """

    template_fields: Sequence[str] = ("spec",)

    def __init__(self, *, spec: Any, **kwargs: Any) -> None:
        # The nearer to its end, the sooner a worker: a batch under way gives its slots back before others begin.
        defaults = {"map_index_template": "{{ task.spec['name'] }}", "weight_rule": "upstream"}
        super().__init__(**{**defaults, **kwargs})
        self.spec = spec

    def subject(self, context: Context) -> str:
        """The batch's name."""
        return str(self.spec["name"])


class LaunchOperator(StepOperator):
    """Brings the replacements and waits until they are usable."""

    deed = StepName.LAUNCH.value


class CordonOperator(StepOperator):
    """Takes the old machines out of scheduling and load balancing."""

    deed = StepName.CORDON.value


class DrainOperator(StepOperator):
    """Evicts pods as their budgets allow, and waits until they have left."""

    deed = StepName.DRAIN.value


class TerminateOperator(StepOperator):
    """Terminates what is verified drained."""

    deed = StepName.TERMINATE.value


class HealthGateOperator(StepOperator):
    """Passes once everything has been as well as before for a while."""

    deed = StepName.GATE.value
    ui_color = "#d7f5dd"


class GroupOperator(DeedOperator):
    """Work on one node group.

    :param group: its name; mapped.
    """

    template_fields: Sequence[str] = ("group",)

    def __init__(self, *, group: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.group = group

    def subject(self, context: Context) -> str:
        """The group's name."""
        return self.group


class PrepareOperator(GroupOperator):
    """Takes the lock and makes a group ready; first it cleans up after a dead run, and says so for the report."""

    deed = PREPARE

    def work(self, context: Context) -> dict[str, Any] | None:
        """As every deed."""
        from node_rotation import lock

        if dead := lock.inherited(run_of(context)):
            self.log.info("cleans up after the dead run %s", dead)
            context["ti"].xcom_push(key=TOOK_UP_KEY, value=dead)
        return super().work(context)


class RestoreOperator(GroupOperator):
    """Puts a group back as it was, whatever happened; also where it is refused for a while."""

    deed = RESTORE

    def work(self, context: Context) -> dict[str, Any] | None:
        """As every deed."""
        with insisting():
            return super().work(context)
