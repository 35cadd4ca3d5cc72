"""AWS' answers as values of ours, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from node_rotation.model import Image, TemplateVersion
from node_rotation.world.aws import MACHINES, Activity, Hook, Instance, Member, ScalingGroup, TemplateSpec

Answer = Mapping[str, Any]
DEFAULT_VERSION = "$Default"

_LEAVING = "PendingDelete"
"""Status of a warm pool that is being deleted (API reference, WarmPoolConfiguration)."""


def instance(found: Answer) -> Instance:
    """An element of DescribeInstances."""
    return Instance(
        id=found["InstanceId"],
        image_id=found.get("ImageId", ""),
        instance_type=found.get("InstanceType", ""),
        zone=found.get("Placement", {}).get("AvailabilityZone", ""),
        state=found["State"]["Name"],
        launched_at=found["LaunchTime"].timestamp(),
        tags=tags(found),
        private_dns=found.get("PrivateDnsName", ""),
    )


def tags(found: Answer) -> dict[str, str]:
    """Tags of anything."""
    return {tag["Key"]: tag.get("Value", "") for tag in found.get("Tags") or ()}


def group(found: Answer, hooks: tuple[Hook, ...], refresh: str) -> ScalingGroup:
    """An element of DescribeAutoScalingGroups.

    :param hooks: its lifecycle hooks.
    :param refresh: id of the instance refresh that runs; empty if none does.
    """
    overrides = _mixed(found).get("Overrides") or ()
    specs = [o.get("LaunchTemplateSpecification") for o in overrides]
    sources, pool = found.get("TrafficSources") or (), _warm_pool(found)
    return ScalingGroup(
        name=found["AutoScalingGroupName"],
        min=found["MinSize"],
        max=found["MaxSize"],
        desired=found["DesiredCapacity"],
        members=tuple(member(m) for m in found.get("Instances") or ()),
        template=spec_of(found),
        overrides=tuple(spec(s) if s else None for s in specs),
        override_images={_named(n, o): o["ImageId"] for n, o in enumerate(overrides, 1) if o.get("ImageId")},
        instance_types=tuple(o["InstanceType"] for o in overrides if o.get("InstanceType")),
        weights=tuple(int(o["WeightedCapacity"]) for o in overrides if o.get("WeightedCapacity")),
        suspended={p["ProcessName"]: p.get("SuspensionReason", "") for p in found.get("SuspendedProcesses") or ()},
        zones=tuple(found.get("AvailabilityZones") or ()),
        tags=tags(found),
        target_groups=_with_sources(found.get("TargetGroupARNs"), sources, "elbv2"),
        load_balancers=_with_sources(found.get("LoadBalancerNames"), sources, "elb", "vpc-lattice"),
        hooks=hooks,
        health_check_type=found.get("HealthCheckType", "EC2"),
        max_lifetime_s=found.get("MaxInstanceLifetime") or 0,
        capacity_rebalance=bool(found.get("CapacityRebalance")),
        refresh_in_progress=refresh,
        sized_in=found.get("DesiredCapacityType") or MACHINES,
        warm_pool=pool is not None,
        warm_pool_reuses=bool(((pool or {}).get("InstanceReusePolicy") or {}).get("ReuseOnScaleIn")),
    )


def hook(found: Answer) -> Hook:
    """An element of DescribeLifecycleHooks."""
    named = Hook(found["LifecycleHookName"], found["LifecycleTransition"].rpartition("_")[2].lower())
    return replace(
        named,
        heartbeat_s=float(found.get("HeartbeatTimeout") or named.heartbeat_s),
        longest_s=float(found.get("GlobalTimeout") or named.longest_s),
        result=found.get("DefaultResult") or named.result,
    )


def member(found: Answer) -> Member:
    """An element of a group's Instances."""
    template = found.get("LaunchTemplate")
    configuration = found.get("LaunchConfigurationName")
    launched_from = TemplateVersion(name=configuration) if configuration else None
    return Member(
        instance_id=found["InstanceId"],
        lifecycle=found["LifecycleState"],
        health=found.get("HealthStatus", ""),
        zone=found.get("AvailabilityZone", ""),
        instance_type=found.get("InstanceType", ""),
        template=version(template) if template else launched_from,
        protected=bool(found.get("ProtectedFromScaleIn")),
    )


def spec_of(found: Answer) -> TemplateSpec:
    """How a group names its template: mixed instances, launch template, or launch configuration."""
    mixed = _mixed(found).get("LaunchTemplateSpecification")
    named = mixed or found.get("LaunchTemplate")
    if named:
        return spec(named)
    return TemplateSpec(name=found.get("LaunchConfigurationName", ""), launch_configuration=True)


def spec(found: Answer) -> TemplateSpec:
    """A LaunchTemplateSpecification; without a version AWS takes the default."""
    return TemplateSpec(
        name=found.get("LaunchTemplateName", ""),
        id=found.get("LaunchTemplateId", ""),
        version=found.get("Version") or DEFAULT_VERSION,
    )


def version(found: Answer) -> TemplateVersion:
    """The same, of an instance that was launched from it."""
    return TemplateVersion(
        name=found.get("LaunchTemplateName", ""),
        id=found.get("LaunchTemplateId", ""),
        version=str(found.get("Version", "")),
    )


def address(template: TemplateVersion | TemplateSpec) -> dict[str, str]:
    """A launch template in a request: by id or by name, never both (AWS refuses that)."""
    if template.id:
        return {"LaunchTemplateId": template.id}
    return {"LaunchTemplateName": template.name}


def mixed_policy_with(policy: Answer, template: TemplateVersion) -> dict[str, Any]:
    """A mixed-instances policy with another template version; overrides and distribution kept."""
    launch = policy.get("LaunchTemplate", {})
    overrides = [_without_name(override) for override in launch.get("Overrides") or ()]
    wanted: dict[str, Any] = {
        "LaunchTemplateSpecification": {**address(template), "Version": template.version},
    }
    return {**policy, "LaunchTemplate": wanted | ({"Overrides": overrides} if overrides else {})}


def _without_name(override: Answer) -> dict[str, Any]:
    """AWS answers with a template's id and name, and refuses both in a request."""
    kept = dict(override)
    named = dict(kept.get("LaunchTemplateSpecification") or {})
    if named.get("LaunchTemplateId"):
        named.pop("LaunchTemplateName", None)
        kept["LaunchTemplateSpecification"] = named
    return kept


def activity(found: Answer) -> Activity:
    """An element of DescribeScalingActivities."""
    return Activity(
        started_at=found["StartTime"].timestamp(),
        status=found["StatusCode"],
        description=found.get("Description", ""),
        message=found.get("StatusMessage", ""),
        cause=found.get("Cause", ""),
    )


def image(found: Answer) -> Image:
    """An element of DescribeImages."""
    deprecated = found.get("DeprecationTime")
    return Image(
        id=found["ImageId"],
        name=found.get("Name", ""),
        owner=found.get("OwnerId", ""),
        created=moment(found["CreationDate"]),
        architecture=found.get("Architecture", "x86_64"),
        deprecated=moment(deprecated) if deprecated else None,
        copied_from=_copied_from(found),
    )


def _copied_from(found: Answer) -> str:
    """What an image is a copy of: CreateImage names the image its instance ran, which is another build.

    EC2 API reference, Image: ``SourceImageId`` of CreateImage, CopyImage and CreateRestoreImageTask,
    ``SourceInstanceId`` of CreateImage alone.
    """
    source: str = found.get("SourceImageId") or ""
    return "" if found.get("SourceInstanceId") else source


def moment(text: str) -> datetime:
    """AWS' text for a time, e.g. ``2026-11-09T00:00:00.000Z``."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _mixed(found: Answer) -> Answer:
    launch: Answer = found.get("MixedInstancesPolicy", {}).get("LaunchTemplate", {})
    return launch


def _warm_pool(found: Answer) -> Answer | None:
    """A group's warm pool; None if it has none, or will have none soon."""
    pool: Answer | None = found.get("WarmPoolConfiguration")
    return pool if pool and pool.get("Status") != _LEAVING else None


def _named(number: int, override: Answer) -> str:
    """An override by its type, or by its place where it has instance requirements instead."""
    return str(override.get("InstanceType") or f"number {number}")


def _with_sources(named: list[str] | None, sources: Any, *kinds: str) -> tuple[str, ...]:
    """Groups made with TrafficSources list their target groups and load balancers only there."""
    attached = [s["Identifier"] for s in sources if s.get("Type") in kinds]
    return tuple(dict.fromkeys([*(named or ()), *attached]))
