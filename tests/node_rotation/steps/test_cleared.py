"""A step that is cleared after its run has ended finds nothing to do, and leaves nothing."""

from __future__ import annotations

from typing import Any

import pytest
from tests.node_rotation import crashes

from node_rotation import engine, lock
from node_rotation.model import Batch, StepName
from node_rotation.outcome import Blocked, Done, Waiting
from node_rotation.run import Run
from node_rotation.steps import ORDER, STEPS
from node_rotation.steps.admit import may_begin, recall
from node_rotation.steps.heal import heal
from node_rotation.steps.prepare import prepare, rotated, timeout_s
from node_rotation.steps.restore import restore, restored
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld


def again(world: MemoryWorld, run: Run, batch: Batch, name: StepName) -> bool:
    """A cleared step, until it is done."""
    for _ in range(200):
        STEPS[name].act(run, batch)
        if isinstance(STEPS[name].look(run, batch), Done):
            return True
        world.clock.wait(1.0)
    return False


@pytest.mark.parametrize("strategy", crashes.STRATEGIES)
@pytest.mark.parametrize("name", ORDER)
def test_a_cleared_step_is_done_and_touches_nothing(strategy: str, name: StepName) -> None:
    world = MemoryWorld.simple(machines=3, boot=5.0)
    run = crashes.run_for(world, **crashes.by(strategy, 1))
    engine.rotate(run)
    mutations = len(world.mutations)

    for batch in run.plan.batches[::-1]:
        assert again(world, run, batch, name), batch.name

    assert world.mutations[mutations:] == []


@pytest.mark.parametrize("strategy", crashes.STRATEGIES)
@pytest.mark.parametrize("name", [StepName.LAUNCH, StepName.CORDON, StepName.DRAIN, StepName.TERMINATE, StepName.GATE])
def test_a_step_of_a_batch_that_was_taken_back_says_what_to_clear_instead(strategy: str, name: StepName) -> None:
    world = MemoryWorld.simple(machines=2, boot=5.0)
    run = crashes.run_for(world, **crashes.by(strategy, 1))
    batch = run.plan.batches[0]
    prepare(run, batch.group)
    STEPS[StepName.ADMIT].act(run, batch)
    STEPS[StepName.LAUNCH].act(run, batch)
    heal(run, batch, "no capacity")
    world.clock.wait(60.0)
    heal(run, batch, "no capacity")
    run.look.forget()

    STEPS[name].act(run, batch)
    outcome = STEPS[name].look(run, batch)

    assert isinstance(outcome, Blocked)
    assert "no capacity" in outcome.reason
    assert outcome.remedy == "Clear the batch from its admit step."


def test_where_everything_is_rotated_there_is_nothing_to_prepare_for() -> None:
    world = MemoryWorld.simple(machines=2, boot=5.0)
    run = crashes.run_for(world)
    assert not rotated(run, "workers")
    engine.rotate(run)
    assert rotated(run, "workers")

    world.add_template_version("workers", "base-old")
    world.cloud.terminate_in_group(next(iter(world.on_image("base-new"))), decrement=False)
    world.clock.wait(60.0)
    run.look.forget()

    assert not rotated(run, "workers")


def test_whoever_holds_the_lock_is_told_of_or_gone_on_with() -> None:
    world = MemoryWorld.simple(machines=1, boot=5.0)
    run = crashes.run_for(world)
    crashes.dies_at_the_last(run, world)

    assert not rotated(crashes.run_for(world, plan=run.plan), "workers")


def test_a_gate_cleared_while_something_is_unwell_takes_its_time_again() -> None:
    world = MemoryWorld.simple(machines=2, replicas=4, boot=5.0)
    run = crashes.run_for(world)
    engine.rotate(run)
    batch = run.plan.batches[0]
    broken = next(iter(world.cluster.nodes())).name
    world.fail_node(broken)
    world.clock.wait(120.0)

    STEPS[StepName.GATE].act(run, batch)

    assert isinstance(STEPS[StepName.GATE].look(run, batch), Waiting | Blocked)
    world.recover_node(broken)
    world.clock.wait(10.0)
    assert again(world, run, batch, StepName.GATE)
    claim = lock.require(run).ledger.claim(batch.name)
    assert claim is not None
    assert claim.proves  # its replacement is there, although the claim that named it was given back
    restore(run, batch.group)
    assert not world.residue()
    assert not world.orphans()


def test_batches_that_passed_before_the_lock_was_given_back_keep_no_place_in_the_queue() -> None:
    world = MemoryWorld.simple(machines=3, zones=1, boot=5.0)
    run = crashes.run_for(world, **crashes.by("surge", 1))
    first, second, third = run.plan.batches
    for batch in (first, second):
        assert all(again(world, run, batch, name) for name in ORDER)
    while not isinstance(restored(run, "workers"), Done):
        restore(run, "workers")
        world.clock.wait(1.0)
    assert world.cluster.lease() is None
    prepare(run, "workers")
    assert isinstance(STEPS[StepName.ADMIT].look(run, third), Waiting)

    recall(run, (first, second))

    assert again(world, run, third, StepName.ADMIT)


@pytest.mark.parametrize("strategy", ["detach", "surge"])
def test_a_run_that_is_planned_again_does_not_take_its_earlier_batches_for_its_new_ones(strategy: str) -> None:
    """They have the same names, and other machines: the canary passes anew, and nobody is left out."""
    world = MemoryWorld.simple(machines=6, boot=5.0)
    run = crashes.run_for(world, **crashes.by(strategy, 2))
    canary, second = run.plan.batches[:2]
    assert isinstance(prepare(run, "workers"), Done)
    assert all(again(world, run, canary, name) for name in ORDER)
    assert all(again(world, run, second, name) for name in (StepName.ADMIT, StepName.LAUNCH, StepName.CORDON))

    planned = crashes.run_for(world, run.id, **crashes.by(strategy, 2))
    assert planned.plan.batches[0].canary
    assert planned.plan.batches[0].machines != canary.machines
    for _ in range(100):
        if isinstance(prepare(planned, "workers"), Done):
            break
        world.clock.wait(2.0)

    assert not may_begin(planned, planned.plan.batches[1])
    for name in (StepName.CORDON, StepName.GATE):
        assert isinstance(STEPS[name].look(planned, planned.plan.batches[0]), Blocked)
    result = engine.rotate(planned)

    assert result.passed == tuple(batch.name for batch in planned.plan.batches)
    theirs = {machine.instance_id for batch in planned.plan.batches for machine in batch.machines}
    assert theirs.isdisjoint(world.on_image("base-old"))  # one that was detached while it was planned came back
    assert (world.orphans(), world.residue()) == ((), ())


def test_a_run_that_is_planned_again_gives_up_what_it_cannot_put_back_and_goes_on() -> None:
    """A pod that lasts for days keeps a replacement of the earlier plan: told by its tag, it keeps nobody else."""
    world = MemoryWorld.simple(machines=2, replicas=0, boot=5.0)
    run = crashes.run_for(world, **crashes.by("surge", 1))
    assert isinstance(prepare(run, "workers"), Done)
    assert all(again(world, run, run.plan.batches[0], name) for name in (StepName.ADMIT, StepName.LAUNCH))
    world.add_workload(seeds.Workload("stuck", kind="Job", replicas=3, spread="hostname", stops_after=172_800.0))
    world.clock.run_until(world.settled, 600.0)
    planned = crashes.run_for(world, run.id, **crashes.by("surge", 2))
    assert lock.replanned(planned)

    deadline = world.clock.now() + timeout_s(planned)
    while isinstance(outcome := prepare(planned, "workers"), Waiting) and world.clock.now() < deadline:
        world.clock.wait(outcome.poll_s)

    assert isinstance(outcome, Done), outcome
    assert lock.require(planned).ledger.plan == planned.plan.id


@pytest.mark.parametrize("itself", [True, False])
def test_a_canary_that_passed_before_the_lock_was_given_back_counts_if_its_group_has_the_image(itself: bool) -> None:
    """Its claim is lost with the ledger: whether its machine was replaced, or went by itself, only the group tells."""
    world = MemoryWorld.simple(machines=4, zones=1, replicas=0, boot=5.0)
    world.add_template_version("workers", "base-old")
    image: dict[str, Any] = {"image": {"ssm": "/images/base/current"}, "image_step": "launch_template"}
    run = crashes.run_for(world, **crashes.by("surge", 2), **image)
    first, second, third, _ = run.plan.batches
    if itself:
        world.cloud.terminate_in_group(first.machines[0].instance_id, decrement=True)
        world.clock.wait(60.0)
        run.look.forget()
    assert all(again(world, run, first, name) for name in ORDER)
    while not isinstance(restored(run, "workers"), Done):
        restore(run, "workers")
        world.clock.wait(1.0)
    prepare(run, "workers")
    recall(run, (first,))

    assert may_begin(run, second)
    assert may_begin(run, third) is not itself
