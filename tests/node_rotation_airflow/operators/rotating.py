"""Rotations told task by task, on a world in memory, and what stories about their operators share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import AirflowFailException

from node_rotation.errors import TransientError
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow.documents import Request
from node_rotation_airflow.operators.admit import AdmitOperator
from node_rotation_airflow.operators.detect import DetectOperator
from node_rotation_airflow.operators.heal import HealOperator
from node_rotation_airflow.operators.plan import PlanOperator
from node_rotation_airflow.operators.report import ReportOperator
from node_rotation_airflow.operators.step import (
    CordonOperator,
    DrainOperator,
    HealthGateOperator,
    LaunchOperator,
    PrepareOperator,
    TerminateOperator,
)

DETACH = {"strategy": "detach", "image": {"ssm": "/images/base/current"}}
STEPS = (LaunchOperator, CordonOperator, DrainOperator, TerminateOperator, HealthGateOperator)


def planned(airflow: Any, world: MemoryWorld, **policy: Any) -> tuple[Any, list[dict[str, str]]]:
    run = airflow(world)
    request = Request(settings=world.settings(**{**DETACH, **policy}), groups=("workers",))
    run.xcoms["request", "request"] = request.dump()
    drift = run.run(DetectOperator(task_id="detect", group="workers"), 0)
    return run, run.run(PlanOperator(task_id="plan", drifts=[drift]))


def admitted(run: Any, batch: dict[str, str], index: int) -> Any:
    operator = AdmitOperator(task_id="batch.admit", spec=batch, gate_task_id="batch.health_gate")
    return run.run(operator, index)


def reported(run: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("NODE_ROTATION_REPORTS", str(folder))
    run.pulled = []
    page = run.run(ReportOperator(task_id="report"))
    return json.loads(Path(page).with_suffix(".json").read_text())


def fails(run: Any, batches: list[dict[str, str]]) -> None:
    """A first batch whose launch fails, healed."""
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    admitted(run, batches[0], 0)
    with pytest.raises(AirflowFailException):
        run.run(LaunchOperator(task_id="batch.launch", spec=batches[0]), 0)
    run.states |= {"batch.admit_0": "success", "batch.launch_0": "failed", "batch.health_gate_0": "upstream_failed"}
    run.run(HealOperator(task_id="batch.heal", spec=batches[0], step_task_ids=["batch.launch"]), 0)


def told(run: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, str]:
    """The report, and its page."""
    monkeypatch.setenv("NODE_ROTATION_REPORTS", str(folder))
    spans = {task: value for (task, key, _), value in run.mapped.items() if key == "return_value"}
    run.pulled = [value for task, value in spans.items() if task.startswith("batch.") and value]
    page = Path(run.run(ReportOperator(task_id="report")))
    return json.loads(page.with_suffix(".json").read_text()), page.read_text()


def insisting(run: Any, operator: Any, index: int = -1) -> Any:
    """Run a task as Airflow does: again, after the pause its policy asks for, as often as it may."""
    for attempt in range(1, operator.retries + 2):
        try:
            return run.run(operator, index)
        except TransientError as error:
            decision = operator.retry_policy.evaluate(error, attempt, operator.retries)
            if attempt > operator.retries:
                raise
            assert decision.action is RetryAction.RETRY
            run.world.clock.wait(decision.retry_delay.total_seconds())
    return None


def away(world: MemoryWorld, minutes: float) -> None:
    """Let the API server give no answer for a while."""
    back = world.clock.now() + 60 * minutes
    world.journal.away = lambda service: "no answer" if service == "kubernetes" and world.clock.now() < back else ""
