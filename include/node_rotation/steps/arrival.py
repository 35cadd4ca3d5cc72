"""A replacement on its way, whichever step waits for it."""

from __future__ import annotations

from collections.abc import Sequence

from node_rotation import lock
from node_rotation.scaling import hooks
from node_rotation.steps.cordon import kept_by
from node_rotation.steps.scene import Scene
from node_rotation.steps.usable import Problem, unwanted


def keep(place: Scene) -> None:
    """Keep the autoscaler from removing new machines while they are still empty."""
    for new in place.claim.replacements.values():
        node = place.snapshot.node_of(new)
        marks = kept_by(node, place.ledger.run) if node is not None else {}
        if node is not None and marks:
            lock.require(place.run)
            place.run.cluster.annotate(node.name, node.uid, marks)
            place.run.look.forget()


def patience(place: Scene, problems: Sequence[Problem]) -> float:
    """How much longer than ``launch_timeout`` is waited because launching hooks may hold what has come, seconds."""
    policy = place.run.settings.groups[place.claim.group]
    held = all(problem.launched for problem in problems)
    return hooks.patience_s(place.group, hooks.LAUNCHING, policy.hook_timeout) if held else 0.0


def left_out(place: Scene) -> tuple[str, ...]:
    """For the log: DaemonSets that the replacements don't run, though their predecessors do."""
    pairs = place.claim.replacements.items()
    return tuple(line for old, new in pairs for line in unwanted(place.snapshot, new, old, place.sick))


def aws_says(place: Scene) -> str:
    """AWS' own words for why nothing is launched."""
    for activity in place.snapshot.activities.get(place.group.name, ()):
        if activity.status in ("Failed", "Cancelled") and activity.started_at >= place.claim.since:
            return f": {activity.message or activity.description}"
    return ""
