"""A group that an earlier run left larger than it was: who rotates it next leaves that to be decided."""

from __future__ import annotations

import pytest
from tests.node_rotation.crashes import after, rotate, run_for, sweep_all

from node_rotation import engine, lock, names
from node_rotation.steps import baseline_tag, sizing
from node_rotation.steps.prepare import prepare
from node_rotation.steps.restore import restore
from node_rotation.testing.world import MemoryWorld

TAG = "desired=3 run=run-1"
WHOLE = "min=0 max=7 desired=3 suspended=AZRebalance run=run-1"
"""The tag of a run that died and whose Lease was deleted: nothing is put back yet."""
TOLD = "asg dev-workers: desired 4, was 3 before run run-1, whose Lease is gone"


def left_larger(value: str = TAG) -> MemoryWorld:
    """As restore leaves it when it gives up: one machine on top, the tag says how many there were."""
    world = MemoryWorld.simple(3, replicas=6)
    world.cloud.set_sizes(world.asg("workers"), desired=4)
    world.clock.wait(60.0)
    world.cloud.tag_group(world.asg("workers"), {names.BASELINE: value})
    return world


def tag(world: MemoryWorld) -> str | None:
    return world.cloud.groups([world.asg("workers")])[world.asg("workers")].tags.get(names.BASELINE)


def desired(world: MemoryWorld) -> int:
    return world.scaling.group(world.asg("workers")).desired


@pytest.mark.parametrize("run_id", ["run-1", "run-2"])  # a run that is cleared is prepared again
@pytest.mark.parametrize("strategy", ["surge", "detach"])
def test_the_next_rotation_replaces_its_machines_and_says_what_it_found(strategy: str, run_id: str) -> None:
    world = left_larger()
    said: list[engine.Event] = []
    result = engine.rotate(run_for(world, run_id, strategy=strategy), said.append)
    assert len(result.passed) == 3  # the machine on top is new
    assert not result.ok
    assert result.verdict is not None
    assert result.verdict.residue == (f"asg dev-workers: tag {names.BASELINE} ({TAG})",)
    assert any(isinstance(event, engine.Note) and event.text.startswith(TOLD) for event in said)
    assert (tag(world), desired(world)) == (TAG, 4)


def test_somebody_who_decides_meanwhile_is_heard() -> None:
    world = left_larger()
    run = run_for(world)
    prepare(run, "workers")
    world.cloud.set_sizes(world.asg("workers"), desired=3)
    restore(run, "workers")
    assert tag(world) is None
    assert after(world).clean


def test_what_others_change_meanwhile_does_not_take_its_place() -> None:
    world = left_larger()
    run = run_for(world)
    prepare(run, "workers")
    world.cloud.set_sizes(world.asg("workers"), desired=5)
    restore(run, "workers")
    assert (tag(world), desired(world)) == (TAG, 5)


def test_a_run_that_dies_is_swept_and_it_stays_told() -> None:
    world = left_larger()
    run = run_for(world)
    prepare(run, "workers")
    swept = sweep_all(world, run)
    assert [line for line in swept.left if line.startswith(TOLD)]
    assert "AZRebalance" not in world.cloud.groups([world.asg("workers")])[world.asg("workers")].suspended


def test_without_its_lease_what_the_next_run_suspended_is_still_known() -> None:
    world = left_larger()
    run = run_for(world, "run-2")
    prepare(run, "workers")
    lock.release(run)
    found = baseline_tag.read(tag(world) or "")
    assert found == baseline_tag.Sizes(0, 7, 3, ("AZRebalance",), "run-1")


def test_what_is_still_to_be_put_back_of_it_is_put_back_by_the_next_run() -> None:
    """AZRebalance is suspended, and the minimum is another."""
    world = left_larger(WHOLE)
    world.cloud.suspend(world.asg("workers"), ["AZRebalance"])
    world.cloud.set_sizes(world.asg("workers"), min=2)
    assert len(rotate(world, "run-2").passed) == 3
    group = world.scaling.group(world.asg("workers"))
    assert not group.suspended
    assert (group.min_size, group.max_size, group.desired) == (0, 7, 4)


def test_a_maximum_that_is_still_too_small_for_it_is_kept_in_mind_until_somebody_decides() -> None:
    world = left_larger(WHOLE.replace("max=7", "max=3"))
    asg = world.asg("workers")
    world.cloud.set_sizes(asg, max=4)
    assert len(rotate(world, "run-2").passed) == 3
    assert tag(world) == "max=3 desired=3 run=run-1"
    assert world.scaling.group(asg).max_size == 4  # a lower one would have AWS choose who goes
    world.cloud.set_sizes(asg, desired=3)
    world.clock.wait(60.0)
    assert not sweep_all(world, run_for(world)).left
    assert world.scaling.group(asg).max_size == 3


def somebody_changes(world: MemoryWorld) -> None:
    """A person gives the group other bounds, and wants its machines to stay in their zones for now."""
    world.cloud.set_sizes(world.asg("workers"), min=4, max=20)
    world.cloud.suspend(world.asg("workers"), ["AZRebalance"])


def changed(world: MemoryWorld) -> bool:
    group = world.scaling.group(world.asg("workers"))
    return (group.min_size, group.max_size, *group.suspended) == (4, 20, "AZRebalance")


def test_what_somebody_changes_of_it_while_it_waits_for_a_decision_no_sweep_takes_back() -> None:
    world = left_larger(WHOLE)
    world.cloud.suspend(world.asg("workers"), ["AZRebalance"])
    sweep_all(world, run_for(world))
    assert not world.scaling.group(world.asg("workers")).suspended
    assert tag(world) == TAG
    somebody_changes(world)
    swept = sweep_all(world, run_for(world))
    assert not swept.did
    assert [line for line in swept.left if line.startswith(TOLD)]
    assert changed(world)


def test_nor_does_the_next_run() -> None:
    world = left_larger()
    somebody_changes(world)
    assert len(rotate(world, "run-2").passed) == 3
    assert changed(world)
    assert tag(world) == TAG


def test_nor_does_a_sweep_of_that_run_once_its_lease_is_gone() -> None:
    world = left_larger()
    run = run_for(world, "run-2", suspend_processes=["AlarmNotification"])
    prepare(run, "workers")
    somebody_changes(world)
    sizing.settle(run, "workers")
    lock.release(run)
    assert [line for line in sweep_all(world, run).left if line.startswith(TOLD)]
    assert changed(world)


def test_a_tag_that_says_no_less_is_of_the_past() -> None:
    world = MemoryWorld.simple(3, replicas=6)
    world.cloud.tag_group(world.asg("workers"), {names.BASELINE: WHOLE})
    assert rotate(world, "run-2").ok
    assert after(world).clean
