"""What a group's load balancers, hooks, weights and protections mean for its rotation: blockers and notes of a plan."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from node_rotation.model import Blocker, GroupPlan, ImageStep, Role, Strategy
from node_rotation.policy import Policy, Protected
from node_rotation.scaling.detaching import refusal
from node_rotation.scaling.hooks import slower_than
from node_rotation.scaling.targets import HEALTH_CHECK, checks_targets, healthy, label, last_of
from node_rotation.world.aws import MACHINES, ScalingGroup
from node_rotation.world.snapshot import Snapshot

REGISTERS = "AddToLoadBalancer"


def obstacles(
    plan: GroupPlan, policy: Policy, scaling: ScalingGroup, machines: Collection[str], snapshot: Snapshot
) -> Iterator[Blocker]:
    """What keeps a group's machines from being replaced as the policy stands.

    :param machines: instance ids to be replaced.
    """
    yield from _units(plan, scaling)
    if plan.strategy is Strategy.MANAGED:
        return  # EKS knows its own group
    yield from _override_images(plan, scaling)
    yield from _reuse(plan, scaling)
    yield from _detach(plan, policy, scaling)
    yield from _registration(plan, scaling)
    yield from _only_target(plan, scaling, machines, snapshot)
    yield from _protected(plan, policy, scaling, machines)


def notes(policy: Policy, scaling: ScalingGroup) -> Iterator[str]:
    """What does not block, but takes time or is left to others."""
    if checks_targets(scaling) and HEALTH_CHECK not in scaling.suspended:
        yield f"{HEALTH_CHECK} of {scaling.name} is suspended for the run: it would replace what leaves a target group"
    if scaling.load_balancers:
        named = ", ".join(scaling.load_balancers)
        yield f"{scaling.name} also serves {named}: there Auto Scaling itself takes machines in and out"
    for hook in scaling.hooks:
        held = f"{hook.transition} hook {hook.name}, up to {hook.heartbeat_s:g} s"
        yield f"each machine of {scaling.name} waits for its {held}"
    for hook in slower_than(scaling.hooks, policy.hook_timeout):
        yield f"hook {hook.name} may take longer than hook_timeout ({policy.hook_timeout:g} s), then the batch fails"


def _units(plan: GroupPlan, scaling: ScalingGroup) -> Iterator[Blocker]:
    """With weights desired, min and max count units, and one machine may be replaced by several or by a part of one.

    So they do where types are chosen by attributes and sizes count vCPUs or memory.
    https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-mixed-instances-groups-instance-weighting.html
    https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CreateAutoScalingGroup.html (DesiredCapacityType)
    """
    if any(weight != 1 for weight in scaling.weights):
        weights = ", ".join(str(weight) for weight in scaling.weights)
        yield Blocker(
            reason=f"{scaling.name} weighs its instance types ({weights}): its sizes count units, not machines",
            objects=(f"group {plan.name}", f"asg {scaling.name}"),
            remedy="remove WeightedCapacity from the group's overrides, or take the group out of the fleet file",
        )
    if scaling.sized_in != MACHINES:
        yield Blocker(
            reason=f"{scaling.name} is sized in {scaling.sized_in} (DesiredCapacityType), not in machines",
            objects=(f"group {plan.name}", f"asg {scaling.name}"),
            remedy=f"size it in machines (DesiredCapacityType: {MACHINES}), or take the group out of the fleet file",
        )


def _override_images(plan: GroupPlan, scaling: ScalingGroup) -> Iterator[Blocker]:
    """What an override's ImageId names is launched whatever a template says; a command or a pod may see to it.

    https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_LaunchTemplateOverrides.html
    """
    image = plan.target.image.id
    if plan.image_step in (ImageStep.COMMAND, ImageStep.POD):
        return
    for name, other in scaling.override_images.items():
        if other != image:
            yield Blocker(
                reason=f"override {name} of {scaling.name} names {other} as its ImageId, not the target {image}",
                objects=(f"group {plan.name}", f"asg {scaling.name}", f"image {other}"),
                remedy="take ImageId out of that override, then it launches the group's template, or have it name the "
                "target (aws autoscaling update-auto-scaling-group --mixed-instances-policy)",
            )


def _reuse(plan: GroupPlan, scaling: ScalingGroup) -> Iterator[Blocker]:
    """A surge terminates with a smaller desired size; whether that is scale-in AWS does not say (ADR 32).

    https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_InstanceReusePolicy.html
    """
    if plan.strategy is Strategy.SURGE and scaling.warm_pool_reuses:
        yield Blocker(
            reason=f"the warm pool of {scaling.name} takes machines back on scale-in (ReuseOnScaleIn): a batch could "
            "be given an old one that another has just terminated",
            objects=(f"group {plan.name}", f"asg {scaling.name}"),
            remedy="set ReuseOnScaleIn to false (PutWarmPool), or strategy: detach for this group in the fleet file",
        )


def _detach(plan: GroupPlan, policy: Policy, scaling: ScalingGroup) -> Iterator[Blocker]:
    allowed = policy.allow_detach_behind_load_balancer
    refused = refusal(scaling, allowed=allowed) if plan.strategy is Strategy.DETACH else None
    if refused is not None:
        objects = (f"group {plan.name}", *refused.objects)
        yield Blocker(reason=refused.reason, objects=objects, remedy=refused.remedy)


def _registration(plan: GroupPlan, scaling: ScalingGroup) -> Iterator[Blocker]:
    """What is launched while it is suspended is not registered later either (user guide, "Suspend and resume")."""
    if scaling.target_groups and REGISTERS in scaling.suspended:
        yield Blocker(
            reason=f"{REGISTERS} of {scaling.name} is suspended: new machines would never serve its target groups",
            objects=(f"group {plan.name}", f"asg {scaling.name}", *map(label, scaling.target_groups)),
            remedy="find out why, then resume with ResumeProcesses",
        )


def _only_target(
    plan: GroupPlan, scaling: ScalingGroup, machines: Collection[str], snapshot: Snapshot
) -> Iterator[Blocker]:
    """Where the old machine goes first nobody could take over from the only healthy one; masters have a rule of theirs.

    (``control_plane.allow_outage``)
    """
    if plan.strategy is not Strategy.TERMINATE_FIRST or plan.role is Role.CONTROL_PLANE:
        return
    for arn in last_of(scaling.target_groups, snapshot.targets, machines):
        if len(healthy(snapshot.targets[arn])) == 1:
            yield Blocker(
                reason=f"terminate_first would take the only healthy machine out of {label(arn)}",
                objects=(f"group {plan.name}", label(arn)),
                remedy="set strategy: surge for this group in the fleet file, or have a second machine serve it",
            )


def _protected(plan: GroupPlan, policy: Policy, scaling: ScalingGroup, machines: Collection[str]) -> Iterator[Blocker]:
    """Protection against scale-in keeps Auto Scaling from choosing a machine, not us from terminating it: we ask.

    https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-instance-protection.html
    """
    kept = sorted(m.instance_id for m in scaling.members if m.protected and m.instance_id in machines)
    if kept and policy.scale_in_protected is Protected.BLOCK:
        yield Blocker(
            reason=f"machines of group {plan.name} are protected against scale-in",
            objects=tuple(f"machine {i}" for i in kept),
            remedy="clear it with SetInstanceProtection, or set scale_in_protected: replace for this group in "
            "the fleet file",
        )
