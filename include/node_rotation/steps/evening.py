"""Even out a group while its last batches are still in flight, in slots that nobody else wants.

Surge ends uneven where machines did not leave in the order in which they were claimed. Nothing is known of that before
the last launch, and from then on slots are free: whoever waits for the last batches begins then, so that restore finds
zones even instead of taking one machine's way from its beginning. What is left when the last batch has passed, restore
goes on with.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from node_rotation import lock, steps  # steps as a module, as in balance
from node_rotation.errors import RotationError
from node_rotation.ledger import Claim, ClaimState, Ledger
from node_rotation.model import Batch, StepName, Strategy, is_balance
from node_rotation.run import Run
from node_rotation.scaling.zones import too_rich
from node_rotation.steps.admit import may_begin
from node_rotation.steps.balance import against, batch_of, begins, go_on, held_back, leavers, next_batch, tolerated
from node_rotation.steps.scene import ledger_of, staying
from node_rotation.workloads.conflicts import Sharing
from node_rotation.world.aws import ScalingGroup
from node_rotation.world.snapshot import Snapshot


def even_out_beside(run: Run, batch: Batch) -> tuple[str, ...]:
    """Begin, and go on with, evening out; of all that wait only the earliest batch in flight does it.

    What goes wrong here is no trouble of the batch: it is tried again, at the latest by restore.

    :param batch: one that waits.
    :returns: one line per thing done.
    """
    did: list[str] = []
    try:
        ledger = ledger_of(run.look().lease, run.id)
        if ledger is None or not _leads(ledger, batch):
            return ()
        for group in run.plan.groups:
            for claim in (c for c in ledger.claims_of(group.name) if is_balance(c.batch) and c.open):
                known = batch_of(claim.batch, claim.group, claim.machines)
                go_on(run, claim, partial(_knowing, run, known), did)
            _begin(run, group.name, did)
    except RotationError:
        pass
    return tuple(did)


def _leads(ledger: Ledger, batch: Batch) -> bool:
    flying = (c.batch for c in ledger.claims if c.state is ClaimState.ADMITTED and not is_balance(c.batch))
    return next(flying, None) == batch.name


def _begin(run: Run, group_name: str, did: list[str]) -> None:
    """Claim a machine, if the look says so and the world as it is now says it again."""
    if _next(run, group_name) is None:
        return
    run.look.forget()
    lock.require(run)
    batch = _next(run, group_name)
    if batch is None:
        return
    steps.STEPS[StepName.ADMIT].act(_knowing(run, batch), batch)
    ledger = lock.require(run).ledger
    if ledger.claim(batch.name) is not None:
        group = run.look().groups[ledger.groups[group_name].asg]
        machines = tuple(machine.instance_id for machine in batch.machines)
        did.append(begins(group, machines, _leaving(ledger, group_name) - {*machines}))


def _next(run: Run, group_name: str) -> Batch | None:
    """The batch that makes a group end more even, if one may begin now."""
    snapshot = run.look()
    ledger = ledger_of(snapshot.lease, run.id)
    baseline = ledger.groups.get(group_name) if ledger else None
    group = snapshot.groups.get(baseline.asg) if baseline else None
    if ledger is None or baseline is None or group is None:
        return None
    if baseline.strategy is not Strategy.SURGE or not held_back(baseline, group):
        return None
    if not (_all_begun(run, ledger, group_name) and _all_launched(ledger, group_name, group)):
        return None
    rich = too_rich(group, _leaving(ledger, group_name), tolerated(baseline))
    if against(run, snapshot, ledger, group_name, rich):
        return None
    machines = leavers(ledger, group_name, group, snapshot, rich)
    if len(machines) < len(rich) or _share_a_budget(snapshot, machines):
        return None
    batch = next_batch(ledger, group_name, machines)
    return batch if may_begin(_knowing(run, batch), batch) else None


def _share_a_budget(snapshot: Snapshot, machines: tuple[str, ...]) -> bool:
    """Whether two machines would have to go in turn, so that taking them together wins nothing."""
    one, *others = ((machine,) for machine in machines)
    return any(Sharing(snapshot).conflict(one, other) is not None for other in others)


def _all_begun(run: Run, ledger: Ledger, group_name: str) -> bool:
    """Whether no batch of a group is to come: each will change how its zones end."""
    return all(ledger.claim(batch.name) is not None for batch in run.plan.batches if batch.group == group_name)


def _all_launched(ledger: Ledger, group_name: str, group: ScalingGroup) -> bool:
    """Whether every replacement that batches in flight need is there, so that its zone is known.

    What this run asks of its group does not tell that: a machine that left is counted there only by the next change.
    """
    there = staying(group)
    served = all(
        old in claim.replacements or old in claim.spared or old not in there
        for claim in ledger.claims_of(group_name)
        if claim.open
        for old in claim.machines
    )
    return served and len(there) >= group.desired


def _leaving(ledger: Ledger, group_name: str) -> frozenset[str]:
    """The machines that batches in flight will take away."""
    flying: list[Claim] = [c for c in ledger.claims_of(group_name) if c.open]
    return frozenset(machine for claim in flying for machine in claim.machines)


def _knowing(run: Run, batch: Batch) -> Run:
    """The run with one more batch in its plan, last in line."""
    return replace(run, plan=run.plan.model_copy(update={"batches": (*run.plan.batches, batch)}))
