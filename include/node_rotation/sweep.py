"""Clean up after a dead run: heal and restore by its own ledger, then whatever residue has no Lease."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from node_rotation import intake, lock, names
from node_rotation.detect import make_run
from node_rotation.errors import BlockedError, ConflictError, PermanentError, RotationError
from node_rotation.fleet import Settings
from node_rotation.ledger import Ledger
from node_rotation.outcome import Blocked, Waiting
from node_rotation.outside import Outside
from node_rotation.planning import empty_plan
from node_rotation.run import Run
from node_rotation.steps import baseline_tag
from node_rotation.steps.heal import send_away
from node_rotation.steps.restore import restore, restored, timeout_s
from node_rotation.steps.scene import busy_pods, fresh_group, gone, stays, still_detaching
from node_rotation.steps.undo import marked, paused, undo_group, undo_nodes, unpause
from node_rotation.steps.verify import orphans, residue
from node_rotation.world.aws import Instance, ScalingGroup
from node_rotation.world.clients import Clock, Cloud, Cluster

LONGEST_S = 1800.0
"""How long a dead run's remains may take to be swept."""
AT_LEAST_S = 300.0
"""So long every sweep tries before it gives a group up: half of what the hourly one has."""


class SweepInterruptedError(KeyboardInterrupt):
    """Ctrl-C while a sweep goes on.

    :param did: one line per thing done before.
    """

    def __init__(self, did: tuple[str, ...]) -> None:
        super().__init__()
        self.did = did


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did to one cluster.

    :param did: one line per thing done.
    :param left: what it could not clean up, each naming its object.
    :param held_by: the live run that holds the cluster; then nothing was touched.
    """

    did: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    held_by: str = ""


def sweep(
    settings: Settings, cloud: Cloud, cluster: Cluster, clock: Clock, holder: str, outside: Outside | None = None
) -> Swept:
    """Remove what a dead run left in one cluster; touches nothing while a live run holds the lock.

    May have to be called again: pods leave a surplus machine at their own pace, then ``left`` says so.

    :param holder: this sweep's own id, the lock's holder meanwhile.
    :param outside: None is the network and the programs of this machine.
    """
    plan = empty_plan(names.SWEEP, settings, clock.now())
    run = make_run(holder, plan, settings, cloud, cluster, clock, outside=outside)
    did: list[str] = []
    try:
        found = lock.take_over(run)
    except (BlockedError, ConflictError):
        lease = cluster.lease()
        return Swept(held_by=lease.holder if lease else "")
    if found is not None:
        did.append(f"took over the lock from {found.ledger.run}")
        if left := _restored(run, found.ledger, did):
            return _ended(run, did, left)
        left = list[str]()
        with _told(settings.name, left):  # what was done is said, whatever the fleet file says of other groups
            left.extend(_stray(run, did))
        return _ended(run, did, left)
    return _ended(run, did, _stray(run, did))


def _ended(run: Run, did: list[str], left: list[str]) -> Swept:
    """What is left is another's to clean up, if another run was faster."""
    lease = run.cluster.lease() if left else None
    if lease is not None and lease.holder not in ("", run.id):
        return Swept(tuple(did), held_by=lease.holder)
    return Swept(tuple(did), tuple(left))


def until_done(
    settings: Settings, cloud: Cloud, cluster: Cluster, clock: Clock, holder: str, outside: Outside | None = None
) -> Swept:
    """Sweep until nothing is left, or for :data:`LONGEST_S`: a sweep that stops midway keeps the lock.

    :returns: the last sweep, with what all of them did.
    :raises SweepInterruptedError: if it is interrupted from the keyboard.
    """
    deadline, did = clock.now() + LONGEST_S, list[str]()
    try:
        while True:
            swept = sweep(settings, cloud, cluster, clock, holder, outside)
            did += swept.did
            if not swept.left or clock.now() > deadline:
                return replace(swept, did=tuple(dict.fromkeys(did)))
            clock.wait(settings.policy.poll)
    except KeyboardInterrupt as error:
        raise SweepInterruptedError(tuple(dict.fromkeys(did))) from error


@contextmanager
def _told(what: str, left: list[str]) -> Iterator[None]:
    """What goes wrong with one thing is said, and keeps no other from its turn."""
    try:
        yield
    except RotationError as error:
        left.append(f"{what}: {error}")


def _restored(run: Run, ledger: Ledger, did: list[str]) -> list[str]:
    """Restore every group of a dead run's ledger, then give its lock back; answers what is left."""
    left: list[str] = []
    for group in ledger.groups:
        with _told(group, left):
            did.extend(restore(run, group, giving_up=_giving_up(run, group, ledger)))
            left.extend(f"{group}: {reason}" for reason in _reasons(run, group))
    if not ledger.groups:
        with _told(run.settings.name, left):
            did.extend(intake.open_again(run))
            if (now := lock.read(run)) is not None and (shut := intake.shut(now)):
                return [shut]
            lock.release(run, lambda now: now.plan == ledger.plan and not now.groups)
    return left


def _reasons(run: Run, group: str) -> tuple[str, ...]:
    outcome = restored(run, group)
    if isinstance(outcome, Blocked):
        return (str(outcome),)
    return outcome.reasons if isinstance(outcome, Waiting) else ()


def _giving_up(run: Run, group: str, ledger: Ledger) -> bool:
    """Whether a group has had its time since the run was found dead, by whatever sweeps.

    Better a group with a machine too many, which its tag tells of, than an intake and an autoscaler that nobody opens.
    """
    dead, now = ledger.found_dead, run.clock.now()
    return dead is not None and now - dead.last > AT_LEAST_S and now - dead.first > timeout_s(run, group)


def _stray(run: Run, did: list[str]) -> list[str]:
    """Residue that no ledger speaks of, under a lock of our own."""
    run.look.forget()
    snapshot = run.look()
    if not [*residue(snapshot), *orphans(snapshot)]:
        return []
    found = lock.held(run)
    if found is not None and found.lease.holder == run.id:
        return []  # another task of this very run has it by now: its marks are no strays
    try:
        if lock.acquire(run).plan != run.plan.id:
            return []  # as above, this moment
    except (BlockedError, ConflictError) as error:  # another run was faster
        return [str(error)]
    try:
        larger = [line for asg in snapshot.groups for line in _settle_group(run, asg, did)]
        for workload in paused(snapshot):
            with _told(workload.key, larger):
                unpause(run, workload, did)
        snapshot = run.look()
        leaving = {i.id for i in snapshot.instances.values() if names.DETACHED_FROM in i.tags}
        undo_nodes(run, snapshot, {n.instance_id for n in snapshot.nodes if marked(n)} - leaving, did)
    finally:
        lock.release(run, lock.for_strays)
    run.look.forget()
    return [*larger, *residue(run.look()), *orphans(run.look())]


def _settle_group(run: Run, asg: str, did: list[str]) -> list[str]:
    """A group's orphans, sizes, processes and tags; what has to be left to a person."""
    left: list[str] = []
    for instance in run.look().instances.values():
        if instance.tags.get(names.DETACHED_FROM) == asg and not gone(instance):
            with _told(f"instance {instance.id}", left):
                left.extend(_settle(run, asg, instance, did))
    with _told(f"asg {asg}", left):
        left.extend(_settle_sizes(run, asg, did, keep_baseline=bool(left)))
    return left


def _settle_sizes(run: Run, asg: str, did: list[str], *, keep_baseline: bool) -> Iterator[str]:
    """Sizes, processes and tags.

    :param keep_baseline: an orphan is not settled: the tag tells the next sweep what the group had.
    """
    group, instances = fresh_group(run, asg), run.look().instances
    sizes = baseline_tag.read(group.tags.get(names.BASELINE, ""))
    larger = sizes is not None and group.desired > sizes.desired
    tagged = any(names.RUN in i.tags for m in group.members if (i := instances.get(m.instance_id)) is not None)
    if tagged or names.BASELINE in group.tags:
        undo_group(run, asg, baseline_tag.before(group), did, keep_baseline=larger or keep_baseline)
    if larger and sizes:
        yield baseline_tag.larger(group, sizes)


def _settle(run: Run, asg: str, orphan: Instance, did: list[str]) -> tuple[str, ...]:
    """An orphan goes where it is nearer: back into a group that lacks it, else drained and away.

    What the group had is written into its tag first: attaching raises desired, so desired is lowered before, and
    whoever comes after a crash in between must not take the smaller group for a whole one.

    :returns: why it is no orphan yet, for the next sweep.
    """
    snapshot = run.look()
    group, node = fresh_group(run, asg), snapshot.node_of(orphan.id)
    member = group.member(orphan.id)
    if member is not None and still_detaching(member, orphan):
        return (f"instance {orphan.id}: still leaves group {asg} ({member.lifecycle})",)
    if member is not None:
        if stays(member.lifecycle):
            run.cloud.untag_instances([orphan.id], list(names.INSTANCE_TAGS))
        return ()
    drained = node is not None and node.unschedulable and not busy_pods(snapshot, node)
    serving = sum(1 for m in group.members if stays(m.lifecycle))
    sizes = baseline_tag.read(group.tags.get(names.BASELINE, ""))
    if drained or serving >= max(group.desired, sizes.desired if sizes else 0):
        if send_away(run, snapshot, (_node_group(run, group), asg), orphan.id, did):
            run.look.forget()
        return ()
    lock.require(run)
    if sizes is None or sizes.min is None:
        run.cloud.tag_group(asg, {names.BASELINE: baseline_tag.with_minimum(group, run.id)})
    lowered = group.desired > serving
    if lowered:
        run.cloud.set_sizes(asg, desired=group.desired - 1, min=min(group.min, group.desired - 1))
    try:
        run.cloud.attach(asg, [orphan.id])
    except (BlockedError, PermanentError):
        if lowered:  # then the group launches what it lacks
            run.cloud.set_sizes(asg, desired=group.desired, min=group.min)
        raise
    run.cloud.untag_instances([orphan.id], list(names.INSTANCE_TAGS))
    run.look.forget()
    did.append(f"instance {orphan.id} is back in group {asg}")
    return ()


def _node_group(run: Run, asg: ScalingGroup) -> str:
    """The node group of an Auto Scaling group, for its drain policy; "" if the fleet has none any more."""
    return next((group.name for group in run.settings.cluster.groups if group.names_asg(asg.name, asg.tags)), "")
