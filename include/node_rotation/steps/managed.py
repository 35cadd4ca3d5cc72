"""The steps of a managed node group: EKS rolls it, a rotation starts the update, watches it and judges the result.

Written are EKS' API and the Lease, nothing else: the Auto Scaling group, its machines and their Nodes are EKS'. An
update in flight can't be stopped or rolled back (EKS API reference, UpdateNodegroupVersion).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from node_rotation import lock, sickness
from node_rotation.errors import ConflictError
from node_rotation.ledger import Claim, ClaimState, Ledger, claim_change
from node_rotation.managed.nodegroup import ManagedGroup, Update
from node_rotation.managed.planning import busy, managed_limit_s
from node_rotation.model import Batch, ManagedPlan, StepName
from node_rotation.outcome import Blocked, Done, Outcome, Waiting
from node_rotation.run import Run
from node_rotation.steps.assignment import assign
from node_rotation.steps.managed_watch import broken, pods_left, taken
from node_rotation.steps.scene import Scene, acting, gone, over, scene, span
from node_rotation.steps.step import MARGIN_S
from node_rotation.world.snapshot import Snapshot

CORDON_S = 60.0


@dataclass(frozen=True, slots=True)
class StartUpdate:
    """Launch: done once EKS works on our update, or has ended it."""

    name: StepName = StepName.LAUNCH

    def act(self, run: Run, batch: Batch) -> None:
        """Write down a token, ask EKS under it, write down the update's id; each part is repeatable."""
        if over(run, batch):
            return
        place = acting(run, batch)
        claim, group = place.claim, eks_of(place)
        if claim.state is not ClaimState.ADMITTED or claim.update or not _old(place):
            return
        if not claim.update_token:
            if group.in_flight is not None:
                return  # somebody else's: look names it
            claim = lock.change(run, lambda now: _begun(place, now)).claim(batch.name) or claim
        try:
            update = _ask(run, batch, group, claim.update_token)
        except ConflictError:  # somebody else was faster: look names it
            run.look.forget()
            return
        lock.change(run, claim_change(batch.name, update=update.id))
        run.look.forget()

    def look(self, run: Run, batch: Batch) -> Outcome:
        """Done, or whose update EKS works on: somebody else's is waited for, EKS refuses a second one."""
        if over(run, batch):
            return Done("the old machines are gone")
        place = scene(run, batch)
        if isinstance(place, Blocked):
            return place
        claim, group = place.claim, eks_of(place)
        if claim.state is ClaimState.PASSED or not _old(place):
            return Done("the old machines are gone")
        if claim.update:
            return broken(place, group) or Done(f"EKS works on update {claim.update} of {group.label}")
        why = _of_others(group) or f"EKS is asked to update {group.label}"
        return Waiting((why,), run.policy(batch).poll)

    def timeout_s(self, run: Run, batch: Batch) -> float:
        """As long as EKS may take for an update that somebody else began meanwhile, and a margin."""
        return _limit_s(run, batch)


@dataclass(frozen=True, slots=True)
class LeftToEks:
    """Cordon: done at once, EKS takes the old machines out of scheduling and load balancing."""

    name: StepName = StepName.CORDON

    def act(self, run: Run, batch: Batch) -> None:
        """Nothing."""

    def look(self, run: Run, batch: Batch) -> Outcome:
        """Done."""
        return Done("EKS cordons the old machines")

    def timeout_s(self, run: Run, batch: Batch) -> float:
        """A minute: nothing is waited for."""
        return CORDON_S


@dataclass(frozen=True, slots=True)
class WatchDrain:
    """Drain: done once EKS has emptied the old machines."""

    name: StepName = StepName.DRAIN

    def act(self, run: Run, batch: Batch) -> None:
        """Keep the run alive."""
        lock.keep(run, run.look().lease)

    def look(self, run: Run, batch: Batch) -> Outcome:
        """Done, or which pods are left and which budgets hold them; Blocked once EKS has given up."""
        if over(run, batch):
            return Done("the old machines are gone")
        place = scene(run, batch)
        if isinstance(place, Blocked):
            return place
        group = eks_of(place)
        if failed := broken(place, group):
            return failed
        update = group.update(place.claim.update)
        left = pods_left(place)
        if not left or update is None or not update.in_flight:
            return Done("the old machines are empty")
        return Waiting(left, run.policy(batch).poll)

    def timeout_s(self, run: Run, batch: Batch) -> float:
        """As long as EKS may take, and a margin."""
        return _limit_s(run, batch)


@dataclass(frozen=True, slots=True)
class WatchUpdate:
    """Terminate: done once EKS says that the update was successful and EC2 shuts every old machine down."""

    name: StepName = StepName.TERMINATE

    def act(self, run: Run, batch: Batch) -> None:
        """Once the update is over, note which machines are new: the gate judges them."""
        if over(run, batch):
            return
        place = acting(run, batch)
        claim, group = place.claim, eks_of(place)
        update = group.update(claim.update)
        ours_failed = update is not None and update.failed
        ended = group.in_flight is None and not ours_failed and (update is not None or not _old(place))
        if ended and claim.open and claim.terminate_since is None:
            assign(run, batch.group, place.baseline.asg)
            lock.change(run, claim_change(batch.name, terminate_since=run.clock.now()))

    def look(self, run: Run, batch: Batch) -> Outcome:
        """Done, or how far EKS is; Blocked by what made it give up."""
        if over(run, batch):
            return Done("the old machines are gone")
        place = scene(run, batch)
        if isinstance(place, Blocked):
            return place
        group, claim = eks_of(place), place.claim
        if failed := broken(place, group):
            return failed
        old, update = _old(place), group.in_flight
        if update is not None:
            done = len(claim.machines) - len(old)
            why = f"EKS works on update {update.id} of {group.label}: {done} of {len(claim.machines)} machines are gone"
            return Waiting((why,), run.policy(batch).poll)
        if not old and (claim.terminate_since is not None or not claim.open):
            return Done(f"EKS has updated {group.label}")
        return _ending(place, group, old)

    def timeout_s(self, run: Run, batch: Batch) -> float:
        """As long as EKS may take, and a margin."""
        return _limit_s(run, batch)


def hindrance(run: Run, group_name: str, plan: ManagedPlan) -> Blocked | None:
    """Somebody else's update of a group, asked before anything is touched; our own is taken up again."""
    group = run.cloud.managed_group(plan.eks_cluster, plan.nodegroup)
    update, found = group.in_flight, lock.held(run)
    if update is None:
        return None
    claims = found.ledger.claims_of(group_name) if found is not None and found.lease.holder == run.id else ()
    if any(c.asked_for(update.id) for c in claims):
        return None
    objects = (f"node group {group.label}", f"update {update.id}")
    return Blocked(busy(group), objects, "Wait until EKS has ended it, then start again; nobody can stop it.")


def let_go(run: Run, claim: Claim, why: str, *, image_fault: bool) -> tuple[str, ...]:
    """Heal of a managed group: its slots are given back; what EKS does it goes on doing, and that is said."""
    ledger = lock.require(run).ledger
    running = update_in_flight(run.look(), ledger, claim)
    lines = (goes_on(claim, running),) if running is not None else ()
    reason = "; ".join(part for part in (why or claim.why, *lines) if part)
    # A cleared batch takes up the update that EKS goes on with, and its gate answers for what that evicted.
    kept = {"evicted": claim.evicted, "serving": claim.serving, "image_fault": image_fault or claim.image_fault}
    fields = {"state": ClaimState.HEALED, "why": reason, **kept}
    lock.change(run, claim_change(claim.batch, **fields))
    return (*lines, f"batch {claim.batch} is healed: no further update is started")


def goes_on(claim: Claim, update: Update) -> str:
    """What a stop means for an update in flight."""
    return f"EKS goes on with update {update.id} of group {claim.group}: it can't be stopped or rolled back"


def update_in_flight(snapshot: Snapshot, ledger: Ledger, claim: Claim) -> Update | None:
    """The update that a claim asked for, while EKS works on it; also one whose id was never heard."""
    baseline = ledger.groups.get(claim.group)
    group = snapshot.managed.get(baseline.asg) if baseline is not None else None
    update = group.in_flight if group is not None else None
    return update if update is not None and claim.asked_for(update.id) else None


def others_update(snapshot: Snapshot, ledger: Ledger | None, batch: Batch, asg: str) -> str:
    """The update that somebody else has EKS work on, for messages; "" if there is none, or it is this batch's own."""
    group = snapshot.managed.get(asg)
    if group is None:
        return ""
    claim = ledger.claim(batch.name) if ledger else None
    ours = ledger is not None and claim is not None and update_in_flight(snapshot, ledger, claim) is not None
    return "" if ours else _of_others(group)


def eks_of(place: Scene) -> ManagedGroup:
    """The batch's group as EKS describes it."""
    return place.snapshot.managed[place.baseline.asg]


def _of_others(group: ManagedGroup) -> str:
    return f"{busy(group)}, somebody else's" if group.in_flight is not None else ""


def _old(place: Scene) -> tuple[str, ...]:
    return tuple(m for m in place.claim.machines if not gone(place.snapshot.instances.get(m)))


def _begun(place: Scene, ledger: Ledger) -> Ledger:
    """The token, and the workloads that will be evicted, for the gate."""
    claim = ledger.claim(place.claim.batch)
    if claim is None or claim.update_token:
        return ledger
    said = f"{ledger.run} {ledger.plan} {claim.batch} {claim.since}"
    fields = {
        "update_token": hashlib.sha256(said.encode()).hexdigest(),
        "drain_since": place.now,
        **taken(place).fields,
    }
    return sickness.without_recovered(ledger, place.snapshot).with_claim(claim.model_copy(update=fields))


def _ask(run: Run, batch: Batch, group: ManagedGroup, token: str) -> Update:
    plan = run.group(batch)
    release, template = plan.target.release, None if plan.target.release else plan.target.template
    lock.require(run)
    force = plan.managed is not None and plan.managed.force
    return run.cloud.update_managed_group(group, release=release, template=template, force=force, token=token)


def _ending(place: Scene, group: ManagedGroup, old: tuple[str, ...]) -> Outcome:
    """EKS is done, the old machines are not all gone."""
    policy = place.run.settings.groups[place.claim.group]
    since = place.claim.terminate_since
    waited = place.now - since if since is not None else 0.0
    reasons = tuple(f"instance {m} still runs" for m in old) or (f"the update of {group.label} has just ended",)
    if waited <= policy.terminate_timeout:
        return Waiting(reasons, policy.poll)
    objects = (f"node group {group.label}", *(f"instance {m}" for m in old))
    text = f"EKS has ended the update of {group.label}, and {reasons[0]}, for {span(waited)}"
    return Blocked(text, objects, "See in EKS why it left it, then make a new plan.")


def _limit_s(run: Run, batch: Batch) -> float:
    plan, policy = run.group(batch).managed, run.policy(batch)
    if plan is None:
        return MARGIN_S
    return managed_limit_s(plan, len(batch.machines), policy.launch_timeout) + MARGIN_S
