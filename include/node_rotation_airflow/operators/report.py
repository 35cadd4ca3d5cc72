"""What a run did, as files: JSON, and one page for people."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from node_rotation.model import StepName
from node_rotation.outcome import Blocked
from node_rotation_airflow import metrics
from node_rotation_airflow.constants import (
    APPROVAL_KEY,
    APPROVE_TASK,
    BATCH_GROUP,
    CAUSE_KEY,
    PREPARE,
    REQUEST_KEY,
    REQUEST_TASK,
    TOOK_UP_KEY,
    VERDICT_KEY,
    VERIFY_TASK,
    WAIT_TASK,
)
from node_rotation_airflow.notices import tell, unsent
from node_rotation_airflow.operators.base import RotationOperator, request_of, rotation_of, run_of
from node_rotation_airflow.operators.heal import needs_healing
from node_rotation_airflow.operators.step import cause_of
from node_rotation_airflow.operators.verify import BAD, ended_early, postponed
from node_rotation_airflow.report_files import VARIABLE, page_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk.definitions.context import Context

    from node_rotation.engine import Result
    from node_rotation.model import Plan
    from node_rotation.steps.verify import Verdict
    from node_rotation_airflow.documents import Rotation, Span

NO_VERDICT = Blocked(
    "verify did not come to its end, so nobody has seen whether anything is left behind",
    (f"task {VERIFY_TASK}",),
    f"Read the log of task {VERIFY_TASK} and clear it; `node-rotation status` says what the cluster looks like.",
)
STEPS = tuple(f"{BATCH_GROUP}.{name}" for name in StepName if name is not StepName.ADMIT)


class ReportOperator(RotationOperator):
    """Writes below ``$NODE_ROTATION_REPORTS``, or ``out/runs`` beside the DAGs folder; returns the page's path."""

    def work(self, context: Context) -> str | None:
        """Write both files, and tell how the run ended; nothing without a plan.

        :raises RuntimeError: if they can't be written, once everybody was told.
        """
        from node_rotation.errors import RotationError
        from node_rotation.policy import Mode
        from node_rotation.report import others_of, report
        from node_rotation.steps.freezing import frozen_targets

        rotation = rotation_of(context)
        if rotation is None:
            self.log.warning("there was no plan, so there is no report")
            self._tell_no_plan(context)
            return None
        ti: Any = context["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).get(ti.run_id, {})
        spans = _spans(ti)
        ended = ended_early(context)
        frozen: tuple[str, ...] = ()
        with suppress(RotationError):  # a role that is refused: what the tasks left is told all the same
            frozen = frozen_targets(run_of(context))
        result = _ended(ended) if ended else _result(rotation.plan, spans, states, context, frozen)
        value = report(rotation.plan, result)
        value |= {
            "run_id": ti.run_id,
            "approval": ti.xcom_pull(task_ids=APPROVE_TASK, key=APPROVAL_KEY),
            "put_back": list(dict.fromkeys(line for span in spans for line in span.put_back)),
            "others": others_of([heard for span in spans for heard in span.others]),
            "timeline": [{"batch": s.subject, "step": s.deed, "from": s.began, "to": s.ended} for s in spans],
            "unsent": list(unsent(ti)),
            "tasks": dict(sorted(states.items())),
        }
        file, unwritten = self._written(ti.run_id, value)
        if rotation.settings.policy.mode is not Mode.PLAN:
            metrics.send(metrics.of_report(value, tonight=request_of(context).as_of is None), self.log)
        if (own := self._tell_ended(context, rotation, value, file)) and file:
            _write(ti.run_id, value | {"unsent": [*value["unsent"], *own]})
        if unwritten:
            raise RuntimeError(unwritten)
        return str(file)

    def _written(self, run_id: str, value: dict[str, Any]) -> tuple[Path | None, str]:
        """The page, or why there is none: that is no reason to tell nobody how the run ended."""
        try:
            file = _write(run_id, value)
        except OSError as error:
            why = (
                f"the report could not be written: {error}. "
                f"Give a folder that every worker may write to, in ${VARIABLE}, then clear this task."
            )
            self.log.error("%s", why)
            return None, why
        self.log.info("report: %s", file)
        return file, ""

    def _tell_ended(
        self, context: Context, rotation: Rotation, value: Mapping[str, Any], file: Path | None
    ) -> tuple[str, ...]:
        from node_rotation.configuration.notify_policy import NoticeKind
        from node_rotation.notify import ended
        from node_rotation.policy import Mode

        if rotation.settings.policy.mode is Mode.PLAN:
            return ()
        notice = ended(value, context["ti"].run_id)
        if notice and value["blocked"] == asdict(NO_VERDICT):
            notice = replace(notice, kind=NoticeKind.FAILED)  # nothing stood in its way: it died
        return tell(
            context, rotation.settings, notice and replace(notice, report=str(file) if file else None), self.log
        )

    def _tell_no_plan(self, context: Context) -> None:
        """Whom to tell is known all the same, unless the request itself was refused."""
        from node_rotation.notify import no_plan

        if context["ti"].xcom_pull(task_ids=REQUEST_TASK, key=REQUEST_KEY):
            settings = request_of(context).settings
            tell(context, settings, no_plan(settings.name, context["ti"].run_id), self.log)


def _spans(ti: Any) -> Sequence[Span]:
    from node_rotation_airflow.documents import Span, pushed

    found = ti.xcom_pull(task_ids=list(STEPS), key="return_value") or []
    return [Span.read(pushed(value)) for value in found if value]


def _result(
    plan: Plan, spans: Sequence[Span], states: Mapping[str, str | None], context: Context, frozen: tuple[str, ...]
) -> Result:
    from node_rotation.clients.wall import WallClock
    from node_rotation.engine import Result

    ti: Any = context["ti"]
    gates = {b.name: states.get(f"{BATCH_GROUP}.{StepName.GATE}_{i}") for i, b in enumerate(plan.batches)}
    passed = [name for name, state in gates.items() if _passed(name, state, spans)]
    failed = {
        batch.name: _why(context, states, i)
        for i, batch in enumerate(plan.batches)
        if batch.name not in passed and gates[batch.name] in BAD and needs_healing(_tasks(states, i).values())
    }
    verdict, later = _verdict(ti.xcom_pull(task_ids=VERIFY_TASK, key=VERDICT_KEY)), postponed(ti)
    now = WallClock().now()
    return Result(
        started_at=min((span.began for span in spans), default=now),
        ended_at=max((span.ended for span in spans), default=now),
        passed=tuple(passed),
        failed=tuple(failed.items()),
        skipped=tuple(name for name in gates if name not in (*passed, *failed, *later)),
        blocked=_stopped(ti) or (NO_VERDICT if verdict is None and states.get(VERIFY_TASK) != "skipped" else None),
        frozen=frozen,
        postponed=tuple(later.items()),
        took_up=next(filter(None, ti.xcom_pull(task_ids=[PREPARE, VERIFY_TASK], key=TOOK_UP_KEY) or ()), ""),
        verdict=verdict,
    )


def _passed(batch: str, gate: str | None, spans: Sequence[Span]) -> bool:
    """Whether a batch's gate let it pass; marking a run failed marks those that did as well, but takes no XCom away.

    :param gate: the state of its gate's task.
    """
    left = any(span.deed == StepName.GATE and span.subject == batch for span in spans)
    return gate == "success" or (gate == "failed" and left)


def _tasks(states: Mapping[str, str | None], index: int) -> dict[str, str | None]:
    """The states of a batch's tasks by their names, heal left out: it is for the others."""
    names = (f"{BATCH_GROUP}.{step}" for step in StepName if step is not StepName.HEAL)
    return {name: states.get(f"{name}_{index}") for name in names}


def _why(context: Context, states: Mapping[str, str | None], index: int) -> Blocked:
    """What blocked a batch, in the words of the step that failed; whose worker died, or that was marked, said none."""
    tasks = _tasks(states, index)
    bad = tuple(f"task {name}_{index}" for name, state in tasks.items() if state == "failed")
    gate = tasks[f"{BATCH_GROUP}.{StepName.GATE}"]
    unsaid = Blocked(f"its gate is {gate}", bad, "Read the log of the task that failed, then clear it.")
    return cause_of(context, list(tasks), index) or unsaid


def _stopped(ti: Any) -> Blocked | None:
    """Why the run could not begin, or a group could not be prepared: no batch of the run began."""
    from node_rotation_airflow.documents import Cause, pushed

    said = next(filter(None, ti.xcom_pull(task_ids=[APPROVE_TASK, WAIT_TASK, PREPARE], key=CAUSE_KEY) or ()), None)
    return Cause.read(pushed(said)).blocked() if said else None


def _verdict(found: Mapping[str, Any] | None) -> Verdict | None:
    """What verify left; a task that failed is a problem like any other."""
    from node_rotation.steps.verify import Verdict

    if not found:
        return None
    said = {name: tuple(lines) for name, lines in found.items() if name != "tasks"}
    said["problems"] = (*said.get("problems", ()), *(f"task {name} failed" for name in found.get("tasks", ())))
    return Verdict(**said)


def _ended(why: str) -> Result:
    from node_rotation.clients.wall import WallClock
    from node_rotation.engine import Result

    now = WallClock().now()
    return Result(started_at=now, ended_at=now, not_begun=why)


def _write(run_id: str, value: dict[str, Any]) -> Path:
    from node_rotation.report import page

    file = page_of(run_id)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.with_suffix(".json").write_text(json.dumps(value, indent=1))
    file.write_text(page(value))
    return file
