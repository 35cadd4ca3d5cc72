"""Lifecycle hooks belong to others: a rotation waits for them, says so, and never answers for them."""

from __future__ import annotations

import pytest
from tests.node_rotation.balancers import Traffic, carried_out, rotated, served_world, web
from tests.node_rotation.crashes import STRATEGIES, after, plan_for, run_for

from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld

BYE = seeds.Hook("ship-logs", "terminating", heartbeat=900.0, result="CONTINUE", completes_after=300.0)
HELLO = seeds.Hook("warm-up", "launching", heartbeat=900.0, completes_after=120.0)
NO_OWNER = {"completes_after": None}


def cordoned_by_hand(world: MemoryWorld, machine: str) -> str:
    """Somebody has cordoned a machine's Node; its name."""
    node = next(n for n in world.cluster.nodes() if n.instance_id == machine)
    with world.journal.acting("somebody"):
        world.cluster.cordon(node.name, node.uid)
    return node.name


def pods_on(world: MemoryWorld, node: str) -> set[str]:
    return {pod.key for pod in world.cluster.pods() if pod.node == node}


def states(world: MemoryWorld) -> set[str]:
    return {m.lifecycle.value for group in world.scaling.groups.values() for m in group.members.values()}


def test_a_terminating_hook_is_waited_for_with_its_name_and_when_aws_ends_it() -> None:
    world = served_world(2, hooks=(BYE,))
    traffic = Traffic(world)
    result, said = rotated(world)  # terminate_timeout is a minute, the hook's owner takes five
    assert result.ok, result
    assert after(world).clean
    assert traffic.cut == traffic.drained_while_serving == []
    assert traffic.fewest == {web(world): 2}
    (line, *_) = [line for line in said if "ship-logs" in line]
    assert "waits for terminating hook ship-logs of asg dev-workers, since about" in line
    assert "AWS ends it at about" in line
    assert "(CONTINUE), with heartbeats of its owner at" in line
    assert result.ended_at - result.started_at > 2 * 300.0


def test_a_launching_hook_holds_the_replacement_and_nothing_of_the_old_machine_is_touched() -> None:
    world = served_world(1, hooks=(HELLO,))
    run = run_for(world)
    marks: list[set[str]] = []
    world.journal.on_mutation = lambda m: marks.append(states(world)) if m.action == "cordon" else None
    result, said = carried_out(run)
    assert result.ok, result
    assert any(
        "replacement i-" in line and "waits for launching hook warm-up of asg dev-workers" in line for line in said
    )
    assert marks == [{"InService"}]


def test_without_an_owner_aws_ends_the_wait_by_itself() -> None:
    hook = seeds.Hook("ship-logs", "terminating", heartbeat=400.0, result="CONTINUE")
    world = served_world(1, hooks=(hook,))
    result, _ = rotated(world)
    assert result.ok, result
    assert result.ended_at - result.started_at > 400.0


def test_an_abandoned_launch_is_replaced_and_waited_for() -> None:
    """The first replacement's hook nobody answers: AWS abandons it and launches another, whose owner is awake."""
    world = served_world(1, hooks=(seeds.Hook("warm-up", "launching", heartbeat=300.0, result="ABANDON"),))
    hook = world.scaling.group("dev-workers").hooks["warm-up"]
    run = run_for(world)
    world.clock.after(400.0, lambda: hook.update({"x-completes-after": 5.0}))
    result, said = carried_out(run)
    assert result.ok, result
    world.clock.wait(60.0)  # one too many was launched: its Node goes with our cordon
    assert after(world).clean
    assert any("warm-up" in line for line in said)


def test_a_hook_that_outlasts_our_patience_fails_the_batch_and_says_whose_it_is() -> None:
    hook = seeds.Hook("warm-up", "launching", heartbeat=7200.0)
    world = served_world(2, hooks=(hook,))
    old = set(world.on_image("base-old"))
    plan, _ = plan_for(world, hook_timeout="10m")
    assert "hook warm-up may take longer than hook_timeout (600 s), then the batch fails" in plan.notes
    result, _ = rotated(world, hook_timeout="10m")
    ((_, why),) = result.failed
    assert "waits for launching hook warm-up of asg dev-workers" in why.reason
    assert "Look at the owner of the hook; hook_timeout says how long we wait" in why.remedy
    assert not why.image_fault
    world.clock.wait(60.0)
    assert after(world).clean
    assert set(world.on_image("base-old")) == old


def test_a_terminating_hook_that_nobody_ends_is_named_and_left_to_its_owner() -> None:
    hook = seeds.Hook("ship-logs", "terminating", heartbeat=7200.0, result="CONTINUE")
    world = served_world(1, hooks=(hook,))
    result, _ = rotated(world, hook_timeout="10m")
    ((_, why),) = result.failed
    assert "waits for terminating hook ship-logs" in why.reason
    assert states(world) == {"InService", "Terminating:Wait"}
    actions = {m.action for m in world.mutations}
    assert not actions & {"CompleteLifecycleAction", "RecordLifecycleActionHeartbeat", "TerminateInstances"}
    world.clock.wait(7200.0)
    assert after(world).clean


def test_a_machine_that_waits_in_a_hook_is_not_told_again_at_every_look() -> None:
    world = served_world(1, hooks=(BYE,))
    rotated(world)
    told = [m for m in world.mutations if m.action == "TerminateInstanceInAutoScalingGroup"]
    assert len(told) == 1


def test_a_machine_that_its_group_retains_is_named_at_once() -> None:
    """Terminating:Retained: the hook was abandoned, and an instance lifecycle policy keeps the machine."""
    world = served_world(1, hooks=(seeds.Hook("ship-logs", "terminating", heartbeat=300.0),))
    world.scaling.transitions.retains.add("dev-workers")
    result, _ = rotated(world)
    ((_, why),) = result.failed
    assert "asg dev-workers retains instance i-" in why.reason
    assert "terminate the instance by hand" in why.remedy


def test_a_machine_protected_against_termination_is_left_before_it_is_touched() -> None:
    """Auto Scaling would terminate it all the same; in a look at many machines AWS does not say so."""
    world = served_world(6)
    protected = world.on_image("base-old")[0]
    run = run_for(world)
    world.ec2.change(protected, termination_protected=True)
    result, _ = carried_out(run)
    assert any(f"instance {protected} is protected from termination" in why.reason for _, why in result.failed)
    assert protected in world.ec2.alive
    assert protected in world.targets.healthy(web(world))
    world.clock.wait(120.0)
    assert after(world).clean


def test_a_protected_machine_that_somebody_has_cordoned_is_left_as_well() -> None:
    world = served_world(6)
    protected = world.on_image("base-old")[0]
    run = run_for(world)
    world.ec2.change(protected, termination_protected=True)
    node = cordoned_by_hand(world, protected)
    before = pods_on(world, node)
    result, _ = carried_out(run)
    assert any(f"instance {protected} is protected from termination" in why.reason for _, why in result.failed)
    assert protected in world.ec2.alive
    assert pods_on(world, node) == before != set()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nobody_who_is_protected_is_touched_by_any_strategy(strategy: str) -> None:
    """Not even detached: EC2 would refuse to terminate it, and it would be in no group."""
    world = MemoryWorld.simple(6)
    protected = world.on_image("base-old")[0]
    run = run_for(world, strategy=strategy)
    world.ec2.change(protected, termination_protected=True)
    result, _ = carried_out(run)
    assert any(f"instance {protected} is protected from termination" in why.reason for _, why in result.failed)
    assert not [m for m in world.mutations if m.action == "DetachInstances" and protected in str(m.args)]
    node = next(n.name for n in world.cluster.nodes() if n.instance_id == protected)
    assert not [m for m in world.mutations if m.action in ("cordon", "evict") and m.args["node"] == node]
    world.clock.wait(120.0)
    assert after(world).clean


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_machine_is_asked_about_its_protection_once(strategy: str) -> None:
    world = served_world(6)  # every look shows more machines than AWS tells the protection of
    assert rotated(world, strategy=strategy, allow_detach_behind_load_balancer=True)[0].ok
    gone = sum(i.state == "terminated" for i in world.ec2.found.values())
    assert world.journal.calls["DescribeInstanceAttribute"] == gone >= 6


def test_machines_protected_against_scale_in_are_replaced_if_the_policy_says_so() -> None:
    world = served_world(2)
    for machine in world.on_image("base-old"):
        world.scaling.set_protection("dev-workers", [machine], protected=True)
    blocked, _ = rotated(world)
    assert blocked.blocked
    assert "scale_in_protected: replace" in blocked.blocked.remedy
    assert world.mutations == []
    result, _ = rotated(world, scale_in_protected="replace")
    assert result.ok, result
    assert after(world).clean
