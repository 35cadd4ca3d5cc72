"""Workers without extra capacity: drained, terminated, then replaced by their group, within ``max_unavailable``."""

from __future__ import annotations

from typing import Any

import pytest
from tests.node_rotation.crashes import after, plan_for, rotate, run_for

from node_rotation import engine, lock
from node_rotation.model import Batch, StepName
from node_rotation.outcome import Blocked, Done, Outcome, Waiting
from node_rotation.run import Run
from node_rotation.steps import ORDER, STEPS
from node_rotation.steps.admit import may_begin
from node_rotation.steps.heal import heal
from node_rotation.steps.prepare import prepare
from node_rotation.testing import seeds
from node_rotation.testing.faults import Mutation
from node_rotation.testing.world import MemoryWorld

TERMINATE = "TerminateInstanceInAutoScalingGroup"


def roomy(machines: int = 8, **more: Any) -> MemoryWorld:
    """A world whose pods' budget lets all machines go together, so that only the machines' budget counts."""
    return MemoryWorld.simple(machines, max_unavailable="100%", **more)


def in_place(unavailable: int | str = 1, **policy: Any) -> dict[str, Any]:
    return {"strategy": "terminate_first", "budget": {"max_unavailable": unavailable, "max_surge": 0}, **policy}


def terminated(world: MemoryWorld) -> list[str]:
    return [m.args["instance_id"] for m in world.mutations if m.action == TERMINATE]


@pytest.mark.parametrize(("unavailable", "at_once"), [(1, 1), (3, 3), ("25%", 2), ("1%", 1)])
def test_as_many_as_may_be_unavailable_go_at_once_and_none_comes_on_top(unavailable: int | str, at_once: int) -> None:
    world = roomy()
    group = world.asg("workers")
    result = rotate(world, **in_place(unavailable))
    assert result.ok, result
    assert world.monitor.max_unavailable[group] == at_once
    assert world.monitor.max_extra[group] == 0
    assert len(terminated(world)) == 8
    world.clock.wait(60.0)
    assert after(world).clean, after(world)
    assert after(world).old == 0
    assert {m.args.get("group") for m in world.mutations if m.action == "UpdateAutoScalingGroup"} == set()


def test_what_goes_is_empty_and_its_pods_budget_holds_all_the_while() -> None:
    world = MemoryWorld.simple(4, replicas=8)
    left: list[str] = []

    def look(mutation: Mutation) -> None:
        if mutation.action == TERMINATE:
            name = world.ec2.found[mutation.args["instance_id"]].private_dns
            left.extend(pod.key for pod in world.objects.pods_of_node(name) if pod.labels["app"] == "web")

    world.journal.on_mutation = look
    assert rotate(world, **in_place(2)).ok
    assert left == []
    assert world.monitor.violations == []
    assert world.monitor.min_healthy == {"default/web": 7}


def test_a_node_that_somebody_else_took_away_counts_and_is_waited_for() -> None:
    world = roomy(4)
    run = run_for(world, **in_place(1, canary=False))
    sick = world.ec2.found[run.plan.batches[-1].machines[0].instance_id].private_dns
    well_at = world.clock.now() + 100.0
    world.fail_node(sick)
    world.clock.after(100.0, lambda: world.recover_node(sick))
    said: list[str] = []
    first: list[float] = []

    def hear(event: engine.Event) -> None:
        if isinstance(event, engine.BatchWaits) and event.step == "admit":
            said.extend(event.reasons)
        if terminated(world) and not first:
            first.append(world.clock.now())

    assert engine.rotate(run, hear).ok
    assert any("NotReady" in reason for reason in said), said
    assert first[0] >= well_at
    assert world.monitor.max_unavailable[world.asg("workers")] == 1


def test_a_bad_image_costs_the_canary_and_nothing_else() -> None:
    world = roomy(4, behaviour="never-joins")
    result = rotate(world, **in_place(2))
    ((name, why),) = result.failed
    assert name == "workers/1"
    assert why.image_fault
    assert "has not joined the cluster" in why.reason
    assert len(terminated(world)) == 1
    world.clock.wait(60.0)
    assert after(world).clean, after(world)
    assert after(world).old == 3
    assert not any(node.unschedulable for node in world.cluster.nodes())


def test_no_capacity_is_said_in_aws_own_words_and_the_others_stay() -> None:
    world = roomy(3, faults=[seeds.Fault(kind="capacity")])
    result = rotate(world, **in_place(1))
    ((name, why),) = result.failed
    assert name == "workers/1"
    assert "capacity" in why.reason
    assert not why.image_fault
    assert len(terminated(world)) == 1
    world.clock.wait(60.0)
    assert after(world).clean, after(world)
    assert after(world).old == 2


def test_a_drain_that_a_budget_forbids_gives_the_machine_back_and_nobody_goes() -> None:
    world = MemoryWorld.simple(3, replicas=3)
    run = run_for(world, **in_place(1))
    world.disruption.change("default", "web", min_available=3, max_unavailable=None)
    world.clock.wait(1.0)  # until the disruption controller has seen it
    result = engine.rotate(run)
    assert [name for name, _ in result.failed] == ["workers/1"]
    assert terminated(world) == []
    world.clock.wait(60.0)
    assert after(world).clean, after(world)
    assert after(world).old == 3


def test_nothing_may_be_unavailable_is_a_blocker_and_not_a_hang() -> None:
    plan, _ = plan_for(roomy(3), **in_place(0))
    (blocker,) = plan.blockers
    assert "max_unavailable" in f"{blocker.reason} {blocker.remedy}"


def reclaimed(world: MemoryWorld, machine: str) -> None:
    """A spot machine is taken back, and AWS has no other."""
    world.journal.faults = [seeds.Fault(kind="capacity")]
    world.cloud.terminate_in_group(machine, decrement=False)
    world.clock.wait(60.0)


def refilled(world: MemoryWorld) -> None:
    """AWS has capacity again."""
    world.journal.faults = []


def tries(world: MemoryWorld, run: Run, batch: Batch, *, until: StepName) -> Outcome:
    """A batch from its admit step, as far as the given one, for ten minutes each."""
    outcome: Outcome = Done()
    for name in ORDER[: ORDER.index(until) + 1]:
        for _ in range(200):
            STEPS[name].act(run, batch)
            outcome = STEPS[name].look(run, batch)
            if not isinstance(outcome, Waiting):
                break
            world.clock.wait(3.0)
        if not isinstance(outcome, Done):
            return outcome
    return outcome


def test_a_machine_that_aws_cannot_replace_counts_and_is_waited_for() -> None:
    world = roomy(6)
    reclaimed(world, world.on_image("base-old")[0])
    run = run_for(world, **in_place(1))
    back_at = world.clock.now() + 600.0
    world.clock.after(600.0, lambda: refilled(world))
    said: list[str] = []

    def hear(event: engine.Event) -> None:
        if isinstance(event, engine.BatchWaits) and event.step == "admit":
            said.extend(event.reasons)
        if isinstance(event, engine.BatchMoved) and event.step == "launch":
            assert world.clock.now() >= back_at

    assert any("dev-workers has 5 of 6 machines" in note for note in run.plan.notes), run.plan.notes
    assert engine.rotate(run, hear).ok
    missing = "machine 6 of 6 of workers is missing (asg dev-workers has 5 of 6 machines)"
    assert f"{missing}: it counts against the budget" in said
    assert world.monitor.max_unavailable[world.asg("workers")] == 1
    assert not world.on_image("base-old")


def test_a_canary_that_is_cleared_waits_for_its_own_replacement_and_takes_nobody_elses_slot() -> None:
    world = roomy(6)
    run = run_for(world, **in_place(1))
    canary, second = run.plan.batches[:2]
    prepare(run, "workers")
    world.journal.faults = [seeds.Fault(kind="capacity")]
    failed = tries(world, run, canary, until=StepName.TERMINATE)
    assert isinstance(failed, Blocked)
    while STEPS[StepName.HEAL].look(run, canary) != Done(f"batch {canary.name} is healed"):
        heal(run, canary, str(failed))

    again = tries(world, run, canary, until=StepName.GATE)

    assert isinstance(again, Blocked), again
    assert "has not launched a replacement" in again.reason
    heal(run, canary, str(again))
    assert not may_begin(run, second)
    refilled(world)
    assert isinstance(tries(world, run, canary, until=StepName.GATE), Done)
    claim = lock.require(run).ledger.claim(canary.name)
    assert claim is not None
    assert claim.proves
    assert may_begin(run, second)
    assert len(terminated(world)) == 1


def test_a_gate_that_alone_is_cleared_does_not_pass_either_while_nobody_came() -> None:
    world = roomy(6)
    run = run_for(world, **in_place(1))
    canary = run.plan.batches[0]
    prepare(run, "workers")
    world.journal.faults = [seeds.Fault(kind="capacity")]
    failed = tries(world, run, canary, until=StepName.TERMINATE)
    heal(run, canary, str(failed))
    gate = STEPS[StepName.GATE]

    for _ in range(10):
        gate.act(run, canary)
        outcome = gate.look(run, canary)
        world.clock.wait(1.0)

    assert isinstance(outcome, Waiting)
    gone = canary.machines[0].instance_id
    assert outcome.reasons == (f"gate: asg dev-workers has 5 of 6 machines, nobody has come for {gone}",)

    world.journal.faults = []
    world.clock.run_until(lambda: len(world.cloud.groups(["dev-workers"])["dev-workers"].members) == 6, 600)
    run.look.forget()
    boots = gate.look(run, canary)
    assert isinstance(boots, Waiting)
    assert boots.reasons == (f"gate: asg dev-workers has 5 of 6 machines in service, nobody has come for {gone}",)
