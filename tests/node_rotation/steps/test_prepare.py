"""Preparing a group: what is refused before anything is touched, and what is recorded before it is changed."""

from __future__ import annotations

import pytest
from tests.node_rotation.crashes import STRATEGIES, after, by, dies, rotate, run_for

from node_rotation import lock, names
from node_rotation.ledger import parse
from node_rotation.outcome import Blocked, Done, Waiting
from node_rotation.planning import empty_plan
from node_rotation.steps import baseline_tag
from node_rotation.steps.prepare import prepare
from node_rotation.steps.restore import restore
from node_rotation.steps.undo import marked
from node_rotation.sweep import sweep
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld


def test_the_baseline_is_written_before_anything_changes() -> None:
    world = MemoryWorld.simple(3)
    assert isinstance(prepare(run_for(world), "workers"), Done)
    actions = [m.action for m in world.mutations]
    assert actions[:4] == ["create_lease", "update_lease", "CreateOrUpdateTags", "SuspendProcesses"]
    assert actions[4] == "update_lease"  # what was suspended, and runs, was resumed by somebody
    assert set(actions[5:]) == {"taint"}


def test_prepared_twice_is_prepared_once() -> None:
    world = MemoryWorld.simple(3)
    run = run_for(world)
    prepare(run, "workers")
    before = len(world.mutations)
    assert isinstance(prepare(run, "workers"), Done)
    assert len(world.mutations) == before


def test_what_others_suspended_stays_suspended() -> None:
    world = MemoryWorld.simple(3)
    asg = world.asg("workers")
    world.cloud.suspend(asg, ["AZRebalance"])
    run = run_for(world)
    prepare(run, "workers")
    lease = world.cluster.lease()
    assert lease is not None
    assert parse(lease.annotations[names.LEDGER]).groups["workers"].suspended_by_us == ()
    restore(run, "workers")
    assert "AZRebalance" in world.cloud.groups([asg])[asg].suspended


def test_a_machine_that_somebody_took_out_since_it_was_planned_is_not_marked() -> None:
    world = MemoryWorld.simple(3)
    run = run_for(world)
    machine, *others = world.on_image("base-old")
    world.scaling.detach(world.asg("workers"), [machine], decrement=True)
    world.clock.wait(60.0)
    prepare(run, "workers")
    assert {node.instance_id for node in world.cluster.nodes() if marked(node)} == set(others)


def lease_deleted(world: MemoryWorld) -> None:
    """A run died, and somebody deletes its Lease by hand: only the group's tag tells of what it was."""
    lease = world.cluster.lease()
    assert lease is not None
    world.cluster.delete_lease(lease)


def bounded(minimum: int, maximum: int) -> MemoryWorld:
    """Three machines, which drifted, in a group with narrow bounds."""
    images = (seeds.Image("base-old"), seeds.Image("base-new", created="2026-11-08T06:00:00.000Z"))
    workers = seeds.Group("workers", image="base-old", next_image="base-new", desired=3, min=minimum, max=maximum)
    return MemoryWorld.of(groups=(workers,), images=images)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_a_dead_run_had_suspended_is_resumed_after_the_next_though_its_lease_is_gone(strategy: str) -> None:
    world = MemoryWorld.simple(3, replicas=3)
    prepare(run_for(world, **by(strategy)), "workers")
    lease_deleted(world)
    run = run_for(world, "run-2", **by(strategy))
    prepare(run, "workers")
    lease_deleted(world)  # and it dies as well
    assert rotate(world, "run-3", **by(strategy)).ok
    assert after(world).clean


def test_bounds_that_a_dead_run_had_moved_are_put_back_after_the_next_though_its_lease_is_gone() -> None:
    world = bounded(3, 3)
    prepare(run_for(world), "workers")
    world.cloud.set_sizes(world.asg("workers"), min=2, max=4)
    lease_deleted(world)
    assert rotate(world, "run-2").ok
    assert after(world).clean


def test_a_machine_that_a_dead_run_took_away_from_a_group_s_minimum_comes_again_though_its_lease_is_gone() -> None:
    world = bounded(3, 9)
    prepare(run_for(world), "workers")
    world.cloud.set_sizes(world.asg("workers"), min=2, desired=2)
    lease_deleted(world)
    assert rotate(world, "run-2").ok
    world.clock.wait(60.0)
    assert after(world).clean


@pytest.mark.parametrize("who", ["run-1", "run-2"])
def test_what_is_closed_is_opened_by_the_next_run_though_somebody_took_the_holder_out_of_the_lease(who: str) -> None:
    intake = {"http": {"close": {"path": "/close"}, "open": {"path": "/open"}}}
    world = MemoryWorld.simple(3, replicas=3)
    prepare(run_for(world, intake=intake), "workers")
    lease = world.cluster.lease()
    assert lease is not None
    now = world.clock.now()
    world.cluster.update_lease(lease, holder="", duration_s=60.0, annotations=lease.annotations, renewed_at=now)
    result = rotate(world, who)  # by a fleet file that knows of no intake any more
    assert result.ok
    assert result.took_up == "run-1"
    assert after(world).clean


def test_a_template_that_does_not_launch_the_target_blocks_an_external_image_step() -> None:
    world = MemoryWorld.simple(3)
    run = run_for(world)
    world.add_template_version("workers", "base-old")
    outcome = prepare(run, "workers")
    assert isinstance(outcome, Blocked)
    assert "external" in outcome.reason
    assert not world.mutations


def test_the_image_step_makes_the_template_launch_the_target() -> None:
    world = MemoryWorld.simple(3)
    run = run_for(world, image_step="launch_template")
    world.add_template_version("workers", "base-old")
    assert isinstance(prepare(run, "workers"), Done)
    asg = world.cloud.groups([world.asg("workers")])[world.asg("workers")]
    assert world.cloud.template(asg.template).image_id == world.image_id("base-new")


def test_restore_without_prepare_does_nothing_and_after_it_leaves_nothing() -> None:
    world = MemoryWorld.simple(3)
    run = run_for(world)
    assert restore(run, "workers") == ()
    assert not world.mutations
    prepare(run, "workers")
    restore(run, "workers")
    assert after(world).clean


def test_the_tag_reads_back() -> None:
    world = MemoryWorld.simple(3)
    prepare(run_for(world), "workers")
    asg = world.asg("workers")
    value = world.cloud.groups([asg])[asg].tags[names.BASELINE]
    assert baseline_tag.read(value) == baseline_tag.Sizes(0, 7, 3, ("AZRebalance",), "run-1")
    assert baseline_tag.read("written by somebody else") is None


def test_a_sweep_that_takes_its_time_is_waited_for() -> None:
    world = MemoryWorld.simple(3)
    prepare(run_for(world, "run-1"), "workers")
    world.clock.wait(1000.0)
    lock.take_over(run_for(world, "sweep scheduled__1"))
    world.clock.wait(30.0)
    run = run_for(world, "run-2")
    waits = prepare(run, "workers")
    assert isinstance(waits, Waiting)
    assert waits.reasons == (
        "dev.dev is held by sweep scheduled__1 since 02:16:45 UTC: it puts back what a dead run left",
    )
    world.clock.wait(30.0)
    assert prepare(run, "workers") == waits
    sweep(run.settings, world.cloud, world.cluster, world.clock, "sweep scheduled__1")
    assert isinstance(prepare(run, "workers"), Done)


def test_so_is_one_that_finds_what_no_ledger_speaks_of() -> None:
    world = MemoryWorld.simple(3)
    run = run_for(world, "run-2")
    sweeps = run_for(world, "cli-1", empty_plan(names.SWEEP, run.settings, world.clock.now()))
    lock.acquire(sweeps)
    assert isinstance(prepare(run, "workers"), Waiting)
    lock.release(sweeps)
    assert isinstance(prepare(run, "workers"), Done)


def test_a_sweep_that_died_itself_is_not_waited_for_longer_than_its_lock() -> None:
    world = MemoryWorld.simple(3)
    prepare(run_for(world, "run-1"), "workers")
    world.clock.wait(1000.0)
    lock.take_over(run_for(world, "sweep scheduled__1"))
    run = run_for(world, "run-2")
    assert isinstance(prepare(run, "workers"), Waiting)
    world.clock.wait(1000.0)
    assert isinstance(prepare(run, "workers"), Done)


def test_another_rotation_is_not_waited_for() -> None:
    world = MemoryWorld.simple(3)
    prepare(run_for(world, "run-1"), "workers")
    blocked = prepare(run_for(world, "run-2"), "workers")
    assert isinstance(blocked, Blocked)
    assert "is being rotated by run-1" in blocked.reason


def test_its_own_lock_in_the_hands_of_a_sweep_that_died_is_taken_back_once_it_has_expired() -> None:
    world = MemoryWorld.simple(3)
    run = run_for(world, "run-1")
    prepare(run, "workers")
    world.clock.wait(1000.0)
    lock.take_over(run_for(world, "cli-1"))
    assert isinstance(prepare(run, "workers"), Waiting)
    assert lock.inherited(run) == ""
    world.clock.wait(1000.0)
    assert isinstance(prepare(run, "workers"), Done)
    assert lock.require(run).lease.holder == "run-1"


def test_what_takes_its_time_to_be_put_back_is_put_back_before_it_begins_anew() -> None:
    """A batch was under way: its machines leave at their own pace, and nothing of the old baseline counts any more."""
    world = MemoryWorld.simple(3, replicas=3)
    run = run_for(world, "run-1", strategy="detach", budget={"max_surge": 2})
    assert dies(run, world, 14, before=False)
    world.clock.wait(1000.0)
    lock.take_over(run_for(world, "cli-1"))
    world.clock.wait(1000.0)

    waited = []
    while isinstance(outcome := prepare(run, "workers"), Waiting):
        waited += outcome.reasons
        world.clock.wait(outcome.poll_s)

    assert isinstance(outcome, Done)
    assert any("sweeping what run-1 left" in reason for reason in waited)
    ledger = lock.require(run).ledger
    assert (ledger.found_dead, ledger.claims) == (None, ())
    assert "AZRebalance" in world.cloud.groups([world.asg("workers")])[world.asg("workers")].suspended
