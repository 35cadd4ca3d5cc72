"""Intake and image steps task by task: what holds a worker, what waits in a trigger, and what is opened again."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from tests.node_rotation.steps.test_image_run import WAYS, right
from tests.node_rotation.test_intake import CLOSE, HTTP, fault
from tests.node_rotation_airflow.operators.rotating import planned

from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow.operators.step import PrepareOperator, RestoreOperator
from node_rotation_airflow.operators.sweep import SweepOperator
from node_rotation_airflow.operators.verify import VerifyOperator
from node_rotation_airflow.triggers.step import StepTrigger

IMAGE = {"image": {"ssm": "/images/base/current"}}


def prepare(run: Any) -> Any:
    return run.run(PrepareOperator(task_id="prepare", group="workers"), 0)


def restore(run: Any) -> Any:
    return run.run(RestoreOperator(task_id="restore", group="workers"), 0)


def behind(*faults: seeds.Fault) -> MemoryWorld:
    world = MemoryWorld.simple(machines=1, faults=faults)
    world.add_template_version("workers", "base-old")
    return world


def test_a_command_holds_its_worker_and_its_task_ends_there(airflow: Any) -> None:
    world = behind()
    world.outside.commands.program.does = lambda variables: right(world, variables)
    world.outside.commands.program.takes_s = 30.0
    run, _ = planned(airflow, world, **IMAGE, **WAYS["command"])
    span = PrepareOperator(task_id="prepare", group="workers").execute(run.context("prepare", 0))
    assert span["ended"] - span["began"] >= 30.0


def test_a_trigger_never_begins_a_command_but_sends_its_task_to_a_worker(airflow: Any) -> None:
    """The intake makes prepare wait; by the time the command's turn comes, the task is in the triggerer."""
    world = behind(fault(CLOSE, calls=(1, 2)))
    world.outside.commands.program.does = lambda variables: right(world, variables)
    run, _ = planned(airflow, world, **IMAGE, **WAYS["command"], intake=HTTP)
    operator, context = PrepareOperator(task_id="prepare", group="workers"), run.context("prepare", 0)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    event = run.fire(deferred.value.trigger, context["ti"])
    assert event.payload == {"status": "worker"}
    assert world.outside.http.closed
    assert world.outside.commands.running.begun == {}
    span = operator.resumed(context, event.payload, "workers")
    assert span is not None
    assert span["deed"] == "prepare"


def test_a_pod_is_waited_for_in_the_trigger(airflow: Any) -> None:
    world = behind()
    world.cluster.objects.running.program.does = lambda variables: right(world, variables)
    run, _ = planned(airflow, world, **IMAGE, **WAYS["pod"])
    with pytest.raises(TaskDeferred) as deferred:
        PrepareOperator(task_id="prepare", group="workers").execute(run.context("prepare", 0))
    assert isinstance(deferred.value.trigger, StepTrigger)
    assert prepare(run).task_instance_state == "success"


@pytest.mark.parametrize("way", sorted(WAYS))
def test_an_image_step_that_fails_is_one_message_and_nothing_is_left(airflow: Any, way: str) -> None:
    world = behind()
    runs = world.outside.commands.running if way == "command" else world.cluster.objects.running
    runs.program.code, runs.program.says = 1, ("no such instance group",)
    run, _ = planned(airflow, world, **IMAGE, **WAYS[way], intake=HTTP)
    with pytest.raises(AirflowFailException, match="no such instance group"):
        prepare(run)
    restore(run)
    assert world.residue() == ()
    assert len(world.on_image("base-old")) == 1


def test_an_intake_that_never_closes_fails_the_task_and_restore_opens_what_may_be_closed(airflow: Any) -> None:
    world = MemoryWorld.simple(machines=1, faults=(fault(CLOSE),))
    run, _ = planned(airflow, world, intake=HTTP)
    with pytest.raises(AirflowFailException, match="could not be closed within 60 s"):
        prepare(run)
    restore(run)
    assert world.residue() == ()


def test_one_that_can_not_be_opened_fails_restore_and_verify_names_it(airflow: Any) -> None:
    world = MemoryWorld.simple(machines=1, faults=(fault("/clusters/dev/open"),))
    run, _ = planned(airflow, world, intake=HTTP)
    prepare(run)
    with pytest.raises(AirflowFailException, match="could not be opened within 60 s"):
        restore(run)
    with pytest.raises(AirflowFailException, match="/clusters/dev/close of node_rotation_intake is closed"):
        run.run(VerifyOperator(task_id="verify"))


def test_the_hourly_sweep_opens_what_a_dead_run_closed(airflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = MemoryWorld.simple(machines=1)
    run, _ = planned(airflow, world, intake=HTTP)
    prepare(run)
    world.clock.wait(3600.0)
    monkeypatch.setattr("node_rotation.fleet.load", lambda path: _Fleet(world))
    did = run.run(SweepOperator(task_id="sweep", cluster="dev.dev"), 0)
    assert "the intake of dev.dev is open again" in did
    assert world.residue() == ()


class _Fleet:
    """A fleet file that says what the world says."""

    def __init__(self, world: MemoryWorld) -> None:
        self._world = world

    def settings(self, cluster: str) -> Any:
        return self._world.settings()
