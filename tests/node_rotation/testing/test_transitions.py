"""Lifecycle hooks and target groups on a clock that jumps: what would take AWS hours."""

from __future__ import annotations

from tests.node_rotation.balancers import served_world, web

from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld

GROUP = "dev-workers"


def leaving(hook: seeds.Hook) -> tuple[MemoryWorld, str]:
    """A world of one machine that has just been told to go, and that machine."""
    world = served_world(1, hooks=(hook,), delay=10.0)
    (machine,) = world.on_image("base-old")
    world.scaling.terminate(machine, decrement=True)
    return world, machine


def state(world: MemoryWorld, machine: str) -> str:
    member = world.scaling.group(GROUP).members.get(machine)
    return member.lifecycle.value if member else "gone"


def test_without_a_heartbeat_the_default_result_ends_the_wait() -> None:
    """Deregistered first, then Terminating:Wait, until the heartbeat timeout is over.

    https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks-overview.html
    """
    world, machine = leaving(seeds.Hook("bye", "terminating", heartbeat=600.0, result="CONTINUE"))
    world.clock.wait(9.0)
    assert state(world, machine) == "Terminating"
    world.clock.wait(2.0)
    assert state(world, machine) == "Terminating:Wait"
    world.clock.wait(590.0)
    assert state(world, machine) == "Terminating:Wait"
    world.clock.wait(20.0)
    assert state(world, machine) == "gone"


def test_each_heartbeat_begins_the_timeout_anew_but_not_beyond_the_global_one() -> None:
    """RecordLifecycleActionHeartbeat; the global timeout is 100 times the heartbeat's, at most 48 hours.

    https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_RecordLifecycleActionHeartbeat.html
    https://docs.aws.amazon.com/autoscaling/ec2/userguide/configure-instance-retention.html
    """
    world, machine = leaving(seeds.Hook("bye", "terminating", heartbeat=60.0, result="CONTINUE"))
    world.clock.wait(11.0)
    began, group = world.clock.now(), world.scaling.group(GROUP)
    while state(world, machine) == "Terminating:Wait":
        world.scaling.transitions.heartbeat(group, "bye", instance=machine)
        world.clock.wait(50.0)
    assert 5900.0 <= world.clock.now() - began <= 6100.0


def test_one_of_two_hooks_that_abandons_ends_the_other_too() -> None:
    """CompleteLifecycleAction: ABANDON stops any remaining actions, CONTINUE lets the others complete.

    https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks-overview.html
    """
    world = served_world(1, hooks=(seeds.Hook("bye", "terminating"), seeds.Hook("logs", "terminating")), delay=0.0)
    (machine,) = world.on_image("base-old")
    group, transitions = world.scaling.group(GROUP), world.scaling.transitions
    world.scaling.terminate(machine, decrement=True)
    world.clock.wait(1.0)
    transitions.complete(group, "bye", "CONTINUE", instance=machine)
    world.clock.wait(5.0)
    assert state(world, machine) == "Terminating:Wait"
    transitions.complete(group, "logs", "ABANDON", instance=machine)
    world.clock.wait(5.0)
    assert state(world, machine) == "gone"


def test_who_is_registered_again_while_draining_is_checked_anew() -> None:
    """A target that is registered is initial until its health checks pass; registering ends its draining.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-register-targets.html
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
    """
    world = served_world(1, delay=10.0)
    (machine,), arn = world.on_image("base-old"), web(world)
    world.targets.deregister(arn, [machine])
    world.clock.wait(5.0)
    world.targets.register(arn, [machine])
    world.clock.wait(4.0)
    assert world.targets.health(arn)[machine][0] == "initial"
    world.clock.wait(2.0)
    assert world.targets.healthy(arn) == {machine}
    world.clock.wait(60.0)
    assert world.targets.healthy(arn) == {machine}, "the deregistration that was taken back does not end later"


def test_an_image_whose_machines_never_join_answers_no_health_check() -> None:
    """No answer within the timeout is unhealthy, with the reason Target.Timeout.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
    """
    world = served_world(1, behaviour="never-joins")
    world.scaling.set_desired(GROUP, 2)
    world.clock.wait(60.0)
    (new,) = world.on_image("base-new")
    assert world.targets.health(web(world))[new] == ("unhealthy", "Target.Timeout")
