"""Each step alone: what it waits for, in words, and that doing it twice changes nothing."""

from __future__ import annotations

import pytest
from tests.node_rotation.crashes import STRATEGIES, by, run_for

from node_rotation import lock
from node_rotation.model import Batch, StepName
from node_rotation.outcome import Blocked, Done, Waiting
from node_rotation.run import Run
from node_rotation.steps import ORDER, STEPS
from node_rotation.steps.admit import recall
from node_rotation.steps.heal import heal
from node_rotation.steps.prepare import prepare
from node_rotation.steps.restore import restore
from node_rotation.steps.verify import verify
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld


def up_to(world: MemoryWorld, run: Run, batch: Batch, last: StepName) -> None:
    """Carry a batch through its steps, the last one included."""
    prepare(run, batch.group)
    for name in ORDER[: ORDER.index(last) + 1]:
        for _ in range(100):
            STEPS[name].act(run, batch)
            if isinstance(STEPS[name].look(run, batch), Done):
                break
            world.clock.wait(2.0)
        else:
            raise AssertionError(f"{name}: {STEPS[name].look(run, batch)}")


def test_every_step_done_twice_changes_nothing() -> None:
    for strategy in ("detach", "surge"):
        world = MemoryWorld.simple(3, replicas=6)
        run = run_for(world, strategy=strategy)
        batch = run.plan.batches[0]
        for name in ORDER:
            up_to(world, run, batch, name)
            run.look.forget()
            before = len(world.mutations)
            STEPS[name].act(run, batch)
            assert len(world.mutations) == before, (strategy, name)
            assert STEPS[name].timeout_s(run, batch) > 0


def test_a_look_changes_nothing() -> None:
    world = MemoryWorld.simple(3)
    run = run_for(world)
    for name in (*ORDER, StepName.HEAL):
        STEPS[name].look(run, run.plan.batches[0])
    verify(run)
    assert not world.mutations


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_an_act_says_is_what_a_look_would_say(strategy: str) -> None:
    world = MemoryWorld.simple(4, replicas=6)
    run = run_for(world, **by(strategy, 2))
    prepare(run, "workers")
    left = {batch.name: list(ORDER) for batch in run.plan.batches}
    said: set[StepName] = set()
    for _ in range(600):
        for batch in (batch for batch in run.plan.batches if left[batch.name]):
            step = STEPS[left[batch.name][0]]
            known, seen = step.act(run, batch), step.look(run, batch)
            if known is not None:
                assert known == seen, (batch.name, step.name)
                said.add(step.name)
            if isinstance(seen, Done):
                left[batch.name].pop(0)
        world.clock.wait(1.0)
    assert not any(left.values())
    assert said == {StepName.ADMIT, StepName.GATE}


def test_a_step_of_a_batch_that_holds_no_slots_says_so() -> None:
    world = MemoryWorld.simple(3)
    run = run_for(world)
    outcome = STEPS[StepName.DRAIN].look(run, run.plan.batches[0])
    assert isinstance(outcome, Blocked)
    assert "admit" in outcome.remedy


def test_admit_prepares_again_when_the_lock_was_given_back() -> None:
    world = MemoryWorld.simple(3)
    run = run_for(world)
    STEPS[StepName.ADMIT].act(run, run.plan.batches[0])
    assert isinstance(STEPS[StepName.ADMIT].look(run, run.plan.batches[0]), Done)


def test_the_second_batch_waits_for_the_canary() -> None:
    world = MemoryWorld.simple(3)
    run = run_for(world)
    first, second, *_ = run.plan.batches
    up_to(world, run, first, StepName.ADMIT)
    STEPS[StepName.ADMIT].act(run, second)
    outcome = STEPS[StepName.ADMIT].look(run, second)
    assert isinstance(outcome, Waiting)
    assert "canary workers/1" in outcome.reasons[0]


def test_a_newcomer_is_for_the_machine_that_made_room() -> None:
    world = MemoryWorld.simple(4, replicas=4, max_unavailable=2)
    run = run_for(world, strategy="detach", canary=False, budget={"max_surge": 2})
    first, second, *_ = run.plan.batches
    up_to(world, run, first, StepName.ADMIT)
    up_to(world, run, second, StepName.ADMIT)
    launch = STEPS[StepName.LAUNCH]

    launch.act(run, second)  # the first in line has not got so far yet
    world.clock.wait(5.0)
    launch.act(run, second)
    launch.act(run, first)
    world.clock.wait(5.0)
    launch.act(run, first)

    ledger = lock.read(run)
    assert ledger is not None
    detached = [m for m in world.mutations if m.action == "DetachInstances"]
    assert len(detached) == 2
    assert [len(claim.replacements) for claim in ledger.claims] == [1, 1]


def test_launch_says_what_aws_says() -> None:
    world = MemoryWorld.simple(3, faults=[seeds.Fault(kind="capacity")])
    run = run_for(world)
    batch = run.plan.batches[0]
    up_to(world, run, batch, StepName.ADMIT)
    STEPS[StepName.LAUNCH].act(run, batch)
    world.clock.wait(10.0)
    outcome = STEPS[StepName.LAUNCH].look(run, batch)
    assert isinstance(outcome, Waiting)
    assert "capacity" in outcome.reasons[0]


def test_a_drain_names_pod_node_and_budget() -> None:
    world = MemoryWorld.simple(3, replicas=6, stops_after=30.0)
    run = run_for(world)
    batch = run.plan.batches[0]
    up_to(world, run, batch, StepName.CORDON)
    STEPS[StepName.DRAIN].act(run, batch)
    world.clock.wait(2.0)
    outcome = STEPS[StepName.DRAIN].look(run, batch)
    assert isinstance(outcome, Waiting)
    assert any("is terminating" in r and "on node ip-" in r for r in outcome.reasons)


def test_waits_between_evictions_are_kept() -> None:
    world = MemoryWorld.simple(3, replicas=6, max_unavailable=6)
    drain = {"timeout": "300s", "wait_between_evictions": "20s"}
    run = run_for(world, drain=drain)
    up_to(world, run, run.plan.batches[0], StepName.DRAIN)
    times = [m.at for m in world.mutations if m.action == "evict"]
    assert len(times) >= 2
    assert all(later - earlier >= 20.0 for earlier, later in zip(times, times[1:], strict=False))


def test_nothing_is_terminated_that_still_has_pods() -> None:
    world = MemoryWorld.simple(3, replicas=6)
    run = run_for(world)
    batch = run.plan.batches[0]
    up_to(world, run, batch, StepName.CORDON)
    STEPS[StepName.TERMINATE].act(run, batch)
    assert "TerminateInstances" not in {m.action for m in world.mutations}
    outcome = STEPS[StepName.TERMINATE].look(run, batch)
    assert isinstance(outcome, Waiting)
    assert "is still on node" in outcome.reasons[0]


def test_the_gate_frees_the_slots_before_the_machine_is_gone() -> None:
    world = MemoryWorld.simple(3, replicas=6, shutdown=120.0)
    run = run_for(world, terminate_timeout="300s")
    batch = run.plan.batches[0]
    up_to(world, run, batch, StepName.TERMINATE)
    for _ in range(5):
        STEPS[StepName.GATE].act(run, batch)
        world.clock.wait(2.0)
    ledger = lock.read(run)
    assert ledger is not None
    claim = ledger.claim(batch.name)
    assert claim is not None
    assert claim.state == "passed"
    outcome = STEPS[StepName.GATE].look(run, batch)
    assert isinstance(outcome, Waiting)
    assert "is shutting down" in outcome.reasons[0]


def test_what_a_hand_leaves_is_found_by_verify() -> None:
    world = MemoryWorld.simple(3)
    run = run_for(world)
    assert len(verify(run).drift) == 3
    node = world.cluster.nodes()[0]
    world.cluster.taint(node.name, node.uid, ("node-rotation/old", "", "PreferNoSchedule"))
    machine, asg = world.on_image("base-old")[0], world.asg("workers")
    world.cloud.tag_instances([machine], {"node-rotation/detached-from": asg})
    world.cloud.detach(asg, [machine])
    world.clock.wait(1.0)
    found = verify(run)
    assert found.orphans == (f"instance {machine}, detached from {asg}",)
    assert found.residue == (f"node {node.name}: taint node-rotation/old",)


def test_a_cleared_gate_passes_once_its_cause_is_gone_and_the_rest_goes_on() -> None:
    world = MemoryWorld.simple(4, replicas=8)
    run = run_for(world, gate={"settle": "3s", "timeout": "20s"})
    first, second, *_ = run.plan.batches
    up_to(world, run, first, StepName.TERMINATE)
    broken = next(n.name for n in world.cluster.nodes() if n.instance_id == second.machines[0].instance_id)
    world.fail_node(broken)
    gate = STEPS[StepName.GATE]
    for _ in range(15):
        gate.act(run, first)
        world.clock.wait(2.0)
    outcome = gate.look(run, first)
    assert isinstance(outcome, Blocked)
    assert broken in outcome.reason
    heal(run, first, str(outcome))
    assert isinstance(STEPS[StepName.ADMIT].look(run, second), Waiting)
    for _ in range(10):
        restore(run, first.group)
        world.clock.wait(2.0)
    assert world.cluster.lease() is None

    world.recover_node(broken)
    world.clock.wait(5.0)
    up_to_again(world, run, first, StepName.GATE)
    STEPS[StepName.ADMIT].act(run, second)
    recall(run, (first,))  # as Airflow knows
    up_to_again(world, run, second, StepName.ADMIT)


def up_to_again(world: MemoryWorld, run: Run, batch: Batch, name: StepName) -> None:
    for _ in range(20):
        STEPS[name].act(run, batch)
        if isinstance(STEPS[name].look(run, batch), Done):
            return
        world.clock.wait(2.0)
    raise AssertionError(STEPS[name].look(run, batch))


def test_steps_that_only_wait_keep_the_run_alive() -> None:
    world = MemoryWorld.simple(3, replicas=6)
    run = run_for(world, gate={"settle": "1h", "timeout": "2h"}, lock_duration="60s")
    first, second, *_ = run.plan.batches
    up_to(world, run, first, StepName.TERMINATE)
    for name, batch in ((StepName.GATE, first), (StepName.ADMIT, second)):
        for _ in range(20):
            STEPS[name].act(run, batch)
            world.clock.wait(10.0)
        lease = world.cluster.lease()
        assert lease is not None
        assert world.clock.now() - lease.renewed_at < 60.0
