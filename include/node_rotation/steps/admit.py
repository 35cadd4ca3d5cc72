"""Admit: take slots for a batch, first in first out, race-free by compare-and-swap on the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from node_rotation import lock, names
from node_rotation.admission import Admit as Yes
from node_rotation.admission import Decision, Refuse, Wait, decide
from node_rotation.budget import IN_FLIGHT_STATES, foreign
from node_rotation.clearance import fitting
from node_rotation.errors import BlockedError, RotationError
from node_rotation.ledger import Claim, ClaimState, Ledger, claim_change
from node_rotation.model import Batch, GroupPlan, StepName, Strategy
from node_rotation.outcome import Blocked, Done, Outcome, Waiting
from node_rotation.run import Run
from node_rotation.steps.absent import absent
from node_rotation.steps.heal import heal_claim
from node_rotation.steps.managed import others_update, update_in_flight
from node_rotation.steps.others import hear
from node_rotation.steps.prepare import ensure
from node_rotation.steps.proof import in_vain
from node_rotation.steps.scene import gone, ledger_of, machines_gone, over, without_group
from node_rotation.workloads.conflicts import Sharing
from node_rotation.world.snapshot import Snapshot

FOREVER_S = 14 * 86400.0  # a queue is no failure: how long a batch waits is bounded by those before it


@dataclass(frozen=True, slots=True)
class Admit:
    """Done once the batch's claim is in the ledger."""

    name: StepName = StepName.ADMIT

    def act(self, run: Run, batch: Batch) -> Outcome | None:
        """Write the claim if the batch may start now; else say why not."""
        snapshot = run.look()
        lock.keep(run, snapshot.lease)
        ledger = ledger_of(snapshot.lease, run.id)
        hear(run, snapshot)
        if ledger is not None and _has_slots(ledger, batch):
            return None
        if _rotated(run, ledger, batch) or too_late(run, batch):
            return None
        if ledger is None or batch.group not in ledger.groups:
            ensure(run, batch.group)
            snapshot = run.look()
            ledger = lock.require(run).ledger
        claim = ledger.claim(batch.name)
        if claim is not None and claim.state is ClaimState.FAILED:
            heal_claim(run, claim)  # its last try is taken back first, whoever was to do that
            return None
        decision = _decide(run, batch, snapshot, ledger)
        if not isinstance(decision, Yes):
            return _told(run, batch, decision)
        if ledger.groups[batch.group].template_back is not None:
            ensure(run, batch.group)  # a canary that was cleared tries the image again
        lock.change(run, lambda now: _claimed(run, batch, snapshot, now))
        return None

    def look(self, run: Run, batch: Batch) -> Outcome:
        """Done, or which slots it waits for, or why it may not start in this run."""
        snapshot = run.look()
        ledger = ledger_of(snapshot.lease, run.id)
        if ledger is not None and _has_slots(ledger, batch):
            return Done(f"batch {batch.name} has its slots")
        if _rotated(run, ledger, batch):
            return Done("the old machines are gone")
        claim = ledger.claim(batch.name) if ledger else None
        if claim is not None and claim.state is ClaimState.FAILED:
            return Waiting((f"batch {batch.name} is being healed from its last try",), run.policy(batch).poll)
        return _told(run, batch, _decide(run, batch, snapshot, ledger))

    def timeout_s(self, run: Run, batch: Batch) -> float:
        """Two weeks: waiting for slots is not a failure."""
        return FOREVER_S


def _told(run: Run, batch: Batch, decision: Decision) -> Outcome:
    if isinstance(decision, Refuse):
        return Blocked(decision.reason, (f"batch {batch.name}",), decision.remedy)
    if isinstance(decision, Wait):
        return Waiting(decision.reasons, run.policy(batch).poll, others_may_go=decision.others_may_go)
    return Waiting(("its turn has come",), run.policy(batch).poll)


def refusal(run: Run, batch: Batch) -> Refuse | None:
    """Why a batch may not start in this run, for those who treat ``skip`` and ``fail`` apart; None if it may."""
    snapshot = run.look()
    decision = _decide(run, batch, snapshot, ledger_of(snapshot.lease, run.id))
    return decision if isinstance(decision, Refuse) else None


def may_begin(run: Run, batch: Batch) -> bool:
    """Whether a batch would be admitted now, by the shared look."""
    snapshot = run.look()
    return isinstance(_decide(run, batch, snapshot, ledger_of(snapshot.lease, run.id)), Yes)


def recall(run: Run, passed: Sequence[Batch]) -> None:
    """Write down batches that passed where the ledger does not say so: they keep no slots, no place in the queue.

    They passed before it was given back, or somebody marked their gate; either way their machines are gone.

    :param passed: whose gates passed in this run, as who drives it knows.
    """
    snapshot = run.look()
    ledger = ledger_of(snapshot.lease, run.id)
    unsaid = [batch for batch in passed if ledger is not None and not _passed(ledger, batch)]
    if lost := [batch for batch in unsaid if machines_gone(snapshot, batch)]:
        lock.change(run, lambda now: _recalled(run, lost, snapshot, now))


def _passed(ledger: Ledger, batch: Batch) -> bool:
    claim = ledger.claim(batch.name)
    return claim is not None and claim.state is ClaimState.PASSED


def _recalled(run: Run, batches: Sequence[Batch], snapshot: Snapshot, ledger: Ledger) -> Ledger:
    for batch in batches:
        claim = ledger.claim(batch.name)
        if claim is None:
            ledger = ledger.with_claim(
                Claim(
                    batch=batch.name,
                    group=batch.group,
                    machines=(),
                    strategy=run.group(batch).strategy,
                    canary=batch.canary,
                    since=run.clock.now(),
                    state=ClaimState.PASSED,
                    in_vain=in_vain(run, batch, None, snapshot),
                )
            )
        elif claim.state is not ClaimState.PASSED:
            vain = in_vain(run, batch, claim, snapshot)
            said = {"state": ClaimState.PASSED, "passed_at": run.clock.now(), "in_vain": vain}
            ledger = claim_change(batch.name, **said)(ledger)
    return ledger


def too_late(run: Run, batch: Batch) -> str:
    """Why a batch is left to a run to come, whoever holds the lock; "" if it may still begin, or has begun."""
    ledger = ledger_of(run.look().lease, run.id)
    begun = {claim.batch: claim for claim in ledger.claims} if ledger else {}
    known = begun.get(batch.name)
    if known is not None and known.state is not ClaimState.HEALED:  # it goes on, or is taken back first
        return ""
    return fitting.too_late(run.plan, batch, begun, run.settings.groups, run.clock.now())


def _rotated(run: Run, ledger: Ledger | None, batch: Batch) -> bool:
    """Cleared after its run has ended: no slots are needed. In a run that goes on its gate has still to pass."""
    return (ledger is None or batch.group not in ledger.groups) and over(run, batch)


def _has_slots(ledger: Ledger, batch: Batch) -> bool:
    claim = ledger.claim(batch.name)
    return claim is not None and claim.state in (ClaimState.ADMITTED, ClaimState.PASSED)


def _decide(run: Run, batch: Batch, snapshot: Snapshot, ledger: Ledger | None) -> Decision:
    claims = {c.batch: c for c in ledger.claims} if ledger else {}
    try:
        record = run.freezes.of(run.group(batch).target.image)
    except RotationError as error:  # whoever can't be asked may have frozen it
        return Wait((f"frozen images can't be read: {error}",))
    others = {g.name: _foreign(g, snapshot, ledger) for g in run.plan.groups if ledger}
    return decide(
        run.plan,
        batch.name,
        claims,
        run.settings.groups,
        foreign=others,
        absent={g.name: absent(run.plan, g, snapshot, ledger, others[g.name]) for g in run.plan.groups if ledger},
        busy=_busy(run, ledger),
        lock_held=ledger is not None,
        now=run.clock.now(),
        frozen=str(record) if record else "",
        sharing=Sharing(snapshot, _evicted(ledger) if ledger else {}),
    )


def _busy(run: Run, ledger: Ledger | None) -> Mapping[str, str]:
    """Batch name → another's instance refresh or EKS update: what that replaces needs no second time."""
    snapshot = run.look()
    asked = {g.name: g.asg for g in run.plan.groups if g.asg in snapshot.managed or _refreshes(g.asg, snapshot)}
    batches = [batch for batch in run.plan.batches if batch.group in asked]
    found = {batch.name: _refreshed(batch, asked[batch.group], snapshot, ledger) for batch in batches}
    return {batch: why for batch, why in found.items() if why}


def _refreshes(asg: str, snapshot: Snapshot) -> str:
    group = snapshot.groups.get(asg)
    return group.refresh_in_progress if group else ""


def _refreshed(batch: Batch, asg: str, snapshot: Snapshot, ledger: Ledger | None) -> str:
    if refresh := _refreshes(asg, snapshot):
        return f"instance refresh {refresh} is replacing the machines of {asg}"
    return others_update(snapshot, ledger, batch, asg)


def _evicted(ledger: Ledger) -> dict[str, tuple[str, ...]]:
    return {machine: claim.evicted for claim in ledger.claims if claim.open for machine in claim.machines}


def _foreign(group: GroupPlan, snapshot: Snapshot, ledger: Ledger) -> Mapping[str, str]:
    claims = [c for c in ledger.claims_of(group.name) if c.state in IN_FLIGHT_STATES]
    ours = {m for c in ledger.claims_of(group.name) for m in c.machines if c.state != ClaimState.HEALED}
    ours |= {new for c in claims for new in c.replacements.values()}
    baseline = ledger.groups.get(group.name)
    expected = sum(len(c.machines) - len(c.replacements) for c in claims)
    known = baseline.members if baseline else ()
    return foreign(snapshot, group.asg, ours, known=known, expected_new=expected)


def _absent(run: Run, group: GroupPlan, snapshot: Snapshot, ledger: Ledger) -> Mapping[str, str]:
    return absent(run.plan, group, snapshot, ledger, _foreign(group, snapshot, ledger))


def _ours(snapshot: Snapshot, asg: str, machine: str) -> bool:
    """In the group, or out of it because a rotation detached it."""
    instance = snapshot.instances.get(machine)
    detached = instance is not None and instance.tags.get(names.DETACHED_FROM) == asg
    group = snapshot.groups.get(asg)
    return detached or (group is not None and group.member(machine) is not None)


def _claimed(run: Run, batch: Batch, snapshot: Snapshot, ledger: Ledger) -> Ledger:
    if _has_slots(ledger, batch) or not isinstance(_decide(run, batch, snapshot, ledger), Yes):
        return ledger
    baseline = ledger.groups.get(batch.group)
    if baseline is None:
        raise BlockedError(
            Blocked(
                f"group {batch.group} is not prepared", (f"group {batch.group}",), "Clear this run's prepare of it."
            )
        )
    if lost := without_group(batch.name, baseline, snapshot):
        raise BlockedError(lost)
    ids = tuple(m.instance_id for m in batch.machines)
    kept = {i for i in ids if _ours(snapshot, baseline.asg, i) and not gone(snapshot.instances.get(i))}
    if run.group(batch).strategy is Strategy.TERMINATE_FIRST:  # nobody came for these: who comes now is theirs
        group = run.group(batch)
        kept |= {*_foreign(group, snapshot, ledger), *_absent(run, group, snapshot, ledger)}
    before = ledger.claim(batch.name)  # cleared while EKS still works on its update: that one is taken up
    taken_up = before if before is not None and update_in_flight(snapshot, ledger, before) is not None else None
    return ledger.with_claim(
        Claim(
            batch=batch.name,
            group=batch.group,
            machines=tuple(i for i in ids if i in kept),  # machines that went meanwhile count as done
            strategy=run.group(batch).strategy,
            canary=batch.canary,
            since=run.clock.now(),
            update_token=taken_up.update_token if taken_up else "",
            update=taken_up.update if taken_up else "",  # if its id was never heard, EKS is asked under the token
            evicted=taken_up.evicted if taken_up else (),
            serving=taken_up.serving if taken_up else (),
        )
    )
