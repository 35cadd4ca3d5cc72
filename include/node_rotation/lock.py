"""The lock of a cluster: one Lease that is lock and ledger at once, written by compare-and-swap only."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from node_rotation import names
from node_rotation.errors import BlockedError, ConflictError, RotationError
from node_rotation.ledger import Change, Ledger, dump, parse
from node_rotation.outcome import Blocked
from node_rotation.run import Run
from node_rotation.world.kubernetes import Lease

TRIES = 20  # two actors of one run write at most a few times per look; more means something is wrong
SKEW = 1.25  # how much longer than its duration a lock must be silent, for clocks that differ
UNSEEN_TRIES = 12  # so often in its duration a lock is read while nothing can be seen; renewed after a third of it


@dataclass(frozen=True, slots=True)
class Held:
    """The Lease as it stands, with its ledger."""

    lease: Lease
    ledger: Ledger


def held(run: Run) -> Held | None:
    """The Lease and its ledger, read now; None if nobody holds the cluster."""
    lease = _read(run)
    if lease is None or not lease.holder:
        return None
    return Held(lease, _ledger(lease))


def read(run: Run) -> Ledger | None:
    """The ledger as it stands, read now, whoever holds it; None if nobody does."""
    found = held(run)
    return found.ledger if found else None


def dead_after_s(duration_s: float) -> float:
    """How long a lock of this duration must be silent until its holder counts as dead."""
    return duration_s * SKEW


def expired(lease: Lease, now: float) -> bool:
    """True if the lock has no holder (any more), or one that has been silent for its duration and a margin.

    The margin is for processes that have just started and could not watch it themselves; what they take over
    they reconcile first, so a wrong guess costs time, never machines. (client-go, leaderelection: a candidate
    acts on the time *it* observed the record unchanged.)
    """
    return not lease.holder or now - lease.renewed_at > dead_after_s(lease.duration_s)


def inherited(run: Run) -> str:
    """The id of a dead run that this one has to clean up after, or has begun to; "" if there is none.

    It may be its own, also while it is put back: a sweep took this run for dead, and died itself.
    """
    found = _found(run)
    if found is None:
        return ""
    if found.lease.holder == run.id:
        return found.ledger.run if found.ledger.run != run.id or found.ledger.found_dead is not None else ""
    return found.ledger.run if expired(found.lease, run.clock.now()) else ""


def replanned(run: Run) -> bool:
    """Whether this run was planned again while it holds the lock: batches of that name in its ledger are others.

    Its own search for strays is no such plan, as long as the task that searches is alive.
    """
    found = held(run)
    if found is None or not found.lease.holder == found.ledger.run == run.id or found.ledger.plan == run.plan.id:
        return False
    return not for_strays(found.ledger) or expired(found.lease, run.clock.now())


def for_strays(ledger: Ledger) -> bool:
    """Whether the lock was only taken to look for what no ledger speaks of; no group is prepared under it."""
    return ledger.plan == names.SWEEP and not ledger.groups


def only_sweeps(found: Held) -> bool:
    """Whether the holder puts back what dead runs left: a sweep, or a run that begins with one.

    By the ledger: ids don't tell.
    """
    return found.ledger.run != found.lease.holder or found.ledger.plan == names.SWEEP


def acquire(run: Run) -> Ledger:
    """Take the lock, or find that this run has it.

    :raises BlockedError: if another run holds it, or nobody does and its ledger has something to put back; that, and an
        expired one, must be swept first (``sweep.sweep``).
    """
    lease = _read(run)
    if lease is not None and lease.holder:
        _check(run, lease)
        return _renewed(run, Held(lease, _ledger(lease))).ledger
    if lease is not None and (left := _left(lease)) is not None:
        raise BlockedError(_not_put_back(run, left.ledger))
    ledger = Ledger(run=run.id, plan=run.plan.id, cluster=run.settings.name)
    annotations = {names.LEDGER: dump(ledger)}
    if lease is not None:  # somebody took its holder out of it
        _write(run, lease, {**lease.annotations, **annotations})
    else:
        run.look.saw(run.cluster.create_lease(run.id, run.settings.policy.lock_duration, annotations))
    return ledger


def take_over(run: Run) -> Held | None:
    """Make this run the holder of an expired lock, or of its own, its ledger kept; None if there is nothing to take.

    :raises BlockedError: if the holder is alive.
    :raises ConflictError: if it was renewed, or taken, this moment.
    """
    found = _found(run)
    if found is None:
        return None
    mine = found.lease.holder == run.id
    if mine and found.ledger.found_dead is not None:
        return Held(_write(run, found.lease, dict(found.lease.annotations)), found.ledger)
    if not mine and not expired(found.lease, run.clock.now()):
        _check(run, found.lease)
    ledger = found.ledger.taken_up(run.clock.now())  # its own of an earlier plan as well: from now it has its time
    return Held(_write(run, found.lease, {**found.lease.annotations, names.LEDGER: dump(ledger)}), ledger)


def require(run: Run) -> Held:
    """Read the holder again before a change of the world; renews the lock when that is due.

    :raises BlockedError: if the lock is not this run's (any more).
    """
    found = held(run)
    if found is None:
        raise BlockedError(
            Blocked(
                f"run {run.id} does not hold the lock of {run.settings.name}",
                ("lease kube-system/node-rotation",),
                "Start the run again: it looks at what was done and goes on from there.",
            )
        )
    _check(run, found.lease)
    return _renewed(run, found)


def keep(run: Run, seen: Lease | None) -> None:
    """Renew by what a shared look showed, so that a step that only waits keeps the run alive without a call each time.

    :param seen: the look's Lease.
    """
    if seen is not None and seen.holder == run.id and run.clock.now() - seen.renewed_at >= seen.duration_s / 3:
        require(run)


def keep_unseen(run: Run) -> None:
    """Renew while the world can't be looked at: AWS may be away and the API server there, and a silent run is dead.

    One of all who wait does it, now and then: where it is the API server that is away, it waits for that one as well.
    """
    if not run.look.first_in(run.settings.policy.lock_duration / UNSEEN_TRIES):
        return
    with suppress(RotationError):
        found = held(run)
        if found is not None and found.lease.holder == run.id:
            _renew(run, found.lease)


def change(run: Run, how: Change) -> Ledger:
    """Change the ledger by compare-and-swap; an unchanged ledger is not written.

    :param how: a pure function; called again with the newer ledger after a lost race.
    :raises BlockedError: if the lock is not this run's.
    :raises ConflictError: if the race was lost too often.
    """
    for _ in range(TRIES):
        found = require(run)
        wanted = how(found.ledger)
        if wanted == found.ledger:
            return wanted
        try:
            _write(run, found.lease, {**found.lease.annotations, names.LEDGER: dump(wanted)})
        except ConflictError:
            continue
        return wanted
    raise ConflictError(f"the ledger of {run.settings.name} changed {TRIES} times while it was being written")


def release(run: Run, only: Callable[[Ledger], bool] | None = None) -> bool:
    """Give the lock back, if this run has it.

    :param only: whether the ledger is still the one it was taken for: another task of this run may have its own by now.
    :returns: True if it was given back now.
    """
    for _ in range(TRIES):
        lease = run.cluster.lease()
        if lease is None or lease.holder != run.id:
            return False
        if only is not None and not only(_ledger(lease)):
            return False
        try:
            run.cluster.delete_lease(lease)
        except ConflictError:
            continue
        run.look.saw(None)
        return True
    return False


def _read(run: Run) -> Lease | None:
    began = run.look.moment()
    lease = run.cluster.lease()
    run.look.saw(lease, began)
    return lease


def _found(run: Run) -> Held | None:
    """As :func:`held`; also a lock that nobody holds any more, as long as it tells what to put back."""
    lease = _read(run)
    if lease is None:
        return None
    return Held(lease, _ledger(lease)) if lease.holder else _left(lease)


def _left(lease: Lease) -> Held | None:
    """A lock that somebody took the holder out of, if its ledger still has something to put back, and can be read."""
    with suppress(BlockedError):
        ledger = _ledger(lease)
        if ledger.groups or ledger.intake or ledger.autoscaler:
            return Held(lease, ledger)
    return None


def _not_put_back(run: Run, ledger: Ledger) -> Blocked:
    name = run.settings.name
    return Blocked(
        f"nobody holds the lock of {name}, but what {ledger.run} changed is not put back",
        ("lease kube-system/node-rotation",),
        f"Have it put back (node-rotation sweep {name}), then start again.",
    )


def _ledger(lease: Lease) -> Ledger:
    return parse(lease.annotations.get(names.LEDGER, ""))


def _check(run: Run, lease: Lease) -> None:
    if lease.holder == run.id:
        return
    silent = run.clock.now() - lease.renewed_at
    raise BlockedError(
        Blocked(
            f"{run.settings.name} is being rotated by {lease.holder}, last heard of {silent:.0f} s ago",
            ("lease kube-system/node-rotation",),
            "Wait for that run, or stop it; a dead one is swept once its lock has expired.",
        )
    )


def _renewed(run: Run, found: Held) -> Held:
    """Lease and ledger of one moment: whoever was faster than the renewal may have changed the ledger as well."""
    lease = _renew(run, found.lease)
    return Held(lease, _ledger(lease))


def _renew(run: Run, lease: Lease) -> Lease:
    if run.clock.now() - lease.renewed_at < lease.duration_s / 3:
        return lease
    try:
        return _write(run, lease, dict(lease.annotations))
    except ConflictError:  # another actor of this run wrote it, which renews it as well
        fresh = run.cluster.lease()
        if fresh is None:
            raise
        _check(run, fresh)
        return fresh


def _write(run: Run, lease: Lease, annotations: dict[str, str]) -> Lease:
    written = run.cluster.update_lease(
        lease,
        holder=run.id,
        duration_s=run.settings.policy.lock_duration,
        annotations=annotations,
        renewed_at=run.clock.now(),
    )
    run.look.saw(written)
    return written
