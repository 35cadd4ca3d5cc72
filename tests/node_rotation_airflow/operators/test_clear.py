"""Before anything is touched: one look in a worker, then a wait without one."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow.documents import Request
from node_rotation_airflow.operators.clear import ClearOperator
from node_rotation_airflow.operators.detect import DetectOperator
from node_rotation_airflow.operators.plan import PlanOperator
from node_rotation_airflow.triggers.clear import ClearTrigger

LATER = [{"from": "04:00", "to": "12:00"}]  # it is two in the morning
NOW = [{"from": "00:00", "to": "12:00"}]


def waiting(airflow: Any, world: MemoryWorld, **policy: Any) -> tuple[Any, ClearOperator]:
    run = airflow(world)
    request = Request(settings=world.settings(**policy), groups=("workers",))
    run.xcoms["request", "request"] = request.dump()
    drift = run.run(DetectOperator(task_id="detect", group="workers"), 0)
    batches = run.run(PlanOperator(task_id="plan", drifts=[drift]))
    return run, ClearOperator(task_id="wait", batches=batches)


@pytest.mark.parametrize("policy", [{}, {"windows": NOW}, {"windows": LATER, "outside_windows": "CVE-2026-1"}])
def test_with_nothing_in_its_way_it_ends_in_the_worker(airflow: Any, policy: dict[str, Any]) -> None:
    run, wait = waiting(airflow, MemoryWorld.simple(2), **policy)

    wait.execute(run.context("wait"))


def test_with_nothing_to_do_it_asks_nothing(airflow: Any) -> None:
    run, wait = waiting(airflow, MemoryWorld.simple(2), mode="plan", windows=LATER)

    wait.execute(run.context("wait"))


def test_it_waits_in_the_triggerer_until_the_window_opens_and_has_touched_nothing(airflow: Any) -> None:
    world = MemoryWorld.simple(2)
    run, wait = waiting(airflow, world, windows=LATER)

    with pytest.raises(TaskDeferred) as deferred:
        wait.execute(run.context("wait"))
    assert deferred.value.trigger.serialize() == (
        "node_rotation_airflow.triggers.clear.ClearTrigger",
        {"plan_id": run.xcoms["plan", "rotation"]["plan"]["id"]},
    )
    event = run.fire(deferred.value.trigger, run.context("wait")["ti"])

    assert event.task_instance_state == "success"
    assert world.clock.now() % 86400 >= 4 * 3600
    assert world.mutations == []


def test_its_log_says_what_it_waits_for_once_and_until_when(airflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = waiting(airflow, MemoryWorld.simple(2), windows=LATER)
    trigger, said = ClearTrigger(run.xcoms["plan", "rotation"]["plan"]["id"]), []
    monkeypatch.setattr(trigger.log, "info", lambda text, *args: said.append(text % args if args else text))

    run.fire(trigger, run.context("wait")["ti"])

    (waits,) = [line for line in said if line.startswith("waits: ")]
    assert "the maintenance window is closed: it opens at 2026-11-09 04:00 UTC" in waits
