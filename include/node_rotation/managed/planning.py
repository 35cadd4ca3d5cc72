"""What a plan says of a managed node group, and what keeps EKS from rolling it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from node_rotation.managed.nodegroup import CUSTOM, EVICTION_S, PAUSE_S, UNUSABLE, ManagedGroup, said
from node_rotation.model import Blocker, GroupPlan, ManagedPlan, Strategy
from node_rotation.policy import Policy
from node_rotation.world.aws import ScalingGroup


def managed_plan(group: ManagedGroup, scaling: ScalingGroup, policy: Policy) -> ManagedPlan:
    """How EKS will roll a group.

    EKS deletes what is left on a machine after 15 minutes if it is told to: only if the policy allows that so soon.
    """
    size, force_after = scaling.desired, policy.drain.force_after
    return ManagedPlan(
        eks_cluster=group.cluster,
        nodegroup=group.name,
        version=group.version,
        at_once=group.at_once(size),
        extra=group.extra(len(scaling.zones), size),
        force=force_after is not None and force_after <= EVICTION_S,
    )


def managed_blockers(plan: GroupPlan, group: ManagedGroup, slots: int | None) -> Iterator[Blocker]:
    """Why EKS would not take an update, or take more machines away at once than the cluster may lose.

    :param slots: the policy's ``budget.cluster_slots``.
    """
    yield from passing(plan, group)
    objects = _objects(plan, group)
    if group.status in UNUSABLE:
        reason = f"node group {group.label} is {group.status}: EKS takes no update"
        yield Blocker(
            reason=reason, objects=objects, remedy="see what EKS says of it: aws eks describe-nodegroup, health.issues"
        )
    if slots is not None and plan.slots > slots:
        reason = f"EKS takes {plan.slots} machines of {group.label} away at once, budget.cluster_slots is {slots}"
        remedy = (
            "lower the node group's maxUnavailable (aws eks update-nodegroup-config), or raise cluster_slots in the "
        )
        remedy += "cluster's policy in the fleet file"
        yield Blocker(reason=reason, objects=objects, remedy=remedy)


def without_asg(name: str, group: ManagedGroup) -> Blocker:
    """Why nothing can be planned for a group that EKS is still making, or could not make.

    :param name: the node group's in the fleet.
    """
    issues = "".join(f"; {said(issue)}" for issue in group.issues)
    return Blocker(
        reason=f"EKS names no Auto Scaling group for node group {group.label} ({group.status}{issues})",
        objects=(f"group {name}", f"node group {group.label}"),
        remedy="wait until EKS has made it, make it anew if it could not, or leave it out: --group names the others",
    )


def passing(plan: GroupPlan, group: ManagedGroup) -> Iterator[Blocker]:
    """Of these the one that passes by itself: EKS works on an update."""
    if group.in_flight is not None:
        remedy = "wait for it: EKS can't stop an update"
        yield Blocker(reason=busy(group), objects=_objects(plan, group), remedy=remedy)


def _objects(plan: GroupPlan, group: ManagedGroup) -> tuple[str, ...]:
    return (f"group {plan.name}", f"node group {group.label}")


def managed_notes(plan: GroupPlan, group: ManagedGroup) -> Iterator[str]:
    """What somebody should know before EKS begins."""
    if plan.managed is None:
        return
    none = "adds no machine (MINIMAL), cordons all old ones in the beginning, "
    extra = f"adds {plan.managed.extra} machines, " if plan.managed.extra else none
    version = plan.target.template.version if plan.target.template else ""
    what = f"launch template version {version}" if group.ami_type == CUSTOM else f"release {plan.target.release}"
    yield (
        f"EKS rolls {group.label} to {what}: {extra}takes {plan.managed.at_once} away at once; once begun, its "
        "update can't be stopped or rolled back"
    )
    for issue in group.issues:
        yield f"EKS reports of {group.label}: {said(issue)}"


def busy(group: ManagedGroup) -> str:
    """Which update of a group is in flight, for messages."""
    update = group.in_flight
    return f"{update.type} {update.id} of node group {group.label} is in progress" if update is not None else ""


def managed_duration_s(plan: ManagedPlan, machines: int, *, boot_s: float, drain_s: float, terminate_s: float) -> float:
    """How long EKS takes by the constants of its user guide; the scale-down takes one machine after the other.

    :param machines: how many are replaced.
    """
    rounds = math.ceil(machines / plan.at_once)
    each = drain_s + PAUSE_S + terminate_s
    if not plan.extra:
        return rounds * (each + boot_s)
    return boot_s + rounds * each + plan.extra * each


def managed_limit_s(plan: ManagedPlan, machines: int, launch_timeout_s: float) -> float:
    """Seconds after which EKS must have ended an update, well or not."""
    worst = {"boot_s": launch_timeout_s, "drain_s": EVICTION_S, "terminate_s": launch_timeout_s}
    return managed_duration_s(plan, machines, **worst)


def taken(plan: GroupPlan, machines: int) -> int:
    """How many slots a batch of a group takes: of a managed group EKS has only so many in flight."""
    return min(machines, plan.slots) if plan.strategy is Strategy.MANAGED else machines
