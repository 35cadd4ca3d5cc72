"""Auto Scaling as a plain state machine: what its API does, against any EC2 and any clock.

It knows neither boto3 nor a server: the same code stands behind the proving ground's AWS (real time) and the
in-memory world (virtual time). It takes no lock; whoever calls it from several threads holds one.

Source of the behaviours: https://docs.aws.amazon.com/autoscaling/ec2/APIReference/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from node_rotation.testing import scaling_activity as words
from node_rotation.testing import scaling_refresh, scaling_warm
from node_rotation.testing.scaling_activity import Activity, Status
from node_rotation.testing.scaling_reconciler import Reconciler
from node_rotation.testing.scaling_transitions import hook
from node_rotation.testing.scaling_values import (
    PROCESSES,
    AwsFault,
    Clock,
    Compute,
    Faults,
    Group,
    GroupChange,
    GroupTag,
    Lifecycle,
    Member,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from node_rotation.testing.targets import Targets

__all__ = ["AutoScaling"]

# Per call of DetachInstances and AttachInstances.
_MOST_INSTANCES = 20


def _invalid(message: str) -> AwsFault:
    return AwsFault("ValidationError", message)


class AutoScaling:
    """The groups of one account and region.

    :param reconcile_s: seconds from a change to Auto Scaling acting on it.
    :param capacity_retry_s: seconds after a failed launch until the next try.
    :param detach_s: seconds that a member stays listed as Detaching; 0: it is out at once.
    :param seed: of the activity ids.
    :param targets: the target groups that members are registered in.
    """

    def __init__(
        self,
        compute: Compute,
        clock: Clock,
        faults: Faults,
        *,
        reconcile_s: float = 0.2,
        capacity_retry_s: float = 2.0,
        detach_s: float = 0.0,
        seed: int = 1,
        targets: Targets | None = None,
    ) -> None:
        self.compute, self.clock, self._detach_s = compute, clock, detach_s
        paces = {"reconcile_s": reconcile_s, "retry_s": capacity_retry_s}
        self.reconciler = Reconciler(compute, clock, faults, **paces, seed=seed, targets=targets)
        self.transitions = self.reconciler.transitions
        if targets is not None:
            targets.on_change.append(lambda arn, instance: self.instance_changed(instance))
        self.groups: dict[str, Group] = {}

    def group(self, name: str) -> Group:
        """:raises AwsFault: if there is no such group."""
        if name not in self.groups:
            raise _invalid(f"AutoScalingGroup name not found - no such group: {name}")
        return self.groups[name]

    def group_of(self, instance_id: str) -> tuple[Group, Member] | None:
        """The group an instance is in, if it is in one."""
        for group in self.groups.values():
            if instance_id in group.members:
                return group, group.members[instance_id]
        return None

    def member(self, instance_id: str) -> tuple[Group, Member]:
        """:raises AwsFault: if no group manages the instance."""
        if found := self.group_of(instance_id):
            return found
        raise _unmanaged(instance_id)

    def create(self, group: Group) -> None:
        """CreateAutoScalingGroup; the instances come later."""
        if group.name in self.groups:
            raise AwsFault(
                "AlreadyExists",
                f"AutoScalingGroup by this name already exists - A group with the name {group.name} already exists",
            )
        _check_sizes(group.min_size, group.max_size, group.desired)
        group.created_at = self.clock.now()
        self.groups[group.name] = group
        self.reconciler.kick(group)

    def update(self, name: str, change: GroupChange) -> None:
        """UpdateAutoScalingGroup: a size outside the bounds is refused, an unnamed desired one is moved in."""
        group = self.group(name)
        minimum = group.min_size if change.min_size is None else change.min_size
        maximum = group.max_size if change.max_size is None else change.max_size
        desired = change.desired
        if desired is None:
            desired = min(max(group.desired, minimum), maximum)
        _check_sizes(minimum, maximum, desired)
        if desired != group.desired:
            group.asked.append(words.by_update(self.clock.now(), (minimum, maximum, desired), group.desired))
        group.min_size, group.max_size, group.desired = minimum, maximum, desired
        group.source = change.source or group.source
        group.places = change.places or group.places
        group.termination_policies = change.termination_policies or group.termination_policies
        if change.new_instances_protected is not None:
            group.new_instances_protected = change.new_instances_protected
        group.attributes.update(change.attributes)
        self.reconciler.kick(group)

    def set_desired(self, name: str, desired: int) -> None:
        """SetDesiredCapacity within the group's own bounds."""
        group = self.group(name)
        said = f"New SetDesiredCapacity value {desired} is "
        if desired > group.max_size:
            raise _invalid(f"{said}above max value {group.max_size} for the AutoScalingGroup.")
        if desired < group.min_size:
            raise _invalid(f"{said}below min value {group.min_size} for the AutoScalingGroup.")
        if desired != group.desired:
            group.asked.append(words.by_set(self.clock.now(), group.desired, desired))
        group.desired = desired
        self.reconciler.kick(group)

    def detach(self, name: str, instance_ids: Sequence[str], *, decrement: bool) -> list[Activity]:
        """DetachInstances: they run on, outside the group; without decrement they are replaced.

        Source: https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DetachInstances.html
        """
        group = self.group(name)
        _check_count(instance_ids)
        for instance_id in instance_ids:
            self._check_detachable(group, instance_id)
        if decrement and group.desired - len(instance_ids) < group.min_size:
            raise _sizes_forbid(group, "detach", len(instance_ids))
        return [self._detach(group, group.members[i], decrement=decrement) for i in instance_ids]

    def attach(self, name: str, instance_ids: Sequence[str]) -> None:
        """AttachInstances: raises the desired capacity by as many, which must fit under the maximum.

        Source: https://docs.aws.amazon.com/autoscaling/ec2/userguide/attach-instance-asg.html
        """
        group = self.group(name)
        _check_count(instance_ids)
        if group.desired + len(instance_ids) > group.max_size:
            raise _sizes_forbid(group, "attach", len(instance_ids))
        for instance_id in instance_ids:
            self._check_attachable(instance_id)
        for instance_id in instance_ids:
            self._attach(group, instance_id)
        self.reconciler.kick(group)

    def terminate(self, instance_id: str, *, decrement: bool) -> Activity:
        """TerminateInstanceInAutoScalingGroup; without decrement a replacement comes."""
        group, member = self.member(instance_id)
        if not member.alive:
            raise _unmanaged(instance_id)
        if decrement and group.desired <= group.min_size:
            raise _invalid(
                f"Currently, desiredSize equals minSize ({group.min_size}). Terminating instance without "
                "replacement will violate group's min size constraint. Either set "
                "shouldDecrementDesiredCapacity flag to false or lower group's min size."
            )
        before = group.desired
        group.desired -= decrement
        cause = words.by_request(self.clock.now(), instance_id, "taken out of service", before, group.desired)
        return self.reconciler.take_out(group, member, cause)

    def suspend(self, name: str, processes: Iterable[str]) -> None:
        """SuspendProcesses; none named means all."""
        group = self.group(name)
        for process in _processes(processes):
            group.suspended[process] = f"User suspended at {words.stamp(self.clock.now())}"

    def resume(self, name: str, processes: Iterable[str]) -> None:
        """ResumeProcesses; none named means all."""
        group = self.group(name)
        for process in _processes(processes):
            group.suspended.pop(process, None)
        self.reconciler.kick(group)

    def set_health(self, instance_id: str, *, healthy: bool) -> None:
        """SetInstanceHealth."""
        group, member = self.member(instance_id)
        member.healthy = healthy
        self.reconciler.kick(group)

    def set_protection(self, name: str, instance_ids: Iterable[str], *, protected: bool) -> None:
        """SetInstanceProtection from scale-in."""
        group = self.group(name)
        for instance_id in instance_ids:
            _member_of(group, instance_id).protected = protected
        self.reconciler.kick(group)

    def put_hook(self, name: str, asked: Mapping[str, Any]) -> None:
        """PutLifecycleHook, new or changed; machines that wait already go by what it was."""
        group = self.group(name)
        known = {k: v for k, v in group.hooks.get(asked["LifecycleHookName"], {}).items() if k != "GlobalTimeout"}
        group.hooks[asked["LifecycleHookName"]] = hook({**known, **asked})

    def attach_target_groups(self, name: str, arns: Sequence[str]) -> None:
        """AttachLoadBalancerTargetGroups: who is in service is registered."""
        group = self.group(name)
        group.attributes["TargetGroupARNs"] = list(dict.fromkeys((*group.target_groups, *arns)))
        for member in group.live():
            if member.lifecycle is Lifecycle.IN_SERVICE:
                self.transitions.register(group, member)

    def put_tags(self, name: str, tags: Iterable[GroupTag]) -> None:
        """CreateOrUpdateTags; running instances keep theirs."""
        self.group(name).tags.update({tag.key: tag for tag in tags})

    def delete_tags(self, name: str, keys: Iterable[str]) -> None:
        """DeleteTags; a key that is not there is no error."""
        group = self.group(name)
        for key in keys:
            group.tags.pop(key, None)

    def start_refresh(self, name: str, preferences: Mapping[str, Any]) -> str:
        """StartInstanceRefresh."""
        return scaling_refresh.start(self.reconciler, self.group(name), preferences)

    def cancel_refresh(self, name: str) -> str:
        """CancelInstanceRefresh."""
        return scaling_refresh.cancel(self.group(name))

    def instance_changed(self, instance_id: str) -> None:
        """EC2 tells that an instance stops or goes; the health check notices a little later."""
        pools = (group for group in self.groups.values() if instance_id in group.pool)
        found = self.group_of(instance_id)
        if (group := found[0] if found else next(pools, None)) is not None:
            self.reconciler.kick(group)

    def put_warm_pool(self, name: str, asked: Mapping[str, Any]) -> None:
        """PutWarmPool."""
        scaling_warm.put(self.group(name), asked)
        self.reconciler.kick(self.group(name))

    def delete_warm_pool(self, name: str, *, force: bool) -> None:
        """DeleteWarmPool."""
        scaling_warm.delete(self.compute, self.group(name), force=force)

    def delete(self, name: str, *, force: bool) -> None:
        """DeleteAutoScalingGroup; with members only by force, and then they are terminated first."""
        group = self.group(name)
        if group.members and not force:
            raise AwsFault(
                "ResourceInUse",
                "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance "
                "request(s) still in the group.",
            )
        scaling_warm.delete(self.compute, group, force=True)
        group.min_size = group.desired = 0
        group.deleting = True
        for member in group.live():
            cause = words.shrink(self.clock.now(), group.capacity(), 0, member.instance_id)
            self.reconciler.take_out(group, member, cause)
        self._forget_when_empty(group)

    def _forget_when_empty(self, group: Group) -> None:
        if group.members:
            self.clock.after(self.reconciler.reconcile_s, lambda: self._forget_when_empty(group))
        else:
            self.groups.pop(group.name, None)

    def _detach(self, group: Group, member: Member, *, decrement: bool) -> Activity:
        instance_id, before = member.instance_id, group.desired
        group.desired -= decrement
        member.lifecycle = Lifecycle.DETACHING
        self.transitions.deregister(group, member)
        cause = words.by_request(self.clock.now(), instance_id, "detached", before, group.desired)
        activity = self.reconciler.record(group, f"Detaching EC2 instance: {instance_id}", cause, zone=member.zone)

        def out() -> None:
            group.members.pop(instance_id, None)
            self.compute.set_group_tag(instance_id, None)
            activity.finish(self.clock.now())

        if self._detach_s:
            self.clock.after(self._detach_s, out)
        else:
            out()
        self.reconciler.kick(group)
        return activity

    def _check_detachable(self, group: Group, instance_id: str) -> None:
        member = _member_of(group, instance_id)
        if member.lifecycle is not Lifecycle.IN_SERVICE:
            raise _invalid(f"The instance {instance_id} is not in InService or Standby.")

    def _check_attachable(self, instance_id: str) -> None:
        if found := self.group_of(instance_id):
            raise _invalid(f"The Instance: {instance_id} is already part of AutoScalingGroup:{found[0].name}")
        if (state := self.compute.state(instance_id)) != "running":
            raise _invalid(f"Instance {instance_id} is not in correct state ({state}); it must be running.")

    def _attach(self, group: Group, instance_id: str) -> None:
        blueprint, zone = self.compute.describe(instance_id)
        member = Member(instance_id, blueprint, zone, self.clock.now(), lifecycle=Lifecycle.IN_SERVICE)
        member.in_service_at = self.clock.now()
        group.members[instance_id] = member
        self.transitions.register(group, member)
        group.desired += 1
        self.compute.set_group_tag(instance_id, group.name)
        cause = words.by_request(self.clock.now(), instance_id, "attached", group.desired - 1, group.desired)
        self.reconciler.record(
            group, f"Attaching an existing EC2 instance: {instance_id}", cause, zone=zone, ended=Status.SUCCESSFUL
        )


def _member_of(group: Group, instance_id: str) -> Member:
    if instance_id not in group.members:
        raise _invalid(f"The instance {instance_id} is not part of Auto Scaling group {group.name}.")
    return group.members[instance_id]


def _unmanaged(instance_id: str) -> AwsFault:
    return _invalid(f"Instance Id not found - No managed instance found for instance ID: {instance_id}")


def _check_count(instance_ids: Sequence[str]) -> None:
    if len(instance_ids) > _MOST_INSTANCES:
        raise _invalid(
            f"1 validation error detected: Value '[{', '.join(instance_ids)}]' at 'instanceIds' failed to "
            f"satisfy constraint: Member must have length less than or equal to {_MOST_INSTANCES}"
        )


def _processes(named: Iterable[str]) -> tuple[str, ...]:
    chosen = tuple(named) or PROCESSES
    if unknown := [process for process in chosen if process not in PROCESSES]:
        raise _invalid(f"Unknown process name(s): {', '.join(unknown)}")
    return chosen


def _sizes_forbid(group: Group, verb: str, count: int) -> AwsFault:
    return _invalid(
        f"AutoScalingGroup {group.name} has min-size={group.min_size}, max-size={group.max_size}, and "
        f"desired-size={group.desired}. To {verb} {count} instance{'s' if count > 1 else ''}, please update "
        "the AutoScalingGroup sizes appropriately."
    )


def _check_sizes(minimum: int, maximum: int, desired: int) -> None:
    if minimum > maximum:
        raise _invalid(f"Max bound, {maximum}, must be greater than or equal to min bound, {minimum}")
    if not minimum <= desired <= maximum:
        raise _invalid(
            f"Desired capacity:{desired} must be between the specified min size:{minimum} and max size:{maximum}"
        )
