"""How a group lies over its zones, now and once all that is under way has ended: pure decisions.

Auto Scaling launches in the zone that has the fewest machines at that moment, those that are about to leave included
(Auto Scaling user guide, "Availability Zone distribution"). So a group may end uneven although each launch was even,
and another launch evens it out only while the zone that is poorest now is one that will be poor in the end. Where two
are poorest, of which one will be poor, nobody can say where one launch goes, but two at once go to both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

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


def too_rich(group: ScalingGroup, leaving: Collection[str] = (), tolerated: int = TOLERATED) -> tuple[str, ...]:
    """The zones of which a machine each is to be replaced now, together, so that the group ends more even.

    One, if that is surely one step; else two, if that surely ends it. Nothing while it is even, or nothing is sure.

    :param group: with every machine that it was asked for: the zone of one that has yet to be launched is not known.
    :param leaving: instance ids of members that will go and are still counted by Auto Scaling.
    :param tolerated: as for :func:`moves`.
    """
    now, end = spread(group), spread(group, leaving)
    needed = moves(end.values(), tolerated)
    for at_once, left in ((1, needed - 1), (2, 0)) if needed else ():
        ends = [_with(end, launched, 1) for launched in _launches(now, at_once)]
        rich = _richest(ends[0], at_once)
        if all(moves(_with(one, rich, -1).values(), tolerated) <= left for one in ends):
            return rich
    return ()


def _launches(now: Mapping[str, int], count: int) -> Iterator[tuple[str, ...]]:
    """Wherever Auto Scaling may launch so many: of the poorest zones it does not say which comes first."""
    if count == 0:
        yield ()
        return
    for zone in (z for z in now if now[z] == min(now.values())):
        for others in _launches(_with(now, (zone,), 1), count - 1):
            yield (zone, *others)


def _richest(counts: Mapping[str, int], count: int) -> tuple[str, ...]:
    """The zones that so many machines are taken of, each time of the richest."""
    found: tuple[str, ...] = ()
    for _ in range(count):
        left = _with(counts, found, -1)
        found = (*found, min(left, key=lambda zone: (-left[zone], zone)))
    return found


def _with(counts: Mapping[str, int], zones: Sequence[str], each: int) -> Mapping[str, int]:
    return {zone: count + each * zones.count(zone) for zone, count in counts.items()}
