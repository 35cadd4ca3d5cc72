"""The baseline once more, in a tag of the Auto Scaling group: for a sweep that finds no Lease.

A tag's value holds 256 characters and not every one of them (EC2 user guide, "Tag restrictions"), so it is
``min=3 max=9 desired=6 suspended=AZRebalance/AlarmNotification run=...``. Once all but desired is put back it only says
``desired=6 run=...``: what others make of the rest from then on is theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from node_rotation import names
from node_rotation.ledger import Baseline
from node_rotation.world.aws import ScalingGroup

MAX_LENGTH = 256


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the tag says; None is what was put back."""

    min: int | None
    max: int | None
    desired: int
    suspended: tuple[str, ...] = ()
    run: str = ""


@dataclass(frozen=True, slots=True)
class Before:
    """What a group has to be again."""

    min: int
    max: int
    suspended_by_us: tuple[str, ...] = ()


def value(baseline: Baseline, run: str) -> str:
    """What the tag of a group has to say while this run is at work.

    That it was smaller before an earlier run stays said: this run knows nothing of whose the difference is by now.
    """
    ours = Sizes(baseline.min, baseline.max, baseline.desired, baseline.suspended_by_us, run)
    earlier = left_larger(baseline)
    if earlier is None:
        return write(ours)
    maximum = baseline.max if _fits(earlier.max, baseline.desired) else earlier.max
    return write(replace(ours, max=maximum, desired=earlier.desired, run=earlier.run))


def left_larger(baseline: Baseline) -> Sizes | None:
    """What a group was before an earlier run that left it larger; None once nobody has to decide about that."""
    sizes = read(baseline.left_larger)
    return sizes if sizes is not None and baseline.desired > sizes.desired else None


def larger(group: ScalingGroup, sizes: Sizes) -> str:
    """What a person has to decide: without the run's ledger nobody knows which machine it added, or whether it did."""
    return (
        f"asg {group.name}: desired {group.desired}, was {sizes.desired} before run {sizes.run}, whose Lease is gone. "
        f"If nobody else wants that many, set desired to {sizes.desired}; else remove its tag {names.BASELINE}"
    )


def before(group: ScalingGroup) -> Before:
    """What a group has to be once nobody rotates it: as its tag says, where a dead run's Lease is gone.

    A maximum below desired can't be put back: the tag keeps it until somebody has decided about the difference.
    """
    sizes = read(group.tags.get(names.BASELINE, ""))
    if sizes is None:
        return Before(group.min, group.max)
    minimum = group.min if sizes.min is None else sizes.min
    maximum = group.max if sizes.max is None or not _fits(sizes.max, group.desired) else sizes.max
    return Before(minimum, maximum, tuple(process for process in sizes.suspended if process in group.suspended))


def put_back(group: ScalingGroup) -> str:
    """The value of a tag that stays, once all was put back that can be."""
    said = group.tags.get(names.BASELINE, "")
    sizes = read(said)
    if sizes is None:
        return said
    return write(replace(sizes, min=None, max=None if _fits(sizes.max, group.desired) else sizes.max, suspended=()))


def with_minimum(group: ScalingGroup, run: str) -> str:
    """The tag's value before a minimum is lowered: whoever comes after a crash has to know it."""
    sizes = read(group.tags.get(names.BASELINE, "")) or Sizes(None, None, group.desired, run=run)
    return write(sizes if sizes.min is not None else replace(sizes, min=group.min))


def write(sizes: Sizes) -> str:
    """The tag's value."""
    bounds = {"min": sizes.min, "max": sizes.max, "desired": sizes.desired}
    said = [f"{name}={size}" for name, size in bounds.items() if size is not None]
    said += [f"suspended={'/'.join(sizes.suspended)}"] if sizes.suspended else []
    return " ".join((*said, f"run={sizes.run}"))[:MAX_LENGTH]


def read(value: str) -> Sizes | None:
    """The tag's value back; None if it is not one of ours."""
    said = dict(part.partition("=")[::2] for part in value.split(" ") if "=" in part)
    suspended = tuple(name for name in said.get("suspended", "").split("/") if name)
    try:
        minimum, maximum = (int(said[name]) if name in said else None for name in ("min", "max"))
        return Sizes(minimum, maximum, int(said["desired"]), suspended, said.get("run", ""))
    except (KeyError, ValueError):
        return None


def _fits(maximum: int | None, desired: int) -> bool:
    return maximum is None or maximum >= desired
