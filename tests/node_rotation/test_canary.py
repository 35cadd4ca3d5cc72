"""A canary whose machine went by itself has shown nothing: whoever comes next goes alone in its place."""

from __future__ import annotations

import pytest
from tests.node_rotation.crashes import STRATEGIES, by, run_for

from node_rotation import engine
from node_rotation.model import StepName
from node_rotation.run import Run
from node_rotation.testing.world import MemoryWorld


def next_image(strategy: str, behaviour: str) -> tuple[MemoryWorld, Run]:
    """Twelve machines, four at once, and an image step that is ours."""
    world = MemoryWorld.simple(12, replicas=12, max_unavailable=4, behaviour=behaviour)
    world.add_template_version("workers", "base-old")
    policy = {**by(strategy, 4), "image_step": "launch_template", "image": {"ssm": "/images/base/current"}}
    return world, run_for(world, **policy)


def goes(world: MemoryWorld, run: Run, number: int = 1) -> None:
    """The autoscaler takes a batch's machine away."""
    world.cloud.terminate_in_group(run.plan.batches[number - 1].machines[0].instance_id, decrement=True)
    world.clock.wait(60.0)
    run.look.forget()


def launches(world: MemoryWorld) -> str:
    asg = world.cloud.groups([world.asg("workers")])[world.asg("workers")]
    return world.cloud.template(asg.template).image_id


def stops_at(result: engine.Result, world: MemoryWorld, batch: str) -> None:
    """One batch found the image out, nobody else was touched, and nobody will take the image again."""
    assert [name for name, _ in result.failed] == [batch]
    assert "has not joined the cluster" in result.frozen[0]
    assert launches(world) == world.image_id("base-old")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_canary_that_goes_before_the_run_begins_leaves_its_role_to_the_next(strategy: str) -> None:
    world, run = next_image(strategy, "never-joins")
    goes(world, run)
    stops_at(engine.rotate(run), world, "workers/2")


def test_so_it_is_for_the_next_one_that_goes_as_well() -> None:
    world, run = next_image("surge", "never-joins")
    goes(world, run, 1)
    goes(world, run, 2)
    stops_at(engine.rotate(run), world, "workers/3")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_canary_that_goes_once_it_is_admitted_has_shown_nothing_either(strategy: str) -> None:
    world, run = next_image(strategy, "never-joins")

    def hear(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and (event.batch, event.step) == ("workers/1", StepName.LAUNCH):
            goes(world, run)

    stops_at(engine.rotate(run, hear), world, "workers/2")


def test_all_others_go_once_it_has_passed_in_the_canarys_place() -> None:
    world, run = next_image("surge", "good")
    goes(world, run)
    events: list[engine.Event] = []

    assert engine.rotate(run, events.append).ok

    moved = [(e.batch, e.step) for e in events if isinstance(e, engine.BatchMoved)]
    assert moved.index(("workers/2", None)) < moved.index(("workers/3", StepName.LAUNCH))
    assert any(
        "workers/2 goes in the canary's place" in reason
        for e in events
        if isinstance(e, engine.BatchWaits)
        for reason in e.reasons
    )
    assert not world.on_image("base-old")


def test_where_somebody_else_replaced_them_all_and_these_are_ready_nobody_goes_alone_any_more() -> None:
    world = MemoryWorld.simple(4, max_unavailable=4)
    run = run_for(world, **by("surge", 4))
    for machine in world.on_image("base-old"):
        world.cloud.terminate_in_group(machine, decrement=False)
    world.clock.wait(300.0)
    run.look.forget()
    events: list[engine.Event] = []

    assert engine.rotate(run, events.append).ok

    said = [reason for e in events if isinstance(e, engine.BatchWaits) for reason in e.reasons]
    assert not any("goes in the canary's place" in reason for reason in said), said
