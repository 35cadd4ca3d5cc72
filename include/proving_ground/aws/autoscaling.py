"""The Auto Scaling API in front of the state machine: one method per operation.

Source: https://docs.aws.amazon.com/autoscaling/ec2/APIReference/
"""

# Each method is one AWS operation; its documentation is AWS' own.
# ruff: noqa: D102
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moto.autoscaling.responses import AutoScalingResponse

from node_rotation.testing.scaling_values import AwsFault, Group, GroupChange, Place, TemplateRef
from proving_ground.aws import scaling_shapes as shapes
from proving_ground.aws.physics import ActionResult, EmptyResult, Physics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from node_rotation.testing.autoscaling import AutoScaling


class AutoScalingPhysics(Physics, AutoScalingResponse):  # type: ignore[misc]
    """Instead of moto's own, which acts at once."""

    @property
    def _scaling(self) -> AutoScaling:
        return self.world.autoscaling

    @property
    def _name(self) -> str:
        return str(self.asked()["AutoScalingGroupName"])

    @property
    def _group(self) -> Group:
        return self._scaling.group(self._name)

    # Groups

    def create_auto_scaling_group(self) -> ActionResult:
        asked = self.asked()
        shapes.check_one_source(asked)
        source = shapes.source_of(asked, self._normalise)
        if source is None:
            raise AwsFault("ValidationError", "A group made from an instance is not part of this proving ground.")
        self._scaling.create(shapes.group_of(asked, source, self._places(asked)))
        return EmptyResult()

    def update_auto_scaling_group(self) -> ActionResult:
        asked = self.asked()
        protected = asked.get("NewInstancesProtectedFromScaleIn")
        change = GroupChange(
            source=shapes.source_of(asked, self._normalise),
            min_size=asked.get("MinSize"),
            max_size=asked.get("MaxSize"),
            desired=asked.get("DesiredCapacity"),
            places=self._places(asked) or None,
            new_instances_protected=protected,
            termination_policies=tuple(asked.get("TerminationPolicies") or ()) or None,
            attributes=shapes.attributes_of(asked),
        )
        self._scaling.update(self._name, change)
        return EmptyResult()

    def delete_auto_scaling_group(self) -> ActionResult:
        self._scaling.delete(self._name, force=bool(self.asked().get("ForceDelete")))
        return EmptyResult()

    def describe_auto_scaling_groups(self) -> ActionResult:
        asked = self.asked()
        names, filters = asked.get("AutoScalingGroupNames"), asked.get("Filters") or ()
        found = [
            group
            for group in self._scaling.groups.values()
            if (not names or group.name in names) and all(_matches(group, f) for f in filters)
        ]
        page, token = _page(found, asked, 50)
        described = [shapes.group_shape(group, self.current_account, self.region) for group in page]
        return ActionResult({"AutoScalingGroups": described, "NextToken": token})

    def describe_auto_scaling_instances(self) -> ActionResult:
        asked = self.asked()
        wanted = asked.get("InstanceIds")
        found = [
            {
                **shapes.member_shape(member),
                "AutoScalingGroupName": group.name,
                "HealthStatus": "HEALTHY" if member.healthy else "UNHEALTHY",
            }
            for group in self._scaling.groups.values()
            for member in group.members.values()
            if not wanted or member.instance_id in wanted
        ]
        page, token = _page(found, asked, 50)
        return ActionResult({"AutoScalingInstances": page, "NextToken": token})

    def describe_scaling_activities(self) -> ActionResult:
        asked = self.asked()
        named = asked.get("AutoScalingGroupName")
        groups = [self._group] if named else list(self._scaling.groups.values())
        wanted = asked.get("ActivityIds")
        found = [a for group in groups for a in group.activities if not wanted or a.activity_id in wanted]
        page, token = _page(found, asked, 100)
        described = [shapes.activity_shape(activity) for activity in page]
        return ActionResult({"Activities": described, "NextToken": token})

    # Sizes and members

    def set_desired_capacity(self) -> ActionResult:
        self._scaling.set_desired(self._name, self.asked()["DesiredCapacity"])
        return EmptyResult()

    def detach_instances(self) -> ActionResult:
        asked = self.asked()
        activities = self._scaling.detach(
            self._name, asked.get("InstanceIds") or [], decrement=asked["ShouldDecrementDesiredCapacity"]
        )
        return ActionResult({"Activities": [shapes.activity_shape(activity) for activity in activities]})

    def attach_instances(self) -> ActionResult:
        self._scaling.attach(self._name, self.asked().get("InstanceIds") or [])
        return EmptyResult()

    def terminate_instance_in_auto_scaling_group(self) -> ActionResult:
        asked = self.asked()
        activity = self._scaling.terminate(asked["InstanceId"], decrement=asked["ShouldDecrementDesiredCapacity"])
        return ActionResult({"Activity": shapes.activity_shape(activity)})

    def set_instance_health(self) -> ActionResult:
        asked = self.asked()
        self._scaling.set_health(asked["InstanceId"], healthy=asked["HealthStatus"] == "Healthy")
        return EmptyResult()

    def set_instance_protection(self) -> ActionResult:
        asked = self.asked()
        self._scaling.set_protection(self._name, asked["InstanceIds"], protected=asked["ProtectedFromScaleIn"])
        return EmptyResult()

    def suspend_processes(self) -> ActionResult:
        self._scaling.suspend(self._name, self.asked().get("ScalingProcesses") or ())
        return EmptyResult()

    def resume_processes(self) -> ActionResult:
        self._scaling.resume(self._name, self.asked().get("ScalingProcesses") or ())
        return EmptyResult()

    # Tags

    def create_or_update_tags(self) -> ActionResult:
        for tag in self.asked()["Tags"]:
            self._scaling.put_tags(tag["ResourceId"], [shapes.tag_of(tag)])
        return EmptyResult()

    def delete_tags(self) -> ActionResult:
        for tag in self.asked()["Tags"]:
            self._scaling.delete_tags(tag["ResourceId"], [tag["Key"]])
        return EmptyResult()

    def describe_tags(self) -> ActionResult:
        asked = self.asked()
        fields = {"auto-scaling-group": "ResourceId", "key": "Key", "value": "Value"}
        found = [tag for group in self._scaling.groups.values() for tag in shapes.tag_shapes(group)]
        for wanted in asked.get("Filters") or ():
            name = fields.get(wanted["Name"], "PropagateAtLaunch")
            found = [tag for tag in found if str(tag[name]).lower() in _lower(wanted["Values"])]
        page, token = _page(found, asked, 50)
        return ActionResult({"Tags": page, "NextToken": token})

    # Load balancers and lifecycle hooks

    def attach_load_balancer_target_groups(self) -> ActionResult:
        arns = self.asked()["TargetGroupARNs"]
        for arn in arns:
            self.world.targets.group(arn)
        self._scaling.attach_target_groups(self._name, arns)
        return EmptyResult()

    def put_lifecycle_hook(self) -> ActionResult:
        asked = self.asked()
        known = self._group.hooks.get(asked["LifecycleHookName"], {})
        shapes.check_hook({**known, **asked})
        self._scaling.put_hook(self._name, {k: v for k, v in asked.items() if k != "AutoScalingGroupName"})
        return EmptyResult()

    def describe_lifecycle_hooks(self) -> ActionResult:
        wanted = self.asked().get("LifecycleHookNames")
        hooks = [
            {**hook, "AutoScalingGroupName": self._name}
            for name, hook in self._group.hooks.items()
            if not wanted or name in wanted
        ]
        return ActionResult({"LifecycleHooks": hooks})

    def delete_lifecycle_hook(self) -> ActionResult:
        self._scaling.transitions.hook_deleted(self._group, self.asked()["LifecycleHookName"])
        return EmptyResult()

    def complete_lifecycle_action(self) -> ActionResult:
        asked = self.asked()
        result = asked["LifecycleActionResult"]
        self._scaling.transitions.complete(self._group, asked["LifecycleHookName"], result, **shapes.action_of(asked))
        return EmptyResult()

    def record_lifecycle_action_heartbeat(self) -> ActionResult:
        asked = self.asked()
        self._scaling.transitions.heartbeat(self._group, asked["LifecycleHookName"], **shapes.action_of(asked))
        return EmptyResult()

    # Kept and shown, not acted upon

    def put_warm_pool(self) -> ActionResult:
        asked = {key: value for key, value in self.asked().items() if key != "AutoScalingGroupName"}
        self._scaling.put_warm_pool(self._name, asked)
        return EmptyResult()

    def describe_warm_pool(self) -> ActionResult:
        page, token = _page(list(self._group.pool.values()), self.asked(), 50)
        shown = [shapes.member_shape(member) for member in page]
        return ActionResult({"WarmPoolConfiguration": self._group.warm_pool, "Instances": shown, "NextToken": token})

    def delete_warm_pool(self) -> ActionResult:
        self._scaling.delete_warm_pool(self._name, force=bool(self.asked().get("ForceDelete")))
        return EmptyResult()

    def start_instance_refresh(self) -> ActionResult:
        refresh = self._scaling.start_refresh(self._name, self.asked().get("Preferences") or {})
        return ActionResult({"InstanceRefreshId": refresh})

    def cancel_instance_refresh(self) -> ActionResult:
        return ActionResult({"InstanceRefreshId": self._scaling.cancel_refresh(self._name)})

    def describe_instance_refreshes(self) -> ActionResult:
        wanted = self.asked().get("InstanceRefreshIds")
        times = ("StartTime", "EndTime")
        found = [
            {key: shapes.moment(value) if key in times else value for key, value in refresh.items()}
            for refresh in self._group.refreshes
            if not wanted or refresh["InstanceRefreshId"] in wanted
        ]
        return ActionResult({"InstanceRefreshes": found})

    # Launch configurations

    def create_launch_configuration(self) -> ActionResult:
        asked = self.asked()
        name, kept = asked["LaunchConfigurationName"], self.world.machines.configurations
        if name in kept:
            raise AwsFault(
                "AlreadyExists",
                "Launch Configuration by this name already exists - A launch configuration already exists "
                f"with the name {name}",
            )
        arn = f"arn:aws:autoscaling:{self.region}:{self.current_account}:launchConfiguration:{name}"
        kept[name] = {
            **asked,
            "LaunchConfigurationARN": arn,
            "CreatedTime": shapes.moment(self.world.clock.now()),
        }
        return EmptyResult()

    def describe_launch_configurations(self) -> ActionResult:
        asked = self.asked()
        wanted = asked.get("LaunchConfigurationNames")
        kept = self.world.machines.configurations
        page, token = _page([kept[name] for name in kept if not wanted or name in wanted], asked, 50)
        return ActionResult({"LaunchConfigurations": page, "NextToken": token})

    def delete_launch_configuration(self) -> ActionResult:
        name = self.asked()["LaunchConfigurationName"]
        users = [g.name for g in self._scaling.groups.values() if g.source.configuration == name]
        if users:
            raise AwsFault(
                "ResourceInUse",
                f"Cannot delete launch configuration {name} because it is attached to AutoScalingGroup {users[0]}",
            )
        self.world.machines.configurations.pop(name, None)
        return EmptyResult()

    def _normalise(self, ref: TemplateRef) -> TemplateRef:
        template = self.world.machines.template(ref)
        return TemplateRef(template.id, template.name, ref.version)

    def _places(self, asked: Mapping[str, Any]) -> tuple[Place, ...]:
        subnets = [subnet.strip() for subnet in (asked.get("VPCZoneIdentifier") or "").split(",")]
        if any(subnets):
            return tuple(Place(self.world.machines.zone_of(subnet), subnet) for subnet in subnets)
        return tuple(Place(zone) for zone in asked.get("AvailabilityZones") or ())


def _matches(group: Group, wanted: Mapping[str, Any]) -> bool:
    name, values = wanted["Name"], wanted["Values"]
    if name == "tag-key":
        return any(key in values for key in group.tags)
    if name == "tag-value":
        return any(tag.value in values for tag in group.tags.values())
    tag = group.tags.get(name.removeprefix("tag:"))
    return tag is not None and tag.value in values


def _page(items: Sequence[Any], asked: Mapping[str, Any], default: int) -> tuple[Sequence[Any], str | None]:
    start = int(asked.get("NextToken") or 0)
    end = start + int(asked.get("MaxRecords") or default)
    return items[start:end], str(end) if end < len(items) else None


def _lower(values: Sequence[str]) -> list[str]:
    return [str(value).lower() for value in values]
