"""What other clusters of the fleet show of an image, looked at now. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from node_rotation import names
from node_rotation.clearance.lineage import Origin, chosen_by, family, unclear
from node_rotation.clearance.promotion import Machine, Stage
from node_rotation.detect import asg_name, observe
from node_rotation.errors import BlockedError, RotationError
from node_rotation.fleet import Before, Settings
from node_rotation.kops.discovery import discover
from node_rotation.model import GroupPlan, Image, Kind
from node_rotation.outcome import Blocked
from node_rotation.run import Run
from node_rotation.steps.scene import gone, staying
from node_rotation.world.snapshot import Snapshot

BELIEVED = 12
"""For so many times the shared look's seconds one look at another cluster does for all runs that wait for it."""
Stages = Mapping[str, Sequence[Stage]]
"""A group of the plan → the groups it is promoted from."""


class UnreachableError(Exception):
    """A cluster that can't be asked proves nothing, and the run waits."""


def unreachable(settings: Settings, error: RotationError) -> UnreachableError:
    """What is said of a cluster that can't be asked."""
    return UnreachableError(f"{settings.name} can't be asked: {error}")


@dataclass(frozen=True, slots=True)
class _Shown:
    """A group there that may count, as it is now."""

    origin: Origin
    machines: tuple[Machine, ...]


def stages(run: Run, clusters: Sequence[Before], groups: Sequence[GroupPlan]) -> Stages:
    """The groups that have to show an image before each of ours; each cluster is looked at once.

    :param clusters: those that come before.
    :param groups: those of the plan that are asked for; without any nobody is looked at.
    :raises UnreachableError: if one can't be asked.
    :raises BlockedError: if nothing says which groups of one count.
    """
    found: dict[str, list[Stage]] = {group.name: [] for group in groups}
    for before in clusters if groups else ():
        theirs = _with_groups(run, before.settings)
        ours = [_origin(run, before, plan) for plan in groups]
        there = _there(run, theirs, before.looked_at(ours, theirs))
        for origin in ours:
            found[origin.group] += _required(run, before, origin, there)
    return found


def _origin(run: Run, before: Before, plan: GroupPlan) -> Origin:
    managed = run.look().managed.get(plan.asg) if plan.kind is Kind.EKS_MANAGED else None
    return before.origin(plan.name, plan.kind, plan.role, chosen_by(managed) if managed is not None else "")


def _required(run: Run, before: Before, ours: Origin, there: Mapping[str, _Shown]) -> Iterator[Stage]:
    shown, name = family(ours, [one.origin for one in there.values()]), before.settings.name
    if shown.unclear and not before.named:
        in_turn = before.settings.environment == run.settings.environment
        said, remedy = unclear(ours.group, name, shown, in_turn=in_turn)
        raise BlockedError(Blocked(said, (f"group {ours.group}", f"cluster {name}"), remedy))
    for group in before.named or shown.groups:
        if group in there:
            overtakes = shown.sure and group in shown.groups
            yield Stage(name, group, there[group].machines, overtakes)


def _with_groups(run: Run, settings: Settings) -> Settings:
    """Only a cluster whose groups are kops' has to be asked for them."""
    try:
        return discover(settings, run.others.reach(settings)[0]) if settings.cluster.kops else settings
    except RotationError as error:
        raise unreachable(settings, error) from error


def _there(run: Run, settings: Settings, wanted: Sequence[str]) -> Mapping[str, _Shown]:
    if not wanted:
        return {}
    told = settings.only(wanted)
    believed_s = BELIEVED * run.settings.policy.poll
    found = run.others.asked(told.model_dump_json(), run.clock, believed_s, lambda: _looked(run, told))
    if isinstance(found, UnreachableError):
        raise found.with_traceback(None)  # else it grows with every run that is told
    return found


def _looked(run: Run, told: Settings) -> Mapping[str, _Shown] | UnreachableError:
    """What a cluster shows of the groups that are told apart, now."""
    try:
        cloud, cluster = run.others.reach(told)
        snapshot = observe(told, cloud, cluster, run.clock)
        known = {i: cloud.image(i) for i in sorted({one.image_id for one in snapshot.instances.values()})}
        asgs = {g.name: asg_name(g, told, cloud) for g in told.cluster.groups}
    except RotationError as error:
        return unreachable(told, error)
    eks = {name: chosen_by(snapshot.managed[asg]) for name, asg in asgs.items() if asg in snapshot.managed}
    return {o.group: _Shown(o, tuple(_machines(snapshot, asgs[o.group], known))) for o in told.origins(eks)}


def _machines(snapshot: Snapshot, asg: str, known: Mapping[str, Image | None]) -> Iterator[Machine]:
    """Those that verify counts: who is in service or will be, and who was detached and still runs, for that is drift.

    A machine that somebody put aside is left alone by every rotation: waited for, it would hold others for ever.
    """
    members = staying(snapshot.groups[asg])
    for instance in snapshot.instances.values():
        if not gone(instance) and (instance.id in members or instance.tags.get(names.DETACHED_FROM) == asg):
            node = snapshot.node_of(instance.id)
            ready = node is not None and node.ready
            yield Machine(instance.id, known.get(instance.image_id), instance.launched_at, ready)
