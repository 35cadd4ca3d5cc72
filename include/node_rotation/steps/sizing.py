"""A group's sizes: what this run changes of them, and what others do meanwhile.

Auto Scaling keeps one number, desired, and whoever sets it gives no precondition. So whose change is whose is kept
here: ``Baseline.own`` is what this run has added to desired. A change of ours is written down before it is made and
counted once it is seen: what AWS says of a group may be from before a change that it has answered. By whatever desired
differs beyond that, others changed it, and the baseline moves with it. Only one change of ours is under way in a group
at a time (ADR 31).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from node_rotation import lock, names
from node_rotation.errors import BlockedError, GoneError, PermanentError, TransientError
from node_rotation.ledger import Baseline, Ledger, Resizing
from node_rotation.outcome import Blocked
from node_rotation.run import Run
from node_rotation.steps import baseline_tag
from node_rotation.steps.adoption import adopted, machine_moved, was_made
from node_rotation.steps.scene import fresh_group, stays
from node_rotation.world.aws import ScalingGroup

PATIENCE_S = 10.0
"""So long a change that was begun, and shows no effect, may still be another actor's of this run."""
SKEW_S = 2.0
"""How far AWS' clock and ours may be apart."""
AGAIN_S = 1.0
TRIES = 5

Wanted = Callable[[Baseline, ScalingGroup], int]


@dataclass(frozen=True, slots=True)
class _Accord:
    """Ledger and group, read one after the other: what is written, what should be, and what others did."""

    written: Baseline
    settled: Baseline
    changes: tuple[str, ...]
    group: ScalingGroup


def settle(run: Run, group_name: str) -> tuple[Baseline, ScalingGroup]:
    """Baseline and group, read now and in accord: nothing of ours is under way, what others changed is taken in.

    :raises TransientError: while another actor of this run changes the size.
    :raises BlockedError: if the lock is not this run's, or the group is gone.
    """
    for _ in range(TRIES):
        found = _accord(run, group_name)
        if found.settled == found.written or _write(run, group_name, found, found.settled):
            return found.settled, found.group
    raise TransientError(f"the size of group {group_name} is being changed", AGAIN_S)


def set_desired(run: Run, group_name: str, wanted: Wanted) -> bool:
    """Ask a group for another number of machines; bounds in the way are moved and put back by restore.

    :param wanted: what it shall be, by baseline and group as they are now.
    :returns: False if there was nothing to do.
    """
    found = _accord(run, group_name)
    group, desired = found.group, wanted(found.settled, found.group)
    if desired == group.desired:
        return False
    minimum, maximum = _bounds(group, desired)
    change = Resizing(since=run.clock.now(), was=group.desired, to=desired, min=minimum, max=maximum)
    _begin(run, group_name, found, change)
    _do(run, group_name, change, lambda: run.cloud.set_sizes(group.name, min=minimum, max=maximum, desired=desired))
    answered = change.model_copy(update={"answered": True})
    lock.change(run, lambda now: _noted(now, group_name, change, resizing=answered))
    return True


def leave(run: Run, group_name: str, instance_id: str) -> None:
    """Terminate a machine, and have its group shrink with it if it is a member.

    AWS refuses a desired size below the minimum, so a minimum in the way is lowered.
    """
    found = _accord(run, group_name)
    group = found.group
    member = group.member(instance_id)
    if member is None:
        with suppress(GoneError):
            run.cloud.terminate(instance_id)
        run.look.forget()
    if member is None or not stays(member.lifecycle):
        return
    fewer = group.desired - 1
    minimum, _ = _bounds(group, fewer)
    change = Resizing(since=run.clock.now(), was=group.desired, to=fewer, min=minimum, machine=instance_id)
    _begin(run, group_name, found, change)

    def terminate() -> None:
        if minimum is not None:
            run.cloud.set_sizes(group.name, min=minimum)
            lock.change(run, lambda now: _noted(now, group_name, change, min_lowered_to=minimum))
        run.cloud.terminate_in_group(instance_id, decrement=True)

    _do(run, group_name, change, terminate)


def come_back(run: Run, group_name: str, instance_id: str) -> None:
    """Attach a machine that was detached; AWS raises desired with it (AttachInstances)."""
    found = _accord(run, group_name)
    group = found.group
    if group.member(instance_id) is not None:
        return
    change = Resizing(since=run.clock.now(), was=group.desired, to=group.desired + 1, machine=instance_id)
    _begin(run, group_name, found, change)
    _do(run, group_name, change, lambda: run.cloud.attach(group.name, [instance_id]))


def _bounds(group: ScalingGroup, desired: int) -> tuple[int | None, int | None]:
    """The minimum and the maximum that must be moved for a size."""
    return desired if desired < group.min else None, desired if desired > group.max else None


def _begin(run: Run, group_name: str, found: _Accord, change: Resizing) -> None:
    if not _write(run, group_name, found, found.settled.model_copy(update={"resizing": change})):
        raise TransientError(f"the size of group {group_name} is being changed", AGAIN_S)
    if run.clock.now() - change.since > PATIENCE_S / 2:  # by the time AWS hears of it nobody may wait for it any more
        raise TransientError(f"the size of group {group_name} could not be changed in time", AGAIN_S)


def _do(run: Run, group_name: str, change: Resizing, call: Callable[[], None]) -> None:
    """Make the call; a refusal is no change."""
    try:
        call()
    except GoneError:  # somebody was faster: the group shows it
        pass
    except (BlockedError, PermanentError):
        lock.change(run, lambda now: _noted(now, group_name, change, resizing=None))
        raise
    finally:
        run.look.forget()


def _accord(run: Run, group_name: str) -> _Accord:
    written = lock.require(run).ledger.groups.get(group_name)
    if written is None:
        remedy = "Start again with the batch's admit step."
        raise BlockedError(Blocked(f"group {group_name} was restored already", (f"group {group_name}",), remedy))
    group = fresh_group(run, written.asg)
    settled, changes = adopted(_counted(run, written, group), group)
    return _Accord(written, settled, changes, group)


def _counted(run: Run, baseline: Baseline, group: ScalingGroup) -> Baseline:
    """The baseline once a change that was begun is over, by what the group shows of it."""
    change = baseline.resizing
    if change is None:
        return baseline
    made = machine_moved(change, group) if change.machine else group.desired == change.to
    if run.clock.now() - change.since >= PATIENCE_S:  # others may have been at it since
        made = change.answered or _was_made(run, change, group)
    elif not made:
        raise TransientError(f"the size of group {group.name} is being changed by this run already", AGAIN_S)
    return _after(baseline, change, group, made=made)


def _was_made(run: Run, change: Resizing, group: ScalingGroup) -> bool:
    activities = run.cloud.activities(group.name, change.since - SKEW_S)
    return was_made(change, group, activities, PATIENCE_S + SKEW_S)


def _noted(ledger: Ledger, group_name: str, change: Resizing, **fields: object) -> Ledger:
    baseline = ledger.groups.get(group_name)
    if baseline is None or baseline.resizing != change:
        return ledger  # somebody has counted it already
    return ledger.with_group(group_name, baseline.model_copy(update=fields))


def _after(baseline: Baseline, change: Resizing, group: ScalingGroup, *, made: bool) -> Baseline:
    """The baseline without a change under way; where a bound was not moved, the former one of ours still stands."""
    update = {
        "own": baseline.own + (change.by if made else 0),
        "resizing": None,
        "min_lowered_to": change.min if change.min == group.min else baseline.min_lowered_to,
        "max_raised_to": change.max if change.max == group.max else baseline.max_raised_to,
    }
    return baseline.model_copy(update=update)


def _write(run: Run, group_name: str, found: _Accord, baseline: Baseline) -> bool:
    """Put a baseline in the place of the one that was read; False if the ledger says something else by now."""
    now = run.clock.now()

    def swap(ledger: Ledger) -> Ledger:
        if ledger.groups.get(group_name) != found.written:
            return ledger
        return ledger.with_group(group_name, baseline).heard(now, f"asg {baseline.asg}", found.changes)

    ledger = lock.change(run, swap)
    if ledger.groups.get(group_name) != baseline:
        return False
    if found.changes and names.BASELINE in found.group.tags:
        run.cloud.tag_group(baseline.asg, {names.BASELINE: baseline_tag.value(baseline, ledger.run)})
    return True
