"""What a run did, as files: JSON, and one page for people."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from node_rotation.model import StepName
from node_rotation.outcome import Blocked
from node_rotation_airflow.constants import APPROVAL_KEY, APPROVE_TASK, BATCH_GROUP, PREPARE, TOOK_UP_KEY, VERDICT_KEY
from node_rotation_airflow.notices import run_url, tell
from node_rotation_airflow.operators.base import RotationOperator, rotation_of, run_of
from node_rotation_airflow.operators.verify import BAD, ended_early, postponed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk.definitions.context import Context

    from node_rotation.engine import Result
    from node_rotation.model import Plan
    from node_rotation.steps.verify import Verdict
    from node_rotation_airflow.documents import Span

VARIABLE = "NODE_ROTATION_REPORTS"
VERIFY_TASK = "verify"
NO_VERDICT = Blocked(
    "verify did not come to its end, so nobody has seen whether anything is left behind",
    (f"task {VERIFY_TASK}",),
    f"Read the log of task {VERIFY_TASK} and clear it; `node-rotation status` says what the cluster looks like.",
)
STEPS = tuple(f"{BATCH_GROUP}.{name}" for name in StepName if name is not StepName.ADMIT)


class ReportOperator(RotationOperator):
    """Writes below ``$NODE_ROTATION_REPORTS``, or ``out/runs`` beside the DAGs folder; returns the page's path."""

    def work(self, context: Context) -> str | None:
        """Write both files; nothing without a plan."""
        from node_rotation.engine import frozen_targets
        from node_rotation.notify import ended as ended_notices
        from node_rotation.report import others_of, page, report

        rotation = rotation_of(context)
        if rotation is None:
            self.log.warning("there was no plan, so there is no report")
            return None
        ti: Any = context["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).get(ti.run_id, {})
        spans = _spans(ti)
        ended = ended_early(context)
        frozen = frozen_targets(run_of(context))
        result = _ended(ended) if ended else _result(rotation.plan, spans, states, ti, frozen)
        value = report(rotation.plan, result)
        value |= {
            "run_id": ti.run_id,
            "approval": ti.xcom_pull(task_ids=APPROVE_TASK, key=APPROVAL_KEY),
            "others": others_of([heard for span in spans for heard in span.others]),
            "timeline": [{"batch": s.subject, "step": s.deed, "from": s.began, "to": s.ended} for s in spans],
            "tasks": dict(sorted(states.items())),
        }
        file = _write(ti.run_id, value, page(value))
        self.log.info("report: %s", file)
        # the last thing: no retry of what is before it sends anything twice
        tell(rotation.settings, ended_notices(value, ti.run_id, run_url(context), str(file)), self.log)
        return str(file)


def _spans(ti: Any) -> Sequence[Span]:
    from node_rotation_airflow.documents import Span, pushed

    found = ti.xcom_pull(task_ids=list(STEPS), key="return_value") or []
    return [Span.read(pushed(value)) for value in found if value]


def _result(
    plan: Plan, spans: Sequence[Span], states: Mapping[str, str | None], ti: Any, frozen: tuple[str, ...]
) -> Result:
    from node_rotation.clients.wall import WallClock
    from node_rotation.engine import Result

    gates = {b.name: states.get(f"{BATCH_GROUP}.{StepName.GATE}_{i}") for i, b in enumerate(plan.batches)}
    failed = {name: state for name, state in gates.items() if state in BAD}
    verdict, later = _verdict(ti.xcom_pull(task_ids=VERIFY_TASK, key=VERDICT_KEY)), postponed(ti)
    now = WallClock().now()
    return Result(
        started_at=min((span.began for span in spans), default=now),
        ended_at=max((span.ended for span in spans), default=now),
        passed=tuple(name for name, state in gates.items() if state == "success"),
        failed=tuple((name, Blocked(f"its gate is {state}")) for name, state in failed.items()),
        skipped=tuple(n for n, state in gates.items() if state != "success" and n not in (*failed, *later)),
        blocked=NO_VERDICT if verdict is None and states.get(VERIFY_TASK) != "skipped" else None,
        frozen=frozen,
        postponed=tuple(later.items()),
        took_up=next(filter(None, ti.xcom_pull(task_ids=[PREPARE], key=TOOK_UP_KEY) or ()), ""),
        verdict=verdict,
    )


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


def _write(run_id: str, value: Mapping[str, Any], html: str) -> Path:
    folder = reports_folder()
    folder.mkdir(parents=True, exist_ok=True)
    name = "".join(c if c.isalnum() or c in "-_.~" else "_" for c in run_id)
    (folder / f"{name}.json").write_text(json.dumps(value, indent=1))
    (folder / f"{name}.html").write_text(html)
    return folder / f"{name}.html"


def reports_folder() -> Path:
    """Where reports go."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    from airflow.sdk.configuration import conf

    return Path(conf.get("core", "dags_folder")).parent / "out" / "runs"
