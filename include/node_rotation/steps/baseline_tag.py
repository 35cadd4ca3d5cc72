"""The baseline once more, in a tag of the Auto Scaling group: for a sweep that finds no Lease.

A tag's value holds 256 characters and not every one of them (EC2 user guide, "Tag restrictions"), so it is
``min=3 max=9 desired=6 suspended=AZRebalance/AlarmNotification run=...``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from node_rotation import names
from node_rotation.ledger import Baseline
from node_rotation.world.aws import ScalingGroup

MAX_LENGTH = 256


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the tag says."""

    min: int
    max: int
    desired: int
    suspended: tuple[str, ...]
    run: str = ""


def value(baseline: Baseline, run: str) -> str:
    """What the tag of a group has to say while this run is at work.

    That it was smaller before an earlier run stays said: this run knows nothing of whose the difference is by now.
    """
    earlier = left_larger(baseline)
    if earlier is not None:
        return write(replace(earlier, suspended=baseline.suspended_by_us), earlier.run)
    return write(Sizes(baseline.min, baseline.max, baseline.desired, baseline.suspended_by_us), run)


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


def to_be_again(group: ScalingGroup) -> Sizes:
    """What a group has to be once nobody rotates it: as its tag says, where a dead run's Lease is gone.

    A maximum below desired can't be put back: the tag keeps it until somebody has decided about the difference.
    """
    sizes = read(group.tags.get(names.BASELINE, ""))
    if sizes is None:
        return sizes_of(group)
    maximum = sizes.max if sizes.max >= group.desired else group.max
    suspended = tuple(process for process in sizes.suspended if process in group.suspended)
    return Sizes(sizes.min, maximum, max(group.desired, sizes.min), suspended, sizes.run)


def sizes_of(group: ScalingGroup) -> Sizes:
    """What a group is now, nothing suspended by us."""
    return Sizes(group.min, group.max, group.desired, ())


def write(sizes: Sizes, run: str) -> str:
    """The tag's value."""
    said = f"min={sizes.min} max={sizes.max} desired={sizes.desired}"
    return f"{said} suspended={'/'.join(sizes.suspended)} run={run}"[:MAX_LENGTH]


def read(value: str) -> Sizes | None:
    """The tag's value back; None if it is not one of ours."""
    said = dict(part.partition("=")[::2] for part in value.split(" ") if "=" in part)
    suspended = tuple(name for name in said.get("suspended", "").split("/") if name)
    try:
        return Sizes(int(said["min"]), int(said["max"]), int(said["desired"]), suspended, said.get("run", ""))
    except (KeyError, ValueError):
        return None
