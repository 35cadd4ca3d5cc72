"""Auto Scaling's state as the values that a rotation sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from node_rotation.testing.ec2 import template_version
from node_rotation.testing.scaling_refresh import ACTIVE
from node_rotation.testing.scaling_values import Group, LaunchSource, TemplateRef
from node_rotation.testing.scaling_values import Member as ScalingMember
from node_rotation.world.aws import Hook, Member, ScalingGroup, TemplateSpec


class Shapes:
    """Makes values; a member that did not change is not made again."""

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}

    def group(self, group: Group) -> ScalingGroup:
        """A group as DescribeAutoScalingGroups shows it."""
        overrides = group.source.overrides
        refresh = next((r for r in group.refreshes if r["Status"] in ACTIVE), None)
        return ScalingGroup(
            name=group.name,
            min=group.min_size,
            max=group.max_size,
            desired=group.desired,
            members=tuple(self.member(member) for member in group.members.values()),
            template=_spec(group.source),
            overrides=tuple(_ref_spec(o.template) if o.template else None for o in overrides),
            override_images={
                o.instance_type or f"number {n}": o.image_id for n, o in enumerate(overrides, 1) if o.image_id
            },
            instance_types=tuple(o.instance_type for o in overrides if o.instance_type),
            weights=tuple(o.weight for o in overrides if o.weight != 1),
            suspended=dict(group.suspended),
            zones=tuple(place.zone for place in group.places),
            tags={tag.key: tag.value for tag in group.tags.values()},
            hooks=tuple(_hook(name, hook) for name, hook in group.hooks.items()),
            target_groups=group.target_groups,
            load_balancers=tuple(group.attributes.get("LoadBalancerNames", ())),
            health_check_type=str(group.attributes.get("HealthCheckType", "EC2")),
            max_lifetime_s=int(group.attributes.get("MaxInstanceLifetime", 0)),
            capacity_rebalance=bool(group.attributes.get("CapacityRebalance", False)),
            refresh_in_progress=str(refresh["InstanceRefreshId"]) if refresh else "",
            warm_pool=group.warm_pool is not None,
        )

    def member(self, member: ScalingMember) -> Member:
        """A member; as long as nothing about it changes it is the same value."""
        lifecycle = member.lifecycle.value
        health = "Healthy" if member.healthy else "Unhealthy"
        known = self._members.get(member.instance_id)
        if known and (known.lifecycle, known.health, known.protected) == (lifecycle, health, member.protected):
            return known
        blueprint = member.blueprint
        known = Member(
            member.instance_id,
            lifecycle,
            health,
            member.zone,
            blueprint.instance_type,
            template_version(blueprint),
            member.protected,
        )
        self._members[member.instance_id] = known
        return known


def _hook(name: str, hook: Mapping[str, Any]) -> Hook:
    transition = str(hook["LifecycleTransition"]).rpartition("_")[2].lower()
    return Hook(name, transition, hook["HeartbeatTimeout"], hook["GlobalTimeout"], hook["DefaultResult"])


def _spec(source: LaunchSource) -> TemplateSpec:
    if source.template:
        return _ref_spec(source.template)
    return TemplateSpec(name=source.configuration or "", launch_configuration=True)


def _ref_spec(ref: TemplateRef) -> TemplateSpec:
    return TemplateSpec(name=ref.template_name or "", id=ref.template_id or "", version=ref.version)
