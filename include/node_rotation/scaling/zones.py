"""How a group lies over its zones, now and once all that is under way has ended: pure decisions.

Auto Scaling launches in the zone that has the fewest machines at that moment, those that are about to leave included
(Auto Scaling user guide, "Availability Zone distribution"). So a group may end uneven although each launch was even,
and another launch evens it out only while the zone that is poorest now is one that will be poor in the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from node_rotation.world.aws import LEAVING, ScalingGroup

TOLERATED = 1  # AZRebalance acts on a difference of two


def spread(group: ScalingGroup, leaving: Collection[str] = ()) -> Mapping[str, int]:
    """How many members that stay each zone of a group has.

    :param leaving: instance ids of members that are not to be counted.
    """
    found = Counter({zone: 0 for zone in group.zones})
    stay = (m for m in group.members if not m.lifecycle.startswith(LEAVING))
    found.update(m.zone for m in stay if m.instance_id not in leaving)
    return found


def unevenness(group: ScalingGroup) -> int:
    """The difference between a group's richest and poorest zone, machines."""
    counts = spread(group).values()
    return max(counts) - min(counts) if counts else 0


def moves(counts: Iterable[int], tolerated: int = TOLERATED) -> int:
    """How many machines have to be replaced, each by one in the poorest zone, until zones are even.

    :param counts: machines of each zone.
    :param tolerated: the difference between richest and poorest that may stay.
    """
    left, found = sorted(counts), 0
    while left and left[-1] - left[0] > tolerated:
        left = sorted((left[0] + 1, *left[1:-1], left[-1] - 1))
        found += 1
    return found


def too_rich(group: ScalingGroup, leaving: Collection[str] = (), tolerated: int = TOLERATED) -> str:
    """The zone of which a machine is to be replaced now, so that the group ends more even; "" if there is none.

    :param group: with every machine that it was asked for: the zone of one that has yet to be launched is not known.
    :param leaving: instance ids of members that will go and are still counted by Auto Scaling.
    :param tolerated: as for :func:`moves`.
    """
    now, end = spread(group), spread(group, leaving)
    needed = moves(end.values(), tolerated)
    if not needed:
        return ""
    richest = min(end, key=lambda zone: (-end[zone], zone))
    next_ones = [zone for zone in now if now[zone] == min(now.values())]  # which of them, AWS does not say
    helps = all(moves(_moved(end, richest, zone), tolerated) < needed for zone in next_ones)
    return richest if helps else ""


def _moved(counts: Mapping[str, int], out_of: str, into: str) -> Iterable[int]:
    return (count + (zone == into) - (zone == out_of) for zone, count in counts.items())
