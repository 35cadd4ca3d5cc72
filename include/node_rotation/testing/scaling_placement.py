"""Where Auto Scaling launches and what it takes away: pure choices.

Sources: https://docs.aws.amazon.com/autoscaling/ec2/userguide/auto-scaling-benefits.html (balance between
zones) and https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-termination-policies.html
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from node_rotation.testing.scaling_values import Group, Member, Place


def poorest_first(group: Group) -> list[Place]:
    """The group's places, fewest live members first; equal ones in the group's own order."""
    count = Counter(member.zone for member in group.live())
    return sorted(group.places, key=lambda place: count[place.zone])


def imbalance(group: Group) -> tuple[Place, str] | None:
    """The poor place and the rich zone, if they differ by more than one member."""
    count = Counter({place.zone: 0 for place in group.places})
    count.update(member.zone for member in group.live())
    poor = poorest_first(group)[0]
    rich, most = max(count.items(), key=lambda item: item[1])
    return (poor, rich) if most - count[poor.zone] > 1 else None


def victims(group: Group, surplus: int) -> list[Member]:
    """What scale-in takes: the fullest zone first, there by the group's termination policies.

    :param surplus: weight to be taken away.
    """
    left = group.live()
    chosen: list[Member] = []
    while surplus > 0:
        free = [member for member in left if not member.protected and member.weight <= surplus]
        if not free:
            break
        count = Counter(member.zone for member in left)
        fullest = max(count[member.zone] for member in free)
        choice = min(
            (member for member in free if count[member.zone] == fullest), key=_order(group.termination_policies)
        )
        chosen.append(choice)
        left.remove(choice)
        surplus -= choice.weight
    return chosen


def _order(policies: Sequence[str]) -> Callable[[Member], tuple[object, ...]]:
    keys = [_POLICIES.get(policy, _POLICIES["Default"]) for policy in policies or ("Default",)]
    return lambda member: tuple(part for key in keys for part in key(member))


def _template(member: Member) -> tuple[object, ...]:
    return (member.blueprint.configuration is None, int(member.blueprint.version or 0))


_POLICIES: dict[str, Callable[[Member], tuple[object, ...]]] = {
    "Default": lambda member: (*_template(member), member.launched_at),
    "AllocationStrategy": lambda member: (),
    "OldestInstance": lambda member: (member.launched_at,),
    "NewestInstance": lambda member: (-member.launched_at,),
    "OldestLaunchTemplate": _template,
    "OldestLaunchConfiguration": lambda member: (member.blueprint.configuration is None,),
    "ClosestToNextInstanceHour": lambda member: (member.launched_at,),
}
