"""The last word on a run: whatever the leaves say, it fails here if anything is not as planned."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from node_rotation.model import StepName
from node_rotation_airflow.constants import (
    BATCH_GROUP,
    BEFORE_OPENED,
    ENDED_KEY,
    HEAL_TASK,
    PLAN_TASK,
    POSTPONED_KEY,
    RESTORE,
    TOOK_UP_KEY,
    VERDICT_KEY,
    VERIFY_TASK,
)
from node_rotation_airflow.operators.base import rotation_of, run_of
from node_rotation_airflow.operators.step import DeedOperator
from node_rotation_airflow.retry import insisting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Set

    from airflow.sdk.definitions.context import Context

    from node_rotation.lock import Held
    from node_rotation.model import Plan
    from node_rotation.outcome import Blocked
    from node_rotation.steps.verify import Verdict
    from node_rotation_airflow.documents import Rotation

BAD = frozenset({"failed", "upstream_failed"})


class VerifyOperator(DeedOperator):
    """Restores what this run still holds, then looks at the world and at Airflow."""

    deed = RESTORE

    def work(self, context: Context) -> None:
        """Verify."""
        from node_rotation.policy import Mode

        rotation = rotation_of(context)
        if rotation is None:
            raise AirflowFailException(f"there is no plan: see the log of {PLAN_TASK} and of the tasks before it")
        if rotation.settings.policy.mode is Mode.PLAN:
            raise AirflowSkipException("only a plan was asked for")
        with self._in_any_case(context):
            self._verify(context, rotation)

    def _verify(self, context: Context, rotation: Rotation) -> None:
        if why := ended_early(context):
            if not _held(context):
                raise AirflowSkipException(f"nothing was begun: {why}")
            self.log.warning("cleared while it held the lock, then ended: %s", why)
        if not rotation.plan.batches:
            self._clean_up(context)
        self._restore_held(context)

    def _clean_up(self, context: Context) -> None:
        """What a dead run left, where nothing is to be rotated; what takes its time is restored like our own."""
        from node_rotation import lock
        from node_rotation.sweep import sweep

        run = run_of(context)
        if dead := lock.inherited(run):
            self.log.info("cleans up after the dead run %s", dead)
            context["ti"].xcom_push(key=TOOK_UP_KEY, value=dead)
            for line in sweep(run.settings, run.cloud, run.cluster, run.clock, run.id, run.outside).did:
                self.log.info("%s", line)

    @contextmanager
    def _in_any_case(self, context: Context) -> Iterator[None]:
        """What gives no answer, or refuses, is asked again later; the last try leaves a verdict as well."""
        from node_rotation.errors import TransientError
        from node_rotation.steps.verify import Verdict

        try:
            with insisting():
                yield
        except TransientError as error:
            unseen = f"what run {context['ti'].run_id} has left can't be seen: {error}"
            self._leave(context, Verdict(problems=(unseen,)))
            raise

    def resumed(self, context: Context, event: Mapping[str, Any], subject: str) -> dict[str, Any] | None:
        """Judge, whether or not everything could be restored."""
        with self._in_any_case(context):
            return super().resumed(context, event, subject)

    def after(self, context: Context, subject: str) -> None:
        """What was held is restored; see that nothing came since, and judge."""
        with insisting():
            self._restore_held(context)

    def failed(self, context: Context, message: str, cause: Blocked) -> None:
        """What could not be restored is a problem among others."""
        self.log.error(message)
        self._judge(context, message)

    def _restore_held(self, context: Context) -> None:
        from node_rotation_airflow.deeds import TOGETHER

        held = _held(context)
        if held is not None and held.ledger.groups:
            groups = TOGETHER.join(held.ledger.groups)
            self.log.warning("the lock is still held: restoring %s", groups)
            self.begin(context, groups, resume=True)
        self._judge(context)

    def _judge(self, context: Context, *unrestored: str) -> None:
        from node_rotation.steps.verify import verify

        run = run_of(context)
        verdict = verify(run, begun(run.plan, _states(context)))
        found = self._leave(context, replace(verdict, problems=(*unrestored, *verdict.problems)))
        for batch, why in postponed(context["ti"]).items():
            self.log.warning("%s is left to a run to come: %s", batch, why)
        if problems := [f"{name}: {', '.join(what)}" for name, what in found.items() if what]:
            raise AirflowFailException(f"{_in_short(context, found)}. {'; '.join(problems)}")
        self.log.info("as planned: nothing drifted, nothing left behind, no task failed")

    def _leave(self, context: Context, verdict: Verdict) -> Mapping[str, Any]:
        """A verdict for the report, with the tasks that failed."""
        found = {**{name: list(said) for name, said in asdict(verdict).items()}, "tasks": bad_tasks(_states(context))}
        context["ti"].xcom_push(key=VERDICT_KEY, value=dict(found))
        return found


def _held(context: Context) -> Held | None:
    """The run's lock, if it still has it."""
    from node_rotation import lock

    run = run_of(context)
    held = lock.held(run)
    return held if held and held.lease.holder == run.id else None


def _in_short(context: Context, found: Mapping[str, Any]) -> str:
    """What kind of end it is that is not as planned."""
    others = any(what for name, what in found.items() if name != "drift")
    later = postponed(context["ti"])
    if later and not others:
        return f"not finished: {next(iter(later.values()))}; {len(later)} batches are left to a run to come"
    return "not as planned"


def postponed(ti: Any) -> dict[str, str]:
    """Batches that the maintenance window had no room for, and why."""
    from node_rotation_airflow.documents import Postponed, pushed

    found = ti.xcom_pull(task_ids=[f"{BATCH_GROUP}.{StepName.ADMIT}"], key=POSTPONED_KEY) or ()
    said = [Postponed.read(pushed(value)) for value in found if value]
    return {one.batch: one.reason for one in said}


def ended_early(context: Context) -> str:
    """Why the run ended before it touched anything, as the task said that ended it; "" if it did not.

    Marking a run failed skips what has not begun: a skip that nobody explained is no end of ours. Nor is one where
    verify came to a verdict: the run was cleared while it held its lock.
    """
    ti, states = context["ti"], _states(context)
    if states.get(VERIFY_TASK) in ("success", "failed") or any(states.get(task) in BAD for task in BEFORE_OPENED):
        return ""
    skipped = [task_id for task_id in BEFORE_OPENED if states.get(task_id) == "skipped"]
    said = (ti.xcom_pull(task_ids=task_id, key=ENDED_KEY) for task_id in skipped)
    return next((str(why).strip('"') for why in said if why), "")


def bad_tasks(states: Mapping[str, str | None]) -> list[str]:
    """Tasks that failed; healing may fail, its batch has failed already."""
    return sorted(name for name, state in states.items() if state in BAD and not name.startswith(HEAL_TASK))


def begun(plan: Plan, states: Mapping[str, str | None]) -> Set[str]:
    """Groups that this run began to launch machines in, or to have EKS update; the ledger is given back by now."""
    launches = {i: states.get(f"{BATCH_GROUP}.{StepName.LAUNCH}_{i}") for i in range(len(plan.batches))}
    return {batch.group for i, batch in enumerate(plan.batches) if launches[i] in ("success", "failed")}


def _states(context: Context) -> Mapping[str, str | None]:
    ti: Any = context["ti"]
    return dict(ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).get(ti.run_id, {}))
