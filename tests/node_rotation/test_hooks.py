"""Lifecycle hooks belong to others: a rotation waits for them, says so, and never answers for them."""

from __future__ import annotations

from tests.node_rotation.balancers import Traffic, carried_out, rotated, served_world, web
from tests.node_rotation.crashes import after, plan_for, run_for

from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld

BYE = seeds.Hook("ship-logs", "terminating", heartbeat=900.0, result="CONTINUE", completes_after=300.0)
HELLO = seeds.Hook("warm-up", "launching", heartbeat=900.0, completes_after=120.0)
NO_OWNER = {"completes_after": None}


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
