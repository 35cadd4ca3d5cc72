"""A replacement on its way, whichever step waits for it."""

from __future__ import annotations

from node_rotation import lock
from node_rotation.steps.cordon import kept_by
from node_rotation.steps.scene import Scene


def keep(place: Scene) -> None:
    """Keep the autoscaler from removing new machines while they are still empty."""
    for new in place.claim.replacements.values():
        node = place.snapshot.node_of(new)
        marks = kept_by(node, place.ledger.run) if node is not None else {}
        if node is not None and marks:
            lock.require(place.run)
            place.run.cluster.annotate(node.name, node.uid, marks)
            place.run.look.forget()


def aws_says(place: Scene) -> str:
    """AWS' own words for why nothing is launched."""
    for activity in place.snapshot.activities.get(place.group.name, ()):
        if activity.status in ("Failed", "Cancelled") and activity.started_at >= place.claim.since:
            return f": {activity.message or activity.description}"
    return ""
