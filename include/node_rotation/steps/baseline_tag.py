"""The baseline once more, in a tag of the Auto Scaling group: for a sweep that finds no Lease.

A tag's value holds 256 characters and not every one of them (EC2 user guide, "Tag restrictions"), so it is
``min=3 max=9 desired=6 suspended=AZRebalance/AlarmNotification run=...``.
"""

from __future__ import annotations

from dataclasses import dataclass

from node_rotation.ledger import Baseline

MAX_LENGTH = 256


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the tag says."""

    min: int
    max: int
    desired: int
    suspended: tuple[str, ...]


def write(baseline: Baseline, run: str) -> str:
    """The tag's value."""
    suspended = "/".join(baseline.suspended_by_us)
    sizes = f"min={baseline.min} max={baseline.max} desired={baseline.desired}"
    return f"{sizes} suspended={suspended} run={run}"[:MAX_LENGTH]


def read(value: str) -> Sizes | None:
    """The tag's value back; None if it is not one of ours."""
    said = dict(part.partition("=")[::2] for part in value.split(" ") if "=" in part)
    suspended = tuple(name for name in said.get("suspended", "").split("/") if name)
    try:
        return Sizes(int(said["min"]), int(said["max"]), int(said["desired"]), suspended)
    except (KeyError, ValueError):
        return None
