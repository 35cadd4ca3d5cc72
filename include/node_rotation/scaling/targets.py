"""Who serves a group's target groups, and who may be taken out of them: decisions over one observation.

States: https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html. A deregistered
target is shown as ``draining`` until its deregistration delay is over, then as ``unused`` or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from node_rotation.world.aws import ScalingGroup, Target, Targets

HEALTH_CHECK = "HealthCheck"
HEALTHY, DRAINING, UNUSED = "healthy", "draining", "unused"
AllTargets = Mapping[str, Targets]
"""By target group (ARN)."""


def label(target_group: str) -> str:
    """A target group as messages name it: by the name in its ARN."""
    parts = target_group.split("/")
    return f"target group {parts[1] if len(parts) > 1 else target_group}"


def checks_targets(group: ScalingGroup) -> bool:
    """Whether Auto Scaling replaces what its target groups call unhealthy, and so what we deregister, undrained.

    Then its process ``HealthCheck`` is suspended while we roll. Not ``ReplaceUnhealthy``: a machine that was marked
    unhealthy meanwhile never gets well by itself, and would be replaced once that goes on
    (Auto Scaling user guide, "Health checks for instances in an Auto Scaling group").
    """
    return bool(group.target_groups) and "ELB" in group.health_check_type.split(",")


def healthy(targets: Targets) -> frozenset[str]:
    """Who gets traffic and answers it."""
    return frozenset(instance for instance, target in targets.items() if target.state == HEALTHY)


def served(group: ScalingGroup, seen: AllTargets) -> dict[str, int]:
    """How many members serve each target group that any of them serves."""
    members = {member.instance_id for member in group.members}
    counts = {arn: len(healthy(seen.get(arn, {})) & members) for arn in group.target_groups}
    return {arn: count for arn, count in counts.items() if count}


def by_all(group: ScalingGroup, counts: Mapping[str, int]) -> tuple[str, ...]:
    """The target groups that every member in service serves: there a new machine must serve before it is relied on.

    Where only some do (a Service with ``externalTrafficPolicy: Local``), which ones depends on where pods are.

    :param counts: of :func:`served`.
    """
    in_service = sum(member.lifecycle == "InService" for member in group.members)
    return tuple(arn for arn, count in counts.items() if count >= in_service)


def lacking(target_groups: Iterable[str], seen: AllTargets, machine: str) -> Iterator[tuple[str, Target]]:
    """The target groups that a machine does not serve, and how it does there."""
    for arn in target_groups:
        target = seen.get(arn, {}).get(machine, Target("not registered"))
        if arn in seen and target.state != HEALTHY:
            yield arn, target


def still_in(group: ScalingGroup, seen: AllTargets, machine: str) -> Iterator[tuple[str, Target]]:
    """The group's target groups that a machine has not left yet: registered there, or draining."""
    for arn in group.target_groups:
        target = seen.get(arn, {}).get(machine)
        if target is not None and target.state != UNUSED:
            yield arn, target


def serving(group: ScalingGroup, seen: AllTargets, machine: str) -> dict[str, tuple[int, ...]]:
    """The group's target groups in which a machine still gets requests, and on which ports."""
    return {arn: target.ports for arn, target in still_in(group, seen, machine) if target.state != DRAINING}


def waits(group: ScalingGroup, seen: AllTargets, machine: str, kept: Collection[str]) -> Iterator[str]:
    """What a machine has not left yet, one line each.

    :param kept: the target groups that it may not leave, of :func:`last_of`.
    """
    for arn, target in still_in(group, seen, machine):
        if target.state == DRAINING:
            yield f"instance {machine} still drains connections of {label(arn)}"
        elif arn in kept:
            yield f"instance {machine} is the last healthy one in {label(arn)}"
        else:
            yield f"instance {machine} is still {target.state} in {label(arn)}"


def last_of(
    target_groups: Iterable[str], seen: AllTargets, machines: Collection[str], others: Collection[str] = ()
) -> tuple[str, ...]:
    """The target groups that would have no healthy target left without these machines.

    :param machines: that are to leave now.
    :param others: that are leaving already: they don't count as healthy ones that stay.
    """
    found = []
    for arn in target_groups:
        well = healthy(seen.get(arn, {}))
        if well & set(machines) and not well - set(machines) - set(others):
            found.append(arn)
    return tuple(found)


def too_few(
    counts: Mapping[str, int], group: ScalingGroup, seen: AllTargets, away: int
) -> Iterator[tuple[str, int, int]]:
    """The target groups that fewer members serve than before the run: which, how many, and how many did.

    :param counts: from before the run, of the target groups that only some members served.
    :param away: machines of the group that others are replacing right now.
    """
    now = served(group, seen)
    for arn, before in counts.items():
        if arn in seen and now.get(arn, 0) < before - away:
            yield arn, now.get(arn, 0), before


def labels(target_groups: Sequence[str]) -> str:
    """Several of them, for a sentence."""
    return " and ".join(map(label, target_groups))
