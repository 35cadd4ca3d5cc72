"""Target groups and lifecycle hooks, as both worlds show them and let time pass over them."""

from __future__ import annotations

import pytest

from node_rotation.errors import GoneError
from node_rotation.world.aws import Hook, Target

SERVED = "dev-served"
PORT = 30080
NOBODY = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/nobody/0123456789abcdef"


def lifecycle(world):
    """The lifecycle states of its members; the group has one at most."""
    return [m.lifecycle for m in world.group(SERVED).members]


def one_in_service(world):
    """The group with one machine, healthy in its target group: the machine, and the target group."""
    world.cloud.set_sizes(SERVED, desired=1)
    world.eventually(lambda: lifecycle(world) == ["Pending:Wait"])
    world.eventually(lambda: lifecycle(world) == ["InService"])
    (arn,), (machine,) = world.group(SERVED).target_groups, world.members(SERVED)
    world.eventually(lambda: world.cloud.targets([arn])[arn].get(machine) == Target("healthy", ports=(PORT,)))
    return machine, arn


def test_a_group_names_its_hooks_and_target_groups(world):
    group = world.group(SERVED)
    assert group.hooks == (
        Hook("hello", "launching", 2.0, 200.0, "CONTINUE"),
        Hook("bye", "terminating", 3600.0, 172800.0, "ABANDON"),
    )
    assert [arn.split("/")[1] for arn in group.target_groups] == ["web"]


def test_it_serves_once_the_launching_hook_is_over_and_goes_once_the_terminating_one_is(world):
    machine, arn = one_in_service(world)

    world.cloud.terminate_in_group(machine, decrement=True)

    assert world.cloud.targets([arn])[arn][machine] == Target("draining", "Target.DeregistrationInProgress", (PORT,))
    assert lifecycle(world) == ["Terminating"]
    world.eventually(lambda: lifecycle(world) == ["Terminating:Wait"])
    assert machine not in world.cloud.targets([arn])[arn]
    assert world.cloud.instances([machine])[machine].state == "running"
    world.eventually(lambda: lifecycle(world) == [])
    assert world.cloud.instances([machine])[machine].state == "terminated"


def test_who_is_deregistered_drains_and_then_is_unknown_and_may_come_back(world):
    machine, arn = one_in_service(world)

    world.cloud.deregister_targets(arn, {machine: (PORT,)})

    assert world.cloud.targets([arn])[arn][machine].state == "draining"
    world.cloud.deregister_targets(arn, {machine: (PORT,)})  # a repetition does not begin anew
    world.eventually(lambda: machine not in world.cloud.targets([arn])[arn])
    world.cloud.deregister_targets(arn, {machine: (PORT,)})
    world.cloud.register_targets(arn, {machine: (PORT,)})
    assert world.cloud.targets([arn])[arn][machine] == Target("initial", "Elb.InitialHealthChecking", (PORT,))
    world.eventually(lambda: world.cloud.targets([arn])[arn][machine].state == "healthy")
    assert world.members(SERVED) == [machine]


def test_detaching_deregisters_at_once_and_attaching_registers(world):
    machine, arn = one_in_service(world)
    world.cloud.set_sizes(SERVED, min=0, max=2)

    world.cloud.detach(SERVED, [machine])

    assert world.cloud.targets([arn])[arn][machine].state == "draining"
    world.eventually(lambda: world.group(SERVED).member(machine) is None)
    world.eventually(lambda: world.members(SERVED))
    world.cloud.attach(SERVED, [machine])
    world.eventually(lambda: world.cloud.targets([arn])[arn].get(machine) == Target("healthy", ports=(PORT,)))


def test_a_target_group_that_is_not_there_is_left_out_or_gone(world):
    assert world.cloud.targets([NOBODY]) == {}
    with pytest.raises(GoneError):
        world.cloud.register_targets(NOBODY, {world.members()[0]: ()})


def test_a_machine_that_is_gone_can_not_be_registered(world):
    machine, arn = one_in_service(world)
    world.cloud.terminate_in_group(machine, decrement=True)
    world.eventually(lambda: world.cloud.instances([machine])[machine].state == "terminated")
    with pytest.raises(GoneError):
        world.cloud.register_targets(arn, {machine: (PORT,)})
