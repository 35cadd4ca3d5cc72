"""What a run waits for before it touches anything. Reads only; engine and Airflow ask the same question."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from node_rotation import promotion
from node_rotation.detect import asg_name, detect, observe
from node_rotation.errors import BlockedError, RotationError, TransientError
from node_rotation.fitting import waits
from node_rotation.fleet import Before
from node_rotation.lineage import same
from node_rotation.model import GroupPlan, Image
from node_rotation.outcome import Blocked, Done, Waiting
from node_rotation.policy import Empty
from node_rotation.promotion import Machine, Stage
from node_rotation.run import Run
from node_rotation.world import Cloud, Snapshot

LOOKS_APART = 15
"""So many times the shared look's seconds pass between two questions: what is waited for takes hours."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """A newer image, or a newer run, takes this run's place: it ends, and has touched nothing."""

    reason: str


Clearance = Done | Waiting | Blocked | Superseded


def look(run: Run) -> Clearance:
    """Whether a run may begin: Done, what it waits for and until when, or why it never will.

    :param run: its plan has at least one batch.
    """
    try:
        if frozen := _frozen(run):
            return frozen
        if newer := _newer(run):
            return Superseded(newer)
        stages = {group.name: tuple(_stages(run, group.name)) for group in run.plan.groups}
        for group in run.plan.groups:
            if reason := promotion.overtaken(group.target.image, stages[group.name]):
                return Superseded(reason)
        reasons = (*_promotion(run, stages), *_window(run))
    except _Unreachable as error:
        reasons = (str(error),)
    except TransientError as error:
        return Waiting((str(error),), error.retry_after_s)
    except BlockedError as error:
        return error.blocked
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
    for plan in run.plan.groups:
        if run.settings.groups[plan.name].image.id:
            continue
        found = detect(
            run.settings, plan.name, run.cloud, run.cluster, run.clock, snapshot=run.look(), frozen=run.freezes()
        )
        target, planned = found.target, plan.target.image
        if target is not None and target.image.created > planned.created and not same(target.image, planned):
            newest, old = (f"{image.id} ({image.name})" for image in (target.image, planned))
            return f"group {plan.name} is to run {newest} by now, newer than {old}"
    return ""


def _window(run: Run) -> Iterator[str]:
    """Preparing belongs to the first batch: neither begins outside the window."""
    first = run.plan.batches[0]
    yield from waits(first, run.policy(first), run.clock.now())


class _Unreachable(Exception):  # noqa: N818 - never leaves this module
    """A cluster that can't be asked proves nothing, and the run waits."""


def _promotion(run: Run, stages: dict[str, tuple[Stage, ...]]) -> Iterator[str]:
    policy = run.settings.policy.promotion
    for group in run.plan.groups:
        if run.settings.before and not stages[group.name] and policy.empty is Empty.HOLD:
            yield f"{_whence(run)}: no group takes its image from where group {group.name} does (promotion.empty: hold)"
        yield from promotion.waits(group.target.image, stages[group.name], policy, run.clock.now())


def _whence(run: Run) -> str:
    return " and ".join(before.settings.name for before in run.settings.before)


def _stages(run: Run, group: str) -> Iterator[Stage]:
    for before in run.settings.before:
        if before.groups.get(group):
            yield from _stages_in(run, before, before.groups[group], run.plan.group(group))


def _stages_in(run: Run, before: Before, groups: tuple[str, ...], plan: GroupPlan) -> Iterator[Stage]:
    settings = before.settings
    try:
        cloud, cluster = run.others.reach(settings)
        snapshot = observe(settings, cloud, cluster, run.clock)
        known = _images(cloud, snapshot, plan.target.image)
        asgs = {g.name: asg_name(g, settings, cloud) for g in settings.cluster.groups if g.name in groups}
    except RotationError as error:
        raise _Unreachable(f"{settings.name} can't be asked whether {plan.target.image.id} is well: {error}") from error
    for name, asg in asgs.items():
        yield Stage(f"{settings.name} group {name}", tuple(_machines(snapshot, asg, known)))


def _images(cloud: Cloud, snapshot: Snapshot, target: Image) -> dict[str, Image]:
    ids = sorted({instance.image_id for instance in snapshot.instances.values()})
    found = {i: target if i == target.id else cloud.image(i) for i in ids}
    return {i: image for i, image in found.items() if image is not None}


def _machines(snapshot: Snapshot, asg: str, known: dict[str, Image]) -> Iterator[Machine]:
    for member in snapshot.groups[asg].members:
        instance = snapshot.instances.get(member.instance_id)
        if instance is not None:
            node = snapshot.node_of(member.instance_id)
            ready = node is not None and node.ready
            yield Machine(instance.id, known.get(instance.image_id), instance.launched_at, ready)
