"""Make a node group ready to be rotated: the lock, the baseline, then the changes it allows to undo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from node_rotation import intake, lock, names, sickness, sweep
from node_rotation.errors import BlockedError, ConflictError, GoneError, TransientError
from node_rotation.ledger import Baseline, Ledger
from node_rotation.model import GroupPlan, Strategy
from node_rotation.outcome import Blocked, Done, Outcome, Waiting
from node_rotation.policy import Policy
from node_rotation.run import Run
from node_rotation.scaling.targets import HEALTH_CHECK, by_all, checks_targets, served
from node_rotation.scaling.zones import unevenness
from node_rotation.steps import baseline_tag, image_run
from node_rotation.steps.image_step import run_image_step, trouble
from node_rotation.steps.managed import hindrance
from node_rotation.steps.scene import fresh_group, over
from node_rotation.steps.warm import renew
from node_rotation.world.aws import ScalingGroup
from node_rotation.world.kubernetes import Lease
from node_rotation.world.snapshot import Snapshot

SWEEP_POLL_S = 10.0


def prepare(run: Run, group_name: str) -> Outcome:
    """Take the lock, record the baseline, close the intake, suspend, run the image step, taint old nodes. Idempotent.

    :param group_name: a node group of the plan.
    :returns: Done; Waiting while a dead run's remains are swept, by whomever, or this one's of an earlier plan, for the
        intake, or for a command or pod; or Blocked (another rotation, a running instance refresh, a template that can't
        be changed, an intake that can't be closed).
    """
    plan = run.plan.group(group_name)
    try:
        group = fresh_group(run, plan.asg)
        if blocked := other_actor(group) or _refused(run, plan, group):
            return blocked
        intake.check(run)
        if waiting := _sweep_before(run):
            return waiting
        if waiting := _acquire(run):
            return waiting
        group = fresh_group(run, plan.asg)  # as it is under the lock, and after a sweep
        _record(run, plan, group)
        if not isinstance(closed := intake.close(run), Done):
            return closed
        if plan.strategy is not Strategy.MANAGED and not isinstance(changed := _change(run, plan, group), Done):
            return changed
    except BlockedError as error:
        return error.blocked
    return Done("; ".join(filter(None, (f"group {group_name} is prepared", closed.detail))))


def rotated(run: Run, group_name: str) -> bool:
    """Whether nothing is left to prepare for: so it is when the task is cleared after its run has ended.

    Every machine of the group's batches is gone, and the others run the target. Not while anybody holds the lock: then
    there is something to go on with, or to be told.

    :param group_name: a node group of the plan.
    """
    plan, snapshot = run.plan.group(group_name), run.look()
    if lock.held(run) is not None or not all(over(run, b) for b in run.plan.batches if b.group == plan.name):
        return False
    group = snapshot.groups.get(plan.asg)
    members = [snapshot.instances.get(m.instance_id) for m in group.members] if group else [None]
    return all(one is not None and one.image_id == plan.target.image.id for one in members)


def timeout_s(run: Run) -> float:
    """Seconds that preparing a group may take: commands and pods of its cluster's groups wait for each other.

    :param run: with the policies of all groups.
    """
    policies = run.settings.groups.values()
    return sweep.LONGEST_S + intake.timeout_s(run) + sum(image_run.timeout_s(policy) for policy in policies)


def ensure(run: Run, group_name: str) -> None:
    """Prepare a group again if this run does not hold it: clearing only failed tasks skips the setups.

    :raises BlockedError: if that is refused.
    :raises TransientError: if it has to wait.
    """
    # Whoever asks may be gone before a command ends; such a one belongs to the group's own preparation.
    outcome = prepare(replace(run, outside=replace(run.outside, commands=None)), group_name)
    if isinstance(outcome, Waiting) and outcome.here:
        objects = (f"group {group_name}",)
        raise BlockedError(Blocked("; ".join(outcome.reasons), objects, "Clear this run's prepare, or start again."))
    if isinstance(outcome, Blocked):
        raise BlockedError(outcome)
    if isinstance(outcome, Waiting):
        raise TransientError("; ".join(outcome.reasons), outcome.poll_s)


def other_actor(group: ScalingGroup) -> Blocked | None:
    """Somebody else who replaces the group's machines right now, or who would meanwhile."""
    if not group.refresh_in_progress:
        return None
    return Blocked(
        f"an instance refresh runs in group {group.name}",
        (f"asg {group.name}", f"instance refresh {group.refresh_in_progress}"),
        "Wait for it, or cancel it (CancelInstanceRefresh), then start again.",
    )


def _refused(run: Run, plan: GroupPlan, group: ScalingGroup) -> Blocked | None:
    return hindrance(run, plan.name, plan.managed) if plan.managed is not None else trouble(run, plan, group)


def _sweep_before(run: Run) -> Waiting | None:
    """Reconcile what an expired run left, or this one under an earlier plan, or go on with that if it was begun."""
    before = lock.inherited(run) or ("this run, planned otherwise," if lock.replanned(run) else "")
    if not before:
        return None
    swept = sweep.sweep(run.settings, run.cloud, run.cluster, run.clock, run.id, run.outside)
    run.look.forget()
    return Waiting(tuple(f"sweeping what {before} left: {left}" for left in swept.left)) if swept.left else None


def _acquire(run: Run) -> Waiting | None:
    """Take the lock: who only sweeps gives it back soon, another rotation may take the night."""
    try:
        if (mine := lock.held(run)) is not None and mine.lease.holder == run.id and lock.for_strays(mine.ledger):
            return Waiting((_held_by(run, mine.lease),), SWEEP_POLL_S)  # not renewed: its task may have died
        if lock.for_strays(_take(run)):
            return Waiting((f"another task of {run.id} looks for what dead runs left",), SWEEP_POLL_S)
    except BlockedError:
        found = lock.held(run)
        if found is None:
            return Waiting((f"the lock of {run.settings.name} was given back this moment",))
        if not lock.only_sweeps(found):
            raise
        return Waiting((_held_by(run, found.lease),), SWEEP_POLL_S)
    return None


def _held_by(run: Run, lease: Lease) -> str:
    since = datetime.fromtimestamp(lease.acquired_at or lease.renewed_at, UTC).strftime("%H:%M:%S UTC")
    return f"{run.settings.name} is held by {lease.holder} since {since}: it puts back what a dead run left"


def _take(run: Run) -> Ledger:
    try:
        return lock.acquire(run)
    except ConflictError:  # another actor of this run was a moment faster, or another run was
        return lock.acquire(run)


def _record(run: Run, plan: GroupPlan, group: ScalingGroup) -> None:
    """The baseline, into ledger and tag, before anything else changes; EKS' groups are not tagged."""
    run.look.forget()
    snapshot = run.look()
    ledger = lock.change(run, lambda now: _with_baseline(run, plan, group, snapshot, now))
    if plan.strategy is Strategy.MANAGED:
        return
    value = baseline_tag.value(ledger.groups[plan.name], ledger.run)
    if group.tags.get(names.BASELINE) != value:
        run.cloud.tag_group(group.name, {names.BASELINE: value})


def as_it_stands(run: Run, plan: GroupPlan, snapshot: Snapshot) -> Ledger:
    """The ledger that :func:`prepare` would begin with, written nowhere.

    :raises BlockedError: if the group is gone.
    """
    nothing = Ledger(run=run.id, plan=run.plan.id, cluster=run.settings.name)
    group = snapshot.groups.get(plan.asg) or fresh_group(run, plan.asg)
    return _with_baseline(run, plan, group, snapshot, nothing)


def _with_baseline(run: Run, plan: GroupPlan, group: ScalingGroup, snapshot: Snapshot, ledger: Ledger) -> Ledger:
    if ledger.sick is None:
        ledger = ledger.model_copy(update={"sick": sickness.found(snapshot)})
    if plan.name in ledger.groups:
        return ledger
    policy = run.settings.groups[plan.name]
    serving = served(group, snapshot.targets)
    everybody = by_all(group, serving)
    before = baseline_tag.before(group)
    desired = max(group.desired, before.min)
    baseline = Baseline(
        asg=group.name,
        strategy=plan.strategy,
        min=before.min,
        max=before.max,
        desired=desired,
        suspended_by_us=(*before.suspended_by_us, *_to_suspend(policy, plan, group)),
        own=group.desired - desired,
        min_lowered_to=group.min if group.min != before.min else None,
        max_raised_to=group.max if group.max != before.max else None,
        uneven=unevenness(group),
        members=tuple(m.instance_id for m in group.members),
        served=everybody,
        served_partly={arn: count for arn, count in serving.items() if arn not in everybody},
        taken_at=run.clock.now(),
        left_larger=group.tags.get(names.BASELINE, ""),
    )
    return ledger.with_group(plan.name, baseline)


def _to_suspend(policy: Policy, plan: GroupPlan, group: ScalingGroup) -> tuple[str, ...]:
    if plan.strategy is Strategy.MANAGED:
        return ()
    wanted = (*policy.suspend_processes, *((HEALTH_CHECK,) if checks_targets(group) else ()))
    return tuple(p for p in dict.fromkeys(wanted) if p not in group.suspended)


def _change(run: Run, plan: GroupPlan, group: ScalingGroup) -> Outcome:
    baseline = lock.require(run).ledger.groups[plan.name]
    missing = [p for p in baseline.suspended_by_us if p not in group.suspended]
    if missing and not baseline.suspended:  # else somebody has resumed them since
        run.cloud.suspend(group.name, missing)
    if baseline.suspended_by_us and not baseline.suspended:
        lock.change(run, lambda now: _suspended(now, plan.name))
    if not isinstance(outcome := run_image_step(run, plan, group), Done):
        return outcome
    _launched_before(run, plan)
    if group.warm_pool:
        renew(run, fresh_group(run, group.name))  # with the template that the image step has made
    planned = {m.instance_id for batch in run.plan.batches if batch.group == plan.name for m in batch.machines}
    old = planned & set(baseline.members)  # restore knows of no others
    for node in run.look().nodes:
        if node.instance_id in old and not any(key == names.OLD_TAINT for key, _, _ in node.taints):
            lock.require(run)
            try:
                run.cluster.taint(node.name, node.uid, (names.OLD_TAINT, "", names.OLD_EFFECT))
            except GoneError:
                continue
    run.look.forget()
    return Done()


def _launched_before(run: Run, plan: GroupPlan) -> None:
    """Machines that others added before the template was right are no replacements: they are members as any other."""
    members = [m.instance_id for m in fresh_group(run, plan.asg).members]
    instances = run.cloud.instances(members)
    late = [m for m in members if m in instances and instances[m].image_id != plan.target.image.id]
    lock.change(run, lambda now: _with_members(now, plan.name, late))


def _with_members(ledger: Ledger, group_name: str, more: Sequence[str]) -> Ledger:
    """A ledger with more members in a group's baseline; once batches have begun, whoever comes is looked at by them."""
    baseline = ledger.groups.get(group_name)
    if baseline is None or ledger.claims_of(group_name):
        return ledger
    new = tuple(m for m in more if m not in baseline.members)
    return ledger.with_group(group_name, baseline.model_copy(update={"members": (*baseline.members, *new)}))


def _suspended(ledger: Ledger, group_name: str) -> Ledger:
    baseline = ledger.groups[group_name]
    return ledger.with_group(group_name, baseline.model_copy(update={"suspended": True}))
