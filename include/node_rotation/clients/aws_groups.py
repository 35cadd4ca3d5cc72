"""Auto Scaling groups: looked at in few calls, changed with their preconditions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from node_rotation.clients import aws_values as values
from node_rotation.clients.aws_calls import Calls, chunks
from node_rotation.clients.aws_errors import translated
from node_rotation.clients.aws_gone import changing
from node_rotation.errors import GoneError
from node_rotation.model import TemplateVersion
from node_rotation.world.aws import Activity, Hook, Member, ScalingGroup

GROUPS_PER_CALL = 50
INSTANCES_PER_CALL = 20  # of AttachInstances and DetachInstances
REFRESHING = frozenset({"Pending", "InProgress", "Cancelling", "RollbackInProgress", "Baking"})
_SERVICE = "autoscaling"


class Groups:
    """What Auto Scaling is asked and told.

    :param details_s: for how many seconds a group's hooks and instance refreshes are believed: AWS answers them
        one group at a time only, and they change rarely.
    :param monotonic: seconds that only grow; measures ``details_s``.
    """

    def __init__(self, calls: Calls, details_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._calls, self._details_s, self._monotonic = calls, details_s, monotonic
        self._details: dict[str, tuple[float, tuple[Hook, ...], str]] = {}

    def groups(self, names: Sequence[str]) -> Mapping[str, ScalingGroup]:
        """The groups that exist among these names, hooks and running refreshes included."""
        found: dict[str, ScalingGroup] = {}
        for some in chunks(names, GROUPS_PER_CALL):
            for answer in self._describe_groups(", ".join(some), AutoScalingGroupNames=list(some)):
                name = answer["AutoScalingGroupName"]
                found[name] = values.group(answer, *self._details_of(name))
        return found

    def find_groups(self, tags: Mapping[str, str]) -> tuple[str, ...]:
        """Names of the groups that carry all these tags."""
        filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
        found = self._describe_groups(f"groups with tags {dict(tags)}", Filters=filters)
        return tuple(sorted(g["AutoScalingGroupName"] for g in found if tags.items() <= values.tags(g).items()))

    def activities(self, group: str, since: float) -> tuple[Activity, ...]:
        """Scaling activities that started after ``since``, newest first."""
        found: list[Activity] = []
        pages = self._calls.autoscaling.get_paginator("describe_scaling_activities")
        with translated(_SERVICE, "DescribeScalingActivities", group):
            for page in pages.paginate(AutoScalingGroupName=group):
                new = [a for a in map(values.activity, page["Activities"]) if a.started_at > since]
                found.extend(new)
                if len(new) < len(page["Activities"]):  # newest first: all that follow are older still
                    break
        return tuple(found)

    def warm_members(self, group: str) -> tuple[Member, ...]:
        """The machines of a group's warm pool."""
        pages = self._calls.autoscaling.get_paginator("describe_warm_pool")
        with translated(_SERVICE, "DescribeWarmPool", group):
            found = [m for page in pages.paginate(AutoScalingGroupName=group) for m in page.get("Instances") or ()]
        return tuple(map(values.member, found))

    def detach(self, group: str, instance_ids: Sequence[str]) -> None:
        """Detach without decrement: the group launches the replacement."""
        for some in chunks(instance_ids, INSTANCES_PER_CALL):
            with translated(_SERVICE, "DetachInstances", f"{', '.join(some)} from {group}"):
                self._calls.autoscaling_once.detach_instances(
                    AutoScalingGroupName=group, InstanceIds=list(some), ShouldDecrementDesiredCapacity=False
                )

    def attach(self, group: str, instance_ids: Sequence[str]) -> None:
        """Attach; raises desired by as many."""
        for some in chunks(instance_ids, INSTANCES_PER_CALL):
            with translated(_SERVICE, "AttachInstances", f"{', '.join(some)} to {group}"):
                self._calls.autoscaling_once.attach_instances(AutoScalingGroupName=group, InstanceIds=list(some))

    def terminate_in_group(self, instance_id: str, *, decrement: bool) -> None:
        """TerminateInstanceInAutoScalingGroup."""
        with changing(self._calls, _SERVICE, "TerminateInstanceInAutoScalingGroup", [instance_id]):
            self._calls.autoscaling_once.terminate_instance_in_auto_scaling_group(
                InstanceId=instance_id, ShouldDecrementDesiredCapacity=decrement
            )

    def set_sizes(
        self, group: str, *, min: int | None = None, max: int | None = None, desired: int | None = None
    ) -> None:
        """Set only what is given."""
        sizes = {"MinSize": min, "MaxSize": max, "DesiredCapacity": desired}
        given = {key: value for key, value in sizes.items() if value is not None}
        if given:
            self._update(group, **given)

    def use_template_version(self, group: str, version: TemplateVersion) -> None:
        """Point a group at a template version.

        A mixed-instances policy is written back as it was read, so that overrides and distribution stay.
        """
        found = next(iter(self._describe_groups(group, AutoScalingGroupNames=[group])), None)
        if found is None:
            raise GoneError(f"the Auto Scaling group {group} does not exist")
        if policy := found.get("MixedInstancesPolicy"):
            self._update(group, MixedInstancesPolicy=values.mixed_policy_with(policy, version))
        else:
            self._update(group, LaunchTemplate={**values.address(version), "Version": version.version})

    def suspend(self, group: str, processes: Sequence[str]) -> None:
        """SuspendProcesses; none given would mean all of them, so that does nothing."""
        if processes:
            with translated(_SERVICE, "SuspendProcesses", group):
                self._calls.autoscaling.suspend_processes(AutoScalingGroupName=group, ScalingProcesses=list(processes))

    def resume(self, group: str, processes: Sequence[str]) -> None:
        """ResumeProcesses; none given would mean all of them, so that does nothing."""
        if processes:
            with translated(_SERVICE, "ResumeProcesses", group):
                self._calls.autoscaling.resume_processes(AutoScalingGroupName=group, ScalingProcesses=list(processes))

    def tag_group(self, group: str, tags: Mapping[str, str]) -> None:
        """CreateOrUpdateTags, never propagated."""
        if tags:
            wanted = [_tag(group, key, Value=value, PropagateAtLaunch=False) for key, value in tags.items()]
            with translated(_SERVICE, "CreateOrUpdateTags", group):
                self._calls.autoscaling.create_or_update_tags(Tags=wanted)

    def untag_group(self, group: str, keys: Sequence[str]) -> None:
        """DeleteTags of Auto Scaling."""
        if keys:
            with translated(_SERVICE, "DeleteTags", group):
                self._calls.autoscaling.delete_tags(Tags=[_tag(group, key) for key in keys])

    def _update(self, group: str, **settings: Any) -> None:
        with translated(_SERVICE, "UpdateAutoScalingGroup", group):
            self._calls.autoscaling.update_auto_scaling_group(AutoScalingGroupName=group, **settings)

    def _describe_groups(self, what: str, **arguments: Any) -> list[Any]:
        pages = self._calls.autoscaling.get_paginator("describe_auto_scaling_groups")
        with translated(_SERVICE, "DescribeAutoScalingGroups", what):
            return [group for page in pages.paginate(**arguments) for group in page["AutoScalingGroups"]]

    def _details_of(self, group: str) -> tuple[tuple[Hook, ...], str]:
        read_at, hooks, refresh = self._details.get(group, (float("-inf"), (), ""))
        now = self._monotonic()
        if now - read_at >= self._details_s:
            hooks, refresh = self._hooks(group), self._refresh(group)
            self._details[group] = (now, hooks, refresh)
        return hooks, refresh

    def _hooks(self, group: str) -> tuple[Hook, ...]:
        with translated(_SERVICE, "DescribeLifecycleHooks", group):
            answer = self._calls.autoscaling.describe_lifecycle_hooks(AutoScalingGroupName=group)
        return tuple(map(values.hook, answer.get("LifecycleHooks", ())))

    def _refresh(self, group: str) -> str:
        with translated(_SERVICE, "DescribeInstanceRefreshes", group):
            answer = self._calls.autoscaling.describe_instance_refreshes(AutoScalingGroupName=group, MaxRecords=10)
        running = [r["InstanceRefreshId"] for r in answer.get("InstanceRefreshes", ()) if r["Status"] in REFRESHING]
        return running[0] if running else ""


def _tag(group: str, key: str, **more: Any) -> dict[str, Any]:
    return {"ResourceId": group, "ResourceType": "auto-scaling-group", "Key": key, **more}
