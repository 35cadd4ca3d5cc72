"""Auto Scaling's state machine in virtual time; tests/proving_ground/aws runs the same machine over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from node_rotation.testing.autoscaling import AutoScaling
from node_rotation.testing.clock import VirtualClock
from node_rotation.testing.scaling_values import (
    AwsFault,
    Blueprint,
    Group,
    GroupChange,
    Launch,
    LaunchSource,
    Lifecycle,
    Place,
    TemplateRef,
)

BOOT, SHUTDOWN = 150.0, 10.0


class Instances:
    """The EC2 that the state machine sees, in twenty lines."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock, self.numbers = clock, count(1)
        self.states: dict[str, str] = {}
        self.groups: dict[str, str | None] = {}

    def blueprint(self, source: TemplateRef | str) -> Blueprint:
        return Blueprint("ami-1", "m6i.large", configuration=str(source))

    def launch(self, launch: Launch) -> str:
        instance_id = f"i-{next(self.numbers)}"
        self.states[instance_id], self.groups[instance_id] = "pending", launch.group
        return instance_id

    def on_running(self, instance_id: str, callback: Callable[[], None]) -> None:
        def up() -> None:
            if self.states[instance_id] == "pending":
                self.states[instance_id] = "running"
                callback()

        self.clock.after(BOOT, up)

    def state(self, instance_id: str) -> str:
        return self.states[instance_id]

    def describe(self, instance_id: str) -> tuple[Blueprint, str]:
        return self.blueprint("by-hand"), "a"

    def terminate(self, instance_id: str, on_gone: Callable[[], None]) -> None:
        def gone() -> None:
            self.states[instance_id] = "terminated"
            on_gone()

        self.states[instance_id] = "shutting-down"
        self.clock.after(SHUTDOWN, gone)

    def set_group_tag(self, instance_id: str, group: str | None) -> None:
        self.groups[instance_id] = group


class Story:
    """One group ``g`` over zones a, b and c, three machines in service unless told otherwise."""

    def __init__(self, *, settled: bool = True, detach_s: float = 0.0, **fields: object) -> None:
        self.clock = VirtualClock()
        self.ec2 = Instances(self.clock)
        self.dry: set[str] = set()
        self.scaling = AutoScaling(
            self.ec2, self.clock, self, reconcile_s=1.0, capacity_retry_s=60.0, detach_s=detach_s
        )
        places = tuple(Place(letter) for letter in "abc")
        self.group = Group("g", LaunchSource(configuration="lc"), 0, 6, 3, places, **fields)  # type: ignore[arg-type]
        self.scaling.create(self.group)
        if settled:
            self.settle()

    def capacity(self, instance_type: str, zone: str, others: tuple[str, ...]) -> str | None:
        return f"no {instance_type} in {zone}" if zone in self.dry else None

    def settle(self) -> None:
        self.clock.wait(1000)

    def serving(self) -> list[str]:
        members = self.group.members.values()
        return [m.instance_id for m in members if m.lifecycle is Lifecycle.IN_SERVICE]

    def zones(self) -> str:
        return "".join(sorted(member.zone for member in self.group.live()))


def test_instances_come_after_reconcile_and_boot() -> None:
    """Desired is set at once, instances follow.

    https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-lifecycle.html
    """
    story = Story(settled=False)
    assert story.group.members == {}
    story.clock.wait(1)
    assert (story.zones(), story.serving()) == ("abc", [])
    story.clock.wait(BOOT - 1)
    assert story.serving() == []
    story.clock.wait(1)
    assert len(story.serving()) == 3
    assert {activity.progress for activity in story.group.activities} == {100}


def test_many_causes_make_one_pass() -> None:
    story = Story()
    for instance_id in story.serving():
        story.scaling.detach("g", [instance_id], decrement=False)
    story.clock.wait(1)
    causes = [a.cause for a in story.group.activities if a.description.startswith("Launching")][:3]
    assert all("increasing the capacity from 0 to 3" in cause for cause in causes)


def test_the_same_seed_makes_the_same_activity_ids() -> None:
    one, other = ([activity.activity_id for activity in Story().group.activities] for _ in range(2))
    assert one == other


def test_a_detached_member_is_listed_for_a_while_but_does_not_count() -> None:
    """It is Detaching first, then in no group.

    https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-detach-attach-instances.html
    """
    story = Story(detach_s=30)
    first = story.serving()[0]
    activity = story.scaling.detach("g", [first], decrement=False)[0]
    assert (story.group.members[first].lifecycle, story.group.capacity()) == (Lifecycle.DETACHING, 2)
    assert activity.progress == 50
    with pytest.raises(AwsFault, match="is not in InService or Standby"):
        story.scaling.detach("g", [first], decrement=False)
    with pytest.raises(AwsFault, match="No managed instance found"):
        story.scaling.terminate(first, decrement=True)
    story.clock.wait(30)
    assert first not in story.group.members
    assert (activity.progress, story.ec2.groups[first], story.ec2.states[first]) == (100, None, "running")
    story.settle()
    assert len(story.serving()) == 3


def test_terminating_twice_lowers_desired_once() -> None:
    """Terminating with decrement.

    https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_TerminateInstanceInAutoScalingGroup.html
    """
    story = Story()
    first = story.serving()[0]
    story.scaling.terminate(first, decrement=True)
    with pytest.raises(AwsFault, match="No managed instance found"):
        story.scaling.terminate(first, decrement=True)
    assert story.group.desired == 2
    story.settle()
    assert len(story.group.members) == 2


def test_at_most_twenty_instances_per_call() -> None:
    """https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DetachInstances.html"""
    story = Story()
    many = [f"i-{number}" for number in range(21)]
    with pytest.raises(AwsFault, match="less than or equal to 20"):
        story.scaling.detach("g", many, decrement=False)
    with pytest.raises(AwsFault, match="less than or equal to 20"):
        story.scaling.attach("g", many)


def test_an_attached_instance_raises_desired_and_is_tagged() -> None:
    """https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_AttachInstances.html"""
    story = Story()
    first = story.serving()[0]
    story.scaling.detach("g", [first], decrement=True)
    story.scaling.attach("g", [first])
    assert (story.group.desired, story.ec2.groups[first]) == (3, "g")
    with pytest.raises(AwsFault, match="is already part of AutoScalingGroup:g"):
        story.scaling.attach("g", [first])


def test_a_failed_launch_is_tried_again_after_the_retry_time() -> None:
    """https://docs.aws.amazon.com/autoscaling/ec2/userguide/CHAP_Troubleshooting.html"""
    story = Story(settled=False)
    story.dry = set("abc")
    story.clock.wait(2)
    assert [a.message for a in story.group.activities] == ["no m6i.large in c Launching EC2 instance failed."]
    story.dry = set()
    story.clock.wait(58)
    assert story.group.members == {}
    story.clock.wait(2)
    assert len(story.group.members) == 3


def test_rebalancing_never_has_fewer_in_service_than_desired() -> None:
    """Rebalancing launches before it terminates.

    https://docs.aws.amazon.com/autoscaling/ec2/userguide/auto-scaling-benefits.html
    """
    story = Story(settled=False)
    story.dry = {"b", "c"}
    story.clock.wait(200)
    assert story.zones() == "aaa"
    story.dry = set()
    story.scaling.set_desired("g", 3)
    for _ in range(1000):
        story.clock.wait(1)
        assert len(story.serving()) >= 3
    assert story.zones() == "abc"


def test_a_suspended_rebalance_leaves_it_uneven() -> None:
    """https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-suspend-resume-processes.html"""
    story = Story(settled=False)
    story.scaling.suspend("g", ["AZRebalance"])
    story.dry = {"b", "c"}
    story.clock.wait(200)
    story.dry = set()
    story.settle()
    assert story.zones() == "aaa"
    story.scaling.resume("g", [])
    story.settle()
    assert story.zones() == "abc"


def test_scale_in_prefers_the_fullest_zone_then_the_policy() -> None:
    """https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-termination-policies.html"""
    story = Story()
    story.scaling.set_desired("g", 4)
    story.settle()
    newest = max(story.group.members.values(), key=lambda member: member.launched_at)
    story.scaling.update("g", GroupChange(desired=3, termination_policies=("NewestInstance",)))
    story.settle()
    assert newest.instance_id not in story.group.members
    assert story.zones() == "abc"


def test_an_instance_that_dies_while_booting_is_replaced() -> None:
    """https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-health-checks.html"""
    story = Story(settled=False)
    story.clock.wait(5)
    dead = next(iter(story.group.members))
    story.ec2.states[dead] = "terminated"
    story.scaling.instance_changed(dead)
    story.settle()
    assert dead not in story.group.members
    assert len(story.serving()) == 3


def test_a_deleted_group_goes_once_it_is_empty() -> None:
    """https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DeleteAutoScalingGroup.html"""
    story = Story()
    story.scaling.delete("g", force=True)
    story.clock.wait(SHUTDOWN - 1)
    assert "g" in story.scaling.groups
    story.clock.wait(5)
    assert story.scaling.groups == {}
