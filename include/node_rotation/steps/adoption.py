"""Whose a change of a group's sizes was: ours, or others', with whom the baseline moves so that restore keeps it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from node_rotation.ledger import Baseline, Resizing
from node_rotation.steps.scene import stays
from node_rotation.world.aws import Activity, ScalingGroup

ASKED = re.compile(r"At (\S+) a user request [^.]*? changing the desired capacity from (\d+) to (\d+)\.")
"""A sentence of a scaling activity's cause (Auto Scaling user guide, "Verify a scaling activity")."""
TAKEN_OUT = re.compile(r"At (\S+) instance (\S+) was taken out of service in response to a user request")


def adopted(baseline: Baseline, group: ScalingGroup) -> tuple[Baseline, tuple[str, ...]]:
    """The baseline as it is after what others did, and one line for each of their changes.

    A new desired size counts by how far it moved, since it was set by somebody who saw our surge in it. Where AWS
    moved it because a bound was moved past it (UpdateAutoScalingGroup), that bound is what was wanted.

    :param baseline: with no change of ours under way.
    :param group: read after the baseline.
    """
    minimum = baseline.min if group.min in (baseline.min, baseline.min_lowered_to) else group.min
    maximum = baseline.max if group.max in (baseline.max, baseline.max_raised_to) else group.max
    desired = _wanted(baseline, group, minimum, maximum)
    if (minimum, maximum, desired) == (baseline.min, baseline.max, baseline.desired):
        return baseline, ()
    before = {"min": baseline.min, "max": baseline.max, "desired": baseline.desired}
    after = {"min": minimum, "max": maximum, "desired": desired}
    changes = tuple(f"{name} {was} → {after[name]}" for name, was in before.items() if was != after[name])
    update = {
        **after,
        "own": group.desired - desired,
        "min_lowered_to": baseline.min_lowered_to if minimum == baseline.min else None,
        "max_raised_to": baseline.max_raised_to if maximum == baseline.max else None,
    }
    return baseline.model_copy(update=update), changes


def _wanted(baseline: Baseline, group: ScalingGroup, minimum: int, maximum: int) -> int:
    """Desired as others want it, without what is ours."""
    moved = group.desired != baseline.desired + baseline.own
    pushed_up = minimum != baseline.min and group.desired == minimum
    pushed_down = maximum != baseline.max and group.desired == maximum
    wanted = baseline.desired if pushed_up or pushed_down or not moved else group.desired - baseline.own
    return min(max(wanted, minimum), maximum)


def machine_moved(change: Resizing, group: ScalingGroup) -> bool:
    """Whether the group shows that a machine has left, or has come back."""
    if not change.machine:
        return False
    member = group.member(change.machine)
    inside = member is not None and stays(member.lifecycle)
    return inside if change.by > 0 else not inside


def was_made(change: Resizing, group: ScalingGroup, activities: Sequence[Activity], within_s: float) -> bool:
    """Whether AWS ever heard of a change of ours that was begun by somebody who died, or whose answer was lost.

    The group tells it as long as nobody else changed it since; the causes of what it did tell more.

    :param activities: since shortly before the change was begun.
    :param within_s: seconds from its beginning in which it can have been asked for.
    """
    until = change.since + within_s
    if change.machine:
        moved = machine_moved(change, group)
        about = [a.cause for a in activities if change.machine in a.description]
        by_request = [at for cause in about for at, machine in TAKEN_OUT.findall(cause) if machine == change.machine]
        return moved and (not about or change.by > 0 or any(_seconds(at) <= until for at in by_request))
    said = [found for activity in activities for found in ASKED.findall(activity.cause)]
    ours = [at for at, was, to in said if (int(was), int(to)) == (change.was, change.to)]
    if any(_seconds(at) <= until for at in ours):
        return True
    if change.by > 0:
        return not said and group.desired >= change.to
    return group.desired <= change.to  # of a size that is lowered before anybody came there is no activity


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
