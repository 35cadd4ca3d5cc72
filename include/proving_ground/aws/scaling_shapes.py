"""Between Auto Scaling's wire shapes and the state machine's values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from node_rotation.testing.scaling_transitions import hook
from node_rotation.testing.scaling_values import (
    AwsFault,
    Blueprint,
    Group,
    GroupTag,
    LaunchSource,
    Member,
    Override,
    Place,
    TemplateRef,
)
from proving_ground.aws import arns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from node_rotation.testing.scaling_activity import Activity

    Normalise = Callable[[TemplateRef], TemplateRef]

_SOURCES = ("LaunchTemplate", "MixedInstancesPolicy", "LaunchConfigurationName", "InstanceId")
_MODELLED = (
    *_SOURCES,
    "AutoScalingGroupName",
    "MinSize",
    "MaxSize",
    "DesiredCapacity",
    "VPCZoneIdentifier",
    "AvailabilityZones",
    "Tags",
    "NewInstancesProtectedFromScaleIn",
    "TerminationPolicies",
    "LifecycleHookSpecificationList",
)
_DEFAULTS = {"HealthCheckType": "EC2", "HealthCheckGracePeriod": 0, "DefaultCooldown": 300}


def moment(at: float | None) -> datetime | None:
    """Epoch seconds as moto's serialiser wants a time."""
    return None if at is None else datetime.fromtimestamp(at, UTC)


def source_of(asked: Mapping[str, Any], normalise: Normalise) -> LaunchSource | None:
    """What a request says to launch from; None if it says nothing.

    :param normalise: completes a template's id and name, whichever was given.
    """
    if named := asked.get("LaunchConfigurationName"):
        return LaunchSource(configuration=named)
    if plain := asked.get("LaunchTemplate"):
        return LaunchSource(template=normalise(_ref(plain)))
    if policy := asked.get("MixedInstancesPolicy"):
        template = policy["LaunchTemplate"]
        return LaunchSource(
            template=normalise(_ref(template["LaunchTemplateSpecification"])),
            mixed=True,
            overrides=tuple(_override(entry, normalise) for entry in template.get("Overrides") or ()),
            distribution=policy.get("InstancesDistribution") or {},
        )
    return None


def check_one_source(asked: Mapping[str, Any]) -> None:
    """:raises AwsFault: unless a new group names exactly one thing to launch from."""
    if sum(bool(asked.get(name)) for name in _SOURCES) != 1:
        raise AwsFault(
            "ValidationError",
            "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or "
            "MixedInstancesPolicy parameter.",
        )


def group_of(asked: Mapping[str, Any], source: LaunchSource, places: tuple[Place, ...]) -> Group:
    """The group that CreateAutoScalingGroup asks for."""
    tags = [tag_of(tag) for tag in asked.get("Tags") or ()]
    hooks = asked.get("LifecycleHookSpecificationList") or ()
    return Group(
        asked["AutoScalingGroupName"],
        source,
        asked["MinSize"],
        asked["MaxSize"],
        asked["MinSize"] if asked.get("DesiredCapacity") is None else asked["DesiredCapacity"],
        places,
        tags={tag.key: tag for tag in tags},
        new_instances_protected=bool(asked.get("NewInstancesProtectedFromScaleIn")),
        termination_policies=tuple(asked.get("TerminationPolicies") or ("Default",)),
        attributes={**_DEFAULTS, **attributes_of(asked)},
        hooks={asked_hook["LifecycleHookName"]: hook(asked_hook) for asked_hook in hooks},
    )


def check_hook(asked: Mapping[str, Any]) -> None:
    """:raises AwsFault: for a hook without a transition, or with a timeout that AWS does not take."""
    if not asked.get("LifecycleTransition"):
        raise AwsFault("ValidationError", "Lifecycle Transition is required to create a lifecycle hook.")
    if not 30 <= int(asked.get("HeartbeatTimeout") or 3600) <= 7200:
        raise AwsFault("ValidationError", "Heartbeat timeout must be between 30 and 7200 seconds.")


def action_of(asked: Mapping[str, Any]) -> dict[str, str]:
    """How a request names a lifecycle action: by its machine or by its token."""
    return {"instance": asked.get("InstanceId") or "", "token": asked.get("LifecycleActionToken") or ""}


def attributes_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a request says beyond the things that the state machine acts upon."""
    return {name: value for name, value in asked.items() if name not in _MODELLED and value is not None}


def tag_of(tag: Mapping[str, Any]) -> GroupTag:
    """A tag as the API spells it."""
    return GroupTag(tag["Key"], tag.get("Value") or "", bool(tag.get("PropagateAtLaunch")))


def group_shape(group: Group, account: str, region: str) -> dict[str, Any]:
    """A group as DescribeAutoScalingGroups shows it."""
    subnets = [place.subnet_id for place in group.places if place.subnet_id]
    shape: dict[str, Any] = {
        "AutoScalingGroupName": group.name,
        "AutoScalingGroupARN": arns.group(region, account, group.name),
        **group.attributes,
        **_source_shape(group.source),
        "MinSize": group.min_size,
        "MaxSize": group.max_size,
        "DesiredCapacity": group.desired,
        "AvailabilityZones": [place.zone for place in group.places],
        "VPCZoneIdentifier": ",".join(subnets),
        "LoadBalancerNames": group.attributes.get("LoadBalancerNames", []),
        "TargetGroupARNs": group.attributes.get("TargetGroupARNs", []),
        "Instances": [member_shape(member) for member in group.members.values()],
        "CreatedTime": moment(group.created_at),
        "SuspendedProcesses": [
            {"ProcessName": process, "SuspensionReason": reason} for process, reason in group.suspended.items()
        ],
        "EnabledMetrics": [],
        "Tags": tag_shapes(group),
        "TerminationPolicies": list(group.termination_policies),
        "NewInstancesProtectedFromScaleIn": group.new_instances_protected,
        "WarmPoolConfiguration": group.warm_pool,
        "Status": "Delete in progress" if group.deleting else None,
    }
    return {name: value for name, value in shape.items() if value is not None}


def tag_shapes(group: Group) -> list[dict[str, Any]]:
    """A group's tags as DescribeTags shows them."""
    return [
        {
            "ResourceId": group.name,
            "ResourceType": "auto-scaling-group",
            "Key": tag.key,
            "Value": tag.value,
            "PropagateAtLaunch": tag.propagate,
        }
        for tag in group.tags.values()
    ]


def member_shape(member: Member) -> dict[str, Any]:
    """A member as DescribeAutoScalingGroups shows it, with the version it was really launched from."""
    shape: dict[str, Any] = {
        "InstanceId": member.instance_id,
        "InstanceType": member.blueprint.instance_type,
        "AvailabilityZone": member.zone,
        "LifecycleState": member.lifecycle.value,
        "HealthStatus": "Healthy" if member.healthy else "Unhealthy",
        "ProtectedFromScaleIn": member.protected,
        **_blueprint_shape(member.blueprint),
    }
    return shape if member.weight == 1 else {**shape, "WeightedCapacity": str(member.weight)}


def activity_shape(activity: Activity) -> dict[str, Any]:
    """An activity as DescribeScalingActivities shows it."""
    shape = {
        "ActivityId": activity.activity_id,
        "AutoScalingGroupName": activity.group,
        "Description": activity.description,
        "Cause": activity.cause,
        "StartTime": moment(activity.started_at),
        "EndTime": moment(activity.ended_at),
        "StatusCode": activity.status.value,
        "StatusMessage": activity.message,
        "Progress": activity.progress,
        "Details": f'{{"Availability Zone":"{activity.zone}"}}' if activity.zone else "{}",
    }
    return {name: value for name, value in shape.items() if value is not None}


def _ref(spec: Mapping[str, Any]) -> TemplateRef:
    version = str(spec.get("Version") or "$Default")
    return TemplateRef(spec.get("LaunchTemplateId"), spec.get("LaunchTemplateName"), version)


def _override(entry: Mapping[str, Any], normalise: Normalise) -> Override:
    spec = entry.get("LaunchTemplateSpecification")
    weight = int(entry.get("WeightedCapacity") or 1)
    return Override(entry.get("InstanceType"), weight, normalise(_ref(spec)) if spec else None, entry.get("ImageId"))


def _source_shape(source: LaunchSource) -> dict[str, Any]:
    if source.configuration:
        return {"LaunchConfigurationName": source.configuration}
    if source.template and not source.mixed:
        return {"LaunchTemplate": _ref_shape(source.template)}
    if source.template is None:
        return {}
    template: dict[str, Any] = {"LaunchTemplateSpecification": _ref_shape(source.template)}
    if source.overrides:
        template["Overrides"] = [_override_shape(entry) for entry in source.overrides]
    return {
        "MixedInstancesPolicy": {
            "LaunchTemplate": template,
            "InstancesDistribution": {
                "OnDemandAllocationStrategy": "prioritized",
                "OnDemandBaseCapacity": 0,
                "OnDemandPercentageAboveBaseCapacity": 100,
                "SpotAllocationStrategy": "lowest-price",
                **source.distribution,
            },
        }
    }


def _ref_shape(ref: TemplateRef) -> dict[str, Any]:
    return {
        "LaunchTemplateId": ref.template_id,
        "LaunchTemplateName": ref.template_name,
        "Version": ref.version,
    }


def _override_shape(entry: Override) -> dict[str, Any]:
    shape: dict[str, Any] = {}
    if entry.instance_type:
        shape["InstanceType"] = entry.instance_type
    if entry.weight != 1:
        shape["WeightedCapacity"] = str(entry.weight)
    if entry.template:
        shape["LaunchTemplateSpecification"] = _ref_shape(entry.template)
    if entry.image_id:
        shape["ImageId"] = entry.image_id
    return shape


def _blueprint_shape(blueprint: Blueprint) -> dict[str, Any]:
    if blueprint.configuration:
        return {"LaunchConfigurationName": blueprint.configuration}
    if blueprint.template_id is None:
        return {}
    return {
        "LaunchTemplate": {
            "LaunchTemplateId": blueprint.template_id,
            "LaunchTemplateName": blueprint.template_name,
            "Version": blueprint.version,
        }
    }
