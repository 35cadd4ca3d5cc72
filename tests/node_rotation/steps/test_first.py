"""Workers without extra capacity: drained, terminated, then replaced by their group, within ``max_unavailable``."""

from __future__ import annotations

from typing import Any

import pytest
from tests.node_rotation.crashes import after, plan_for, rotate, run_for

from node_rotation import engine
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
