"""What a run waits for before it touches anything. Reads only; engine and Airflow ask the same question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from node_rotation import lock
from node_rotation.clearance import environments, freeze, promotion, turn
from node_rotation.clearance.fitting import waits
from node_rotation.clearance.lineage import same
from node_rotation.clearance.stages import Stages, UnreachableError
from node_rotation.clearance.stages import stages as looked_at
from node_rotation.detect import detect
from node_rotation.errors import BlockedError, PermanentError, TransientError
from node_rotation.model import Blocker, GroupPlan
from node_rotation.outcome import REFUSED_CALL, Blocked, Done, Waiting
from node_rotation.planning import blocked_since
from node_rotation.policy import Empty
from node_rotation.run import Run

LOOKS_APART = 15
"""So many times the shared look's seconds pass between two questions: what is waited for takes hours."""
OLD_S = 600.0
"""A plan of so long ago was made of another world: what blocks it is asked again before anything is touched."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """A newer image, or a newer run, takes this run's place: it ends, and has touched nothing."""

    reason: str


Clearance = Done | Waiting | Blocked | Superseded


def look(run: Run, superseded: str = "") -> Clearance:
    """Whether a run may begin: Done, what it waits for and until when, or why it never will.

    One that holds the lock has begun, and goes on whatever the time: admission keeps back what must not start. Planned
    again it has not: nobody was asked about what it is to do now.

    :param run: its plan has at least one batch.
    :param superseded: which other run takes its place, as who starts runs knows; "" if none does.
    """
    try:
        held = lock.held(run)
        if held is not None and held.lease.holder == run.id and held.ledger.plan == run.plan.id:
            return Done("the run has begun already")
        if superseded:
            return Superseded(superseded)
        if frozen := _frozen(run):
            return frozen
        if newer := _newer(run):
            return Superseded(newer)
        stages = looked_at(run, run.settings.before, run.plan.moved)
        if newer := _gone_on(run, stages):
            return Superseded(newer)
        reasons = (*_promotion(run, stages), *turn.waits(run), *_window(run))
        return _answer(run, reasons, alone=held is None)
    except UnreachableError as error:
        return _answer(run, (str(error),), alone=False)
    except TransientError as error:
        return Waiting((str(error),), error.retry_after_s)
    except BlockedError as error:
        return error.blocked
    except PermanentError as error:
        return Blocked(str(error), (f"cluster {run.settings.name}",), REFUSED_CALL)


def _answer(run: Run, reasons: Sequence[str], *, alone: bool) -> Clearance:
    """What it waits for comes first; then what blocks it, but for a world that is on the move.

    :param alone: nobody has the cluster's lock; else preparing the groups says so, or cleans up first.
    """
    if unique := tuple(dict.fromkeys(reasons)):
        return Waiting(unique, LOOKS_APART * run.settings.policy.poll)
    blocked = _blocked(run) if alone else None
    return blocked or Done("nothing is in its way")


def _blocked(run: Run) -> Blocked | Waiting | None:
    """What has come in the plan's way while it waited, for approval, promotion, turn or window, as one answer.

    One look does not tell a moment's trouble from a lasting one: what may pass by itself is waited for.
    """
    if run.clock.now() - run.plan.created.timestamp() < OLD_S:
        return None
    since = blocked_since(run.plan, run.settings, run.look())
    if since.lasting:
        return _together(since.lasting)
    reasons = tuple(dict.fromkeys(blocker.reason for blocker in since.passing))
    return Waiting(reasons, LOOKS_APART * run.settings.policy.poll) if reasons else None


def _together(found: Sequence[Blocker]) -> Blocked:
    objects = tuple(dict.fromkeys(named for blocker in found for named in blocker.objects))
    remedies = dict.fromkeys(blocker.remedy.removesuffix(".") for blocker in found if blocker.remedy)
    return Blocked("; ".join(blocker.reason for blocker in found), objects, "; ".join(remedies))


def _frozen(run: Run) -> Blocked | None:
    for plan in run.plan.groups:
        if record := run.freezes.of(plan.target.image):
            image = plan.target.image.id
            remedy = f"Publish a better image, or lift it: {freeze.lift(image)}"
            return Blocked(str(record), (f"image {image}", f"group {plan.name}"), remedy)
    return None


def _newer(run: Run) -> str:
    """What the image source says now, if that is newer than the plan's target; who is pinned is never overtaken.

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
    moved = (group for group in _unpinned(run) if group.name in stages)
    found = (promotion.overtaken(group.target.image, stages[group.name], run.freezes()) for group in moved)
    return next(filter(None, found), "")


def _unpinned(run: Run) -> Iterator[GroupPlan]:
    if run.settings.policy.pin:
        return iter(())
    return (group for group in run.plan.groups if not run.settings.groups[group.name].image.id)


def _window(run: Run) -> Iterator[str]:
    """Preparing belongs to the first batch: neither begins outside the window."""
    first = run.plan.batches[0]
    yield from waits(first, run.group(first), run.policy(first), run.clock.now())


def _promotion(run: Run, stages: Stages) -> Iterator[str]:
    """Asked of the groups that get another image: where machines run the target already, nothing is promoted."""
    if not (moved := run.plan.moved):
        return
    policy, before = run.settings.policy.promotion, run.settings.before
    missing = tuple(environments.missing(before, [s.group for found in stages.values() for s in found]))
    yield from missing
    for group in moved:
        if policy.empty is Empty.HOLD and not missing:
            shown = [stage.cluster for stage in stages[group.name]]
            for there in environments.without(before, shown):
                yield environments.nobody(there, group.name, policy)
        yield from promotion.waits(group.target.image, stages[group.name], policy, run.clock.now())
