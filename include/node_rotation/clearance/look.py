"""What a run waits for before it touches anything. Reads only; engine and Airflow ask the same question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from node_rotation import lock, names
from node_rotation.clearance import promotion
from node_rotation.clearance.fitting import waits
from node_rotation.clearance.lineage import same
from node_rotation.clearance.promotion import Machine, Stage
from node_rotation.detect import asg_name, detect, observe
from node_rotation.errors import BlockedError, PermanentError, RotationError, TransientError
from node_rotation.fleet import Settings
from node_rotation.kops.discovery import discover
from node_rotation.model import GroupPlan, Image
from node_rotation.outcome import Blocked, Done, Waiting
from node_rotation.policy import Empty
from node_rotation.run import Run
from node_rotation.steps.scene import gone
from node_rotation.world.snapshot import Snapshot

LOOKS_APART = 15
"""So many times the shared look's seconds pass between two questions: what is waited for takes hours."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """A newer image, or a newer run, takes this run's place: it ends, and has touched nothing."""

    reason: str


Stages = Mapping[str, Sequence[Stage]]
"""A group of the plan → the groups it is promoted from."""
Clearance = Done | Waiting | Blocked | Superseded


def look(run: Run) -> Clearance:
    """Whether a run may begin: Done, what it waits for and until when, or why it never will.

    One that holds the lock has begun, and goes on whatever the time: admission keeps back what must not start.

    :param run: its plan has at least one batch.
    """
    try:
        held = lock.held(run)
        if held is not None and held.lease.holder == run.id:
            return Done("the run has begun already")
        if frozen := _frozen(run):
            return frozen
        if newer := _newer(run):
            return Superseded(newer)
        stages = _stages(run)
        if newer := _gone_on(run, stages):
            return Superseded(newer)
        reasons = (*_promotion(run, stages), *_window(run))
    except _Unreachable as error:
        reasons = (str(error),)
    except TransientError as error:
        return Waiting((str(error),), error.retry_after_s)
    except BlockedError as error:
        return error.blocked
    except PermanentError as error:
        return Blocked(str(error), (f"cluster {run.settings.name}",))
    unique = tuple(dict.fromkeys(reasons))
    return Waiting(unique, LOOKS_APART * run.settings.policy.poll) if unique else Done("nothing is in its way")


def _frozen(run: Run) -> Blocked | None:
    for plan in run.plan.groups:
        if record := run.freezes.of(plan.target.image):
            objects = (f"image {plan.target.image.id}", f"group {plan.name}")
            return Blocked(str(record), objects, "Publish a better image, or lift it with node-rotation unfreeze.")
    return None


def _newer(run: Run) -> str:
    """What the image source says now, if that is newer than the plan's target; a pinned image is never overtaken.

    So a past night's run ends here if its image is not the newest any more.
    """
    for plan in _unpinned(run):
        found = detect(
            run.settings, plan.name, run.cloud, run.cluster, run.clock, snapshot=run.look(), frozen=run.freezes()
        )
        target, planned = found.target, plan.target.image
        if target is not None and target.image.created > planned.created and not same(target.image, planned):
            newest, old = (f"{image.id} ({image.name})" for image in (target.image, planned))
            return f"group {plan.name} is to run {newest} by now, newer than {old}"
    return ""


def _gone_on(run: Run, stages: Stages) -> str:
    found = (promotion.overtaken(group.target.image, stages[group.name]) for group in _unpinned(run))
    return next(filter(None, found), "")


def _unpinned(run: Run) -> Iterator[GroupPlan]:
    return (group for group in run.plan.groups if not run.settings.groups[group.name].image.id)


def _window(run: Run) -> Iterator[str]:
    """Preparing belongs to the first batch: neither begins outside the window."""
    first = run.plan.batches[0]
    yield from waits(first, run.group(first), run.policy(first), run.clock.now())


class _Unreachable(Exception):  # noqa: N818 - never leaves this module
    """A cluster that can't be asked proves nothing, and the run waits."""


def _unreachable(settings: Settings, error: RotationError) -> _Unreachable:
    return _Unreachable(f"{settings.name} can't be asked whether the image is well there: {error}")


def _promotion(run: Run, stages: Stages) -> Iterator[str]:
    policy = run.settings.policy.promotion
    for group in run.plan.groups:
        if run.settings.before and not stages[group.name] and policy.empty is Empty.HOLD:
            there = " and ".join(before.settings.name for before in run.settings.before)
            yield f"{there}: no group takes its image from where group {group.name} does (promotion.empty: hold)"
        yield from promotion.waits(group.target.image, stages[group.name], policy, run.clock.now())


def _stages(run: Run) -> Stages:
    """Each cluster before is looked at once, whatever the number of groups."""
    found: dict[str, list[Stage]] = {group.name: [] for group in run.plan.groups}
    for before in run.settings.before:
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
        raise _unreachable(settings, error) from error


def _there(run: Run, settings: Settings, wanted: set[str]) -> dict[str, Stage]:
    if not wanted:
        return {}
    try:
        cloud, cluster = run.others.reach(settings)
        snapshot = observe(settings.only(sorted(wanted)), cloud, cluster, run.clock)
        known = {i: cloud.image(i) for i in sorted({one.image_id for one in snapshot.instances.values()})}
        asgs = {g.name: asg_name(g, settings, cloud) for g in settings.cluster.groups if g.name in wanted}
    except RotationError as error:
        raise _unreachable(settings, error) from error
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
