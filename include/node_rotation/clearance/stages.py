"""What other clusters of the fleet show of an image, looked at now. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from node_rotation import names
from node_rotation.clearance.promotion import Machine, Stage
from node_rotation.detect import asg_name, observe
from node_rotation.errors import RotationError
from node_rotation.fleet import Before, Settings
from node_rotation.kops.discovery import discover
from node_rotation.model import Image
from node_rotation.run import Run
from node_rotation.steps.scene import gone
from node_rotation.world.snapshot import Snapshot

Stages = Mapping[str, Sequence[Stage]]
"""A group of the plan → the groups it is promoted from."""


class UnreachableError(Exception):
    """A cluster that can't be asked proves nothing, and the run waits."""


def unreachable(settings: Settings, error: RotationError) -> UnreachableError:
    """What is said of a cluster that can't be asked."""
    return UnreachableError(f"{settings.name} can't be asked: {error}")


def stages(run: Run, clusters: Sequence[Before]) -> Stages:
    """The groups that have to show an image before each group of the plan; each cluster is looked at once.

    :param clusters: those that come before.
    :raises UnreachableError: if one can't be asked.
    """
    found: dict[str, list[Stage]] = {group.name: [] for group in run.plan.groups}
    for before in clusters:
        theirs = _with_groups(run, before.settings)
        counts = {group: before.required(group, theirs) for group in found}
        there = _there(run, theirs, {name for required in counts.values() for name in required})
        for group, required in counts.items():
            found[group] += [there[name] for name in required]
    return found


def _with_groups(run: Run, settings: Settings) -> Settings:
    """Only a cluster whose groups are kops' has to be asked for them."""
    try:
        return discover(settings, run.others.reach(settings)[0]) if settings.cluster.kops else settings
    except RotationError as error:
        raise unreachable(settings, error) from error


def _there(run: Run, settings: Settings, wanted: set[str]) -> dict[str, Stage]:
    if not wanted:
        return {}
    try:
        cloud, cluster = run.others.reach(settings)
        snapshot = observe(settings.only(sorted(wanted)), cloud, cluster, run.clock)
        known = {i: cloud.image(i) for i in sorted({one.image_id for one in snapshot.instances.values()})}
        asgs = {g.name: asg_name(g, settings, cloud) for g in settings.cluster.groups if g.name in wanted}
    except RotationError as error:
        raise unreachable(settings, error) from error
    return {n: Stage(f"{settings.name} group {n}", tuple(_machines(snapshot, asg, known))) for n, asg in asgs.items()}


def _machines(snapshot: Snapshot, asg: str, known: Mapping[str, Image | None]) -> Iterator[Machine]:
    """The members of a group, and what was detached from it and still runs: until it is gone, that is drift."""
    members = {member.instance_id for member in snapshot.groups[asg].members}
    for instance in snapshot.instances.values():
        detached = instance.tags.get(names.DETACHED_FROM) == asg and not gone(instance)
        if instance.id in members or detached:
            node = snapshot.node_of(instance.id)
            ready = node is not None and node.ready
            yield Machine(instance.id, known.get(instance.image_id), instance.launched_at, ready)
