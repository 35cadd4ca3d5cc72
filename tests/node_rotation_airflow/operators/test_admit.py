"""Admission begins in a worker: at once, refused in Airflow's own words, or waiting without one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred

from node_rotation.outcome import Blocked
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow.documents import Cause, Request
from node_rotation_airflow.operators.admit import AdmitOperator
from node_rotation_airflow.operators.detect import DetectOperator
from node_rotation_airflow.operators.plan import PlanOperator
from node_rotation_airflow.operators.step import PrepareOperator, RestoreOperator

GATE = "batch.health_gate"


def prepared(airflow: Any, **policy: Any) -> tuple[Any, list[dict[str, str]]]:
    world = MemoryWorld.simple(machines=3)
    run = airflow(world)
    settings = world.settings(**{"strategy": "detach", "canary": False, "budget": {"max_surge": 1}, **policy})
    run.xcoms["request", "request"] = Request(settings=settings, groups=("workers",)).dump()
    drift = run.run(DetectOperator(task_id="detect", group="workers"), 0)
    batches = run.run(PlanOperator(task_id="plan", drifts=[drift]))
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    return run, batches


def admit(run: Any, batches: list[dict[str, str]], index: int) -> None:
    operator = AdmitOperator(task_id="batch.admit", spec=batches[index], gate_task_id=GATE)
    operator.execute(run.context("batch.admit", index))


def test_whoever_finds_slots_is_admitted_without_a_trigger(airflow: Any) -> None:
    run, batches = prepared(airflow)

    admit(run, batches, 0)
    mutations = len(run.world.mutations)
    admit(run, batches, 0)

    assert len(run.world.mutations) == mutations


def test_whoever_does_not_waits_in_the_triggerer_for_the_same_plan(airflow: Any) -> None:
    run, batches = prepared(airflow)
    admit(run, batches, 0)

    with pytest.raises(TaskDeferred) as deferred:
        admit(run, batches, 1)

    plan = run.xcoms["plan", "rotation"]["plan"]["id"]
    assert deferred.value.trigger.serialize()[1] == {"gate_task_id": GATE, "plan_id": plan}


def test_whoever_stands_behind_the_canary_waits_without_a_look_of_its_own(
    airflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, batches = prepared(airflow, canary=True, budget={"max_surge": 3})
    looks: list[str] = []
    monkeypatch.setattr(run.world.journal, "read", lambda service, action: looks.append(f"{service} {action}"))

    with pytest.raises(TaskDeferred):
        admit(run, batches, 1)

    assert looks == []
    admit(run, batches, 0)
    assert looks


def test_three_days_are_three_days_however_often_it_is_tried_and_then_it_says_what_it_waited_for(
    airflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow counts the time of a deferral from the deferral, and tries one that timed out again."""
    run, batches = prepared(airflow, lock_duration="4d")
    monkeypatch.setattr("node_rotation_airflow.operators.base.time", run.world.clock.now)
    admit(run, batches, 0)

    def waits() -> timedelta | None:
        with pytest.raises(TaskDeferred) as deferred:
            admit(run, batches, 1)
        return deferred.value.timeout

    assert waits() == timedelta(days=3)
    run.world.clock.wait(3600.0)
    assert waits() == timedelta(days=3, hours=-1)
    run.world.clock.wait(3 * 86400.0)
    with pytest.raises(AirflowFailException, match="workers/2 is not admitted: admit took too long: .*slots are taken"):
        admit(run, batches, 1)

    cause = Cause.read(run.mapped["batch.admit", "cause", 1]).blocked()
    assert (cause.objects, bool(cause.remedy)) == (("batch workers/2",), True)
    run.max_tries += 4  # cleared: its time begins anew
    assert waits() == timedelta(days=3)


@pytest.mark.parametrize(
    ("rule", "refused"), [("skip", AirflowSkipException), ("fail", AirflowFailException), ("hold", TaskDeferred)]
)
def test_a_gate_that_failed_before_skips_fails_or_holds(airflow: Any, rule: str, refused: type[BaseException]) -> None:
    run, batches = prepared(airflow, gate={"on_failure": rule}, budget={"max_surge": 3})
    admit(run, batches, 0)
    run.states[f"{GATE}_0"] = "failed"

    with pytest.raises(refused):
        admit(run, batches, 1)

    said = run.mapped.get(("batch.admit", "cause", 1))
    assert bool(said) is (rule == "fail")
    if said:
        remedy = "Clear the batch that failed from its admit step, then this one."
        expected = Blocked("workers/1 did not pass its gate", ("batch workers/2",), remedy)
        assert Cause.read(said).blocked() == expected


def test_outside_its_window_a_batch_is_skipped_and_says_why_for_the_report(airflow: Any) -> None:
    run, batches = prepared(airflow, windows=[{"from": "12:00", "to": "13:00"}])
    mutations = len(run.world.mutations)

    with pytest.raises(AirflowSkipException, match="it opens at 2026-11-09 12:00 UTC"):
        admit(run, batches, 0)

    left = {"batch": "workers/1", "reason": "the maintenance window is closed: it opens at 2026-11-09 12:00 UTC"}
    assert run.xcoms["batch.admit", "postponed"] == left
    assert len(run.world.mutations) == mutations


def test_outside_its_window_a_batch_that_is_cleared_later_prepares_nothing_again(airflow: Any) -> None:
    run, batches = prepared(airflow, windows=[{"from": "12:00", "to": "13:00"}])
    run.run(RestoreOperator(task_id="restore", group="workers"), 0)
    mutations = len(run.world.mutations)

    with pytest.raises(AirflowSkipException):
        admit(run, batches, 0)

    assert len(run.world.mutations) == mutations
