"""What this run does to a group's sizes is its own, also where a change was begun and AWS never heard of it."""

from __future__ import annotations

import pytest
from tests.node_rotation.crashes import run_for, sweep_all
from tests.node_rotation.lagging import sizes_lag

from node_rotation import engine
from node_rotation.errors import BlockedError, TransientError
from node_rotation.run import Run
from node_rotation.steps import prepare, sizing
from node_rotation.testing.faults import Crash
from node_rotation.testing.scaling_values import GroupChange
from node_rotation.testing.seeds import Fault
from node_rotation.testing.world import MemoryWorld

SIZES = (1, 3, 3)
RESIZE = "UpdateAutoScalingGroup"


def full(*faults: Fault, minimum: int = 1) -> MemoryWorld:
    """Three machines where no more may be: each that surge adds needs a maximum of its own."""
    world = MemoryWorld.simple(3, replicas=0, faults=list(faults))
    world.scaling.update(world.asg("workers"), GroupChange(min_size=minimum, max_size=3))
    world.journal.forget()
    return world


def three_at_once(world: MemoryWorld) -> Run:
    return run_for(world, strategy="surge", canary=False, budget={"max_surge": 3})


def sizes(world: MemoryWorld) -> tuple[int, int, int]:
    group = world.scaling.group(world.asg("workers"))
    return group.min_size, group.max_size, group.desired


def before_resize(nth: int) -> int:
    """Which of a rotation's changes is its n-th of the group's sizes."""
    world = full()
    engine.rotate(three_at_once(world))
    return [at for at, done in enumerate(world.mutations, 1) if done.action == RESIZE][nth - 1]


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_maximum_that_a_dead_run_had_raised_is_put_back_although_it_was_to_raise_it_further(nth: int) -> None:
    world = full()
    run = three_at_once(world)
    world.crash_before(before_resize(nth))
    with pytest.raises(Crash):
        engine.rotate(run)
    world.journal.alive_again()
    assert sizes(world) == (1, 2 + nth, 2 + nth)
    sweep_all(world, run)
    assert sizes(world) == SIZES


@pytest.mark.parametrize(
    "fault", [Fault("throttle", action=RESIZE, calls=(2,)), Fault("lost_answer", action=RESIZE, calls=(2,))]
)
def test_a_maximum_is_put_back_although_one_raise_of_it_was_not_answered(fault: Fault) -> None:
    world = full(fault)
    result = engine.rotate(three_at_once(world))
    assert result.ok, result
    assert result.ledger is not None
    assert result.ledger.others == ()
    assert sizes(world) == SIZES


def prepared(world: MemoryWorld) -> tuple[Run, list[str]]:
    """A run that has begun with the group, and the group's machines."""
    run = three_at_once(world)
    prepare.prepare(run, "workers")
    return run, [m.instance_id for m in world.scaling.group(world.asg("workers")).live()]


def test_a_minimum_that_was_lowered_stays_ours_although_the_next_is_not() -> None:
    world = full(Fault("throttle", action=RESIZE, calls=(2,)), minimum=3)
    run, machines = prepared(world)
    sizing.leave(run, "workers", machines[0])
    with pytest.raises(TransientError):
        sizing.leave(run, "workers", machines[1])
    world.clock.wait(sizing.PATIENCE_S)
    baseline, _ = sizing.settle(run, "workers")
    assert (baseline.min, baseline.min_lowered_to) == (3, 2)


def test_a_minimum_that_was_lowered_for_a_machine_that_may_not_go_is_ours() -> None:
    world = full(Fault("denied", action="TerminateInstanceInAutoScalingGroup"), minimum=3)
    run, machines = prepared(world)
    with pytest.raises(BlockedError):
        sizing.leave(run, "workers", machines[0])
    baseline, _ = sizing.settle(run, "workers")
    assert (baseline.min, baseline.min_lowered_to, baseline.own) == (3, 2, 0)


def larger_by(run: Run, machines: int) -> None:
    sizing.set_desired(run, "workers", lambda baseline, group: group.desired + machines)


def test_a_size_that_the_group_does_not_show_yet_is_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    world = full()
    run, _ = prepared(world)
    sizes_lag(monkeypatch, world, 2.0)
    larger_by(run, 1)
    with pytest.raises(TransientError, match="being changed by this run"):
        sizing.settle(run, "workers")
    world.clock.wait(2.0)
    baseline, _ = sizing.settle(run, "workers")
    assert (baseline.max, baseline.desired, baseline.own, baseline.max_raised_to) == (3, 3, 1, 4)


def test_a_size_that_aws_has_answered_counts_although_others_changed_it_before_anybody_looked() -> None:
    """Of a desired size that is lowered before anybody came, no activity tells."""
    world = MemoryWorld.simple(3, replicas=0, boot=60.0)
    run, _ = prepared(world)
    larger_by(run, 1)
    larger_by(run, -1)
    world.scaling.set_desired(world.asg("workers"), 5)
    with pytest.raises(TransientError):
        sizing.settle(run, "workers")
    world.clock.wait(sizing.PATIENCE_S)
    baseline, _ = sizing.settle(run, "workers")
    assert (baseline.desired, baseline.own) == (5, 0)
