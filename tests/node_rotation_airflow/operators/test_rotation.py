"""A rotation told task by task, on a world in memory: what each operator does, defers for, and says when it fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred
from tests.node_rotation_airflow.operators.rotating import STEPS, admitted, away, insisting, planned

from node_rotation import detect as detecting
from node_rotation.errors import PermanentError
from node_rotation.model import Role, Strategy
from node_rotation.outcome import REFUSED_CALL, Blocked, Done, Waiting, too_long
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow import deeds
from node_rotation_airflow.documents import Cause, Rotation
from node_rotation_airflow.operators.plan import OpenOperator
from node_rotation_airflow.operators.step import (
    CordonOperator,
    DrainOperator,
    HealthGateOperator,
    LaunchOperator,
    PrepareOperator,
    RestoreOperator,
)
from node_rotation_airflow.operators.verify import VerifyOperator
from node_rotation_airflow.runs import open_run


def test_who_detects_and_plans_has_clients_that_can_not_change_anything(
    airflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    observe = detecting.observe

    def remember(settings: Any, cloud: Any, cluster: Any, clock: Any) -> Any:
        seen.append((cloud, cluster))
        return observe(settings, cloud, cluster, clock)

    monkeypatch.setattr(detecting, "observe", remember)
    planned(airflow, MemoryWorld.simple(machines=1))

    assert len(seen) == 2
    for cloud, cluster in seen:
        with pytest.raises(PermanentError, match="read-only"):
            cloud.terminate(["i-1"])
        with pytest.raises(PermanentError, match="read-only"):
            cluster.cordon("node", "uid")


def test_every_machine_is_replaced_and_nothing_is_left(airflow: Any) -> None:
    world = MemoryWorld.simple(machines=3)
    run, batches = planned(airflow, world)

    assert run.run(OpenOperator(task_id="opened", batches=batches)) == ["workers"]
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    for index, batch in enumerate(batches):
        admitted(run, batch, index)
        for step in STEPS:
            run.run(step(task_id=f"batch.{step.deed}", spec=batch), index)
    run.run(RestoreOperator(task_id="restore", group="workers"), 0)
    run.run(VerifyOperator(task_id="verify"))

    assert [batch["name"] for batch in batches] == ["workers/1", "workers/2", "workers/3"]
    assert (world.on_image("base-old"), world.orphans(), world.residue()) == ((), (), ())
    assert not any(run.xcoms["verify", "verdict"].values())


@pytest.mark.parametrize("waits", [True, False], ids=["in the triggerer", "in a worker"])
def test_a_call_that_was_wrong_is_the_cause_wherever_it_was_made(
    airflow: Any, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    run, batches = planned(airflow, MemoryWorld.simple(machines=1))

    def wrong(of: Any, subject: str, left_s: float) -> Any:
        raise PermanentError("AccessDenied: not you")

    deed = deeds.Deed(wrong, lambda of, subject: 60.0, lambda of, subject: waits)
    monkeypatch.setattr(deeds, "DEEDS", {"launch": deed})
    with pytest.raises(AirflowFailException, match="launch of workers/1: AccessDenied: not you"):
        run.run(LaunchOperator(task_id="batch.launch", spec=batches[0]), 0)

    cause = Cause.read(run.mapped["batch.launch", "cause", 0]).blocked()
    assert cause == Blocked("AccessDenied: not you", ("batch workers/1",), REFUSED_CALL)


def test_what_ran_out_of_time_is_said_as_on_the_command_line(airflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run, batches = planned(airflow, MemoryWorld.simple(machines=1))
    deed = deeds.Deed(lambda of, subject, left_s: Waiting(("pod shop/a",)), lambda of, subject: 60.0)
    monkeypatch.setattr(deeds, "DEEDS", {"drain": deed})
    with pytest.raises(AirflowFailException, match="ran out of time; it waited for pod shop/a .since"):
        run.run(DrainOperator(task_id="batch.drain", spec=batches[0]), 0)

    cause = Cause.read(run.mapped["batch.drain", "cause", 0]).blocked()
    assert cause == too_long("drain", "batch workers/1", ["pod shop/a"])


def test_events_of_a_triggerer_of_an_earlier_version_are_understood(airflow: Any) -> None:
    run, batches = planned(airflow, MemoryWorld.simple(machines=1))
    drain, context = DrainOperator(task_id="batch.drain", spec=batches[0]), run.context("batch.drain", 0)
    for event in (
        {"status": "failed", "reason": "a budget (pdb shop/a). Remedy: Wait.", "image_fault": True},
        {"status": "deadline", "reason": "pod shop/a (since 02:00:00 UTC)"},
    ):
        with pytest.raises(AirflowFailException, match="shop/a"):
            drain.resumed(context, event, "workers/1")
        assert "shop/a" in run.mapped["batch.drain", "cause", 0]["reason"]


def test_more_batches_than_may_wait_at_once_are_refused_before_anything_is_touched(
    airflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would fill the triggerer for good: what waits for its turn keeps out what it waits for."""
    monkeypatch.setenv("AIRFLOW__TRIGGERER__CAPACITY", "3")
    world = MemoryWorld.simple(machines=3)

    with pytest.raises(AirflowFailException, match=r"3 batches would wait at once, .* takes 3.*Set it to"):
        planned(airflow, world)

    assert world.mutations == []
    monkeypatch.setenv("AIRFLOW__TRIGGERER__CAPACITY", "4")
    assert len(planned(airflow, world)[1]) == 3


def test_only_a_plan_touches_nothing_and_opens_nothing(airflow: Any) -> None:
    world = MemoryWorld.simple(machines=2)
    run, batches = planned(airflow, world, mode="plan")

    assert batches == []
    assert run.xcoms["plan", "rotation"]["plan"]["batches"]
    with pytest.raises(AirflowSkipException):
        run.run(OpenOperator(task_id="opened", batches=batches))
    with pytest.raises(AirflowSkipException):
        run.run(VerifyOperator(task_id="verify"))
    assert world.mutations == []


def test_what_has_to_wait_in_any_case_takes_no_worker_for_a_first_try(airflow: Any) -> None:
    world = MemoryWorld.simple(machines=1)
    run, batches = planned(airflow, world, canary=False)
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    admitted(run, batches[0], 0)
    world.journal.calls.clear()
    for step in (LaunchOperator, DrainOperator, HealthGateOperator):
        with pytest.raises(TaskDeferred):
            step(task_id=f"batch.{step.deed}", spec=batches[0]).execute(run.context(f"batch.{step.deed}", 0))
    assert not world.journal.calls


def test_a_canarys_machine_boots_before_the_triggerer_is_asked(airflow: Any) -> None:
    world = MemoryWorld.simple(machines=2, boot=30.0)
    run, batches = planned(airflow, world, canary=True)
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    admitted(run, batches[0], 0)
    before = len(world.mutations)
    with pytest.raises(TaskDeferred):
        LaunchOperator(task_id="batch.launch", spec=batches[0]).execute(run.context("batch.launch", 0))
    assert len(world.mutations) > before


def test_a_master_has_no_pods_to_wait_for_so_its_drain_is_tried_at_once(airflow: Any) -> None:
    world = MemoryWorld.simple(machines=1)
    run, _ = planned(airflow, world)
    opened = open_run("manual__1", Rotation.read(run.xcoms["plan", "rotation"]))
    master = opened.plan.groups[0].model_copy(update={"role": Role.CONTROL_PLANE, "strategy": Strategy.TERMINATE_FIRST})
    masters = replace(opened, plan=opened.plan.model_copy(update={"groups": (master,)}))
    tried = {step.deed: not deeds.DEEDS[step.deed].waits(masters, "workers/1") for step in STEPS}
    assert tried == {"launch": True, "cordon": True, "drain": True, "terminate": True, "health_gate": False}


def test_a_step_that_waits_defers_with_a_deadline_that_a_retry_does_not_extend(airflow: Any) -> None:
    world = MemoryWorld.simple(machines=2, boot=30.0)
    run, batches = planned(airflow, world, launch_timeout="5m")
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    admitted(run, batches[0], 0)
    launch = LaunchOperator(task_id="batch.launch", spec=batches[0])

    def deadline() -> float:
        with pytest.raises(TaskDeferred) as deferred:
            launch.execute(run.context("batch.launch", 0))
        return float(deferred.value.trigger.deadline)

    first = deadline()
    world.clock.wait(5)
    assert deadline() == first
    run.max_tries = 7  # as Airflow does when the task is cleared
    assert deadline() == first + 5


@pytest.mark.parametrize("minutes", [1, 25])
def test_an_api_server_that_is_away_is_waited_for_as_long_as_on_the_command_line(airflow: Any, minutes: float) -> None:
    world = MemoryWorld.simple(machines=1)
    run, batches = planned(airflow, world)
    away(world, minutes)
    insisting(run, PrepareOperator(task_id="prepare", group="workers"), 0)
    admitted(run, batches[0], 0)
    for step in STEPS:
        run.run(step(task_id=f"batch.{step.deed}", spec=batches[0]), 0)
    away(world, minutes)
    insisting(run, RestoreOperator(task_id="restore", group="workers"), 0)
    away(world, minutes)
    insisting(run, VerifyOperator(task_id="verify"))

    assert (world.on_image("base-old"), world.orphans(), world.residue()) == ((), (), ())


def test_the_time_in_which_nobody_answers_is_none_of_restores(airflow: Any) -> None:
    """Else it would leave the group larger at once, because pods could not leave in time."""
    world = MemoryWorld.simple(machines=2)
    run, batches = planned(airflow, world, strategy="surge")
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    admitted(run, batches[0], 0)
    run.run(LaunchOperator(task_id="batch.launch", spec=batches[0]), 0)
    away(world, 25)

    insisting(run, RestoreOperator(task_id="restore", group="workers"), 0)

    assert (world.cloud.groups(["dev-workers"])["dev-workers"].desired, world.residue()) == (2, ())


def test_restore_gives_up_waiting_once_its_time_is_nearly_up(airflow: Any) -> None:
    run, batches = planned(airflow, MemoryWorld.simple(machines=2, stops_after=600.0), strategy="surge")
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    admitted(run, batches[0], 0)
    for step in (LaunchOperator, CordonOperator):
        run.run(step(task_id=f"batch.{step.deed}", spec=batches[0]), 0)
    with pytest.raises(TaskDeferred):  # pods that take ten minutes to stop
        DrainOperator(task_id="batch.drain", spec=batches[0]).execute(run.context("batch.drain", 0))
    rotation = open_run("manual__1", Rotation.read(run.xcoms["plan", "rotation"]))

    assert isinstance(deeds.attempt("restore", rotation, "workers", 1800.0), Waiting)
    assert isinstance(deeds.attempt("restore", rotation, "workers", 30.0), Done)
