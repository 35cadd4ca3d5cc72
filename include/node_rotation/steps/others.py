"""What others do to a group while it rotates: seen, written down for the report, and left as it is."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import suppress

from node_rotation import lock, sickness
from node_rotation.errors import TransientError
from node_rotation.ledger import Baseline, Claim, ClaimState, Heard, Ledger
from node_rotation.model import Strategy
from node_rotation.run import Run
from node_rotation.steps import sizing
from node_rotation.steps.scene import gone, ledger_of, taken_out
from node_rotation.world.snapshot import Snapshot


def notice(run: Run) -> tuple[Heard, ...]:
    """Write down what others did up to now, sizes included; answers all of it. Nothing if this run holds no lock."""
    found = lock.held(run)
    if found is None or found.lease.holder != run.id:
        return ()
    for name, baseline in found.ledger.groups.items():
        if baseline.strategy is not Strategy.MANAGED:
            with suppress(TransientError):
                sizing.settle(run, name)
    run.look.forget()
    hear(run, run.look())
    ledger = lock.read(run)
    return ledger.others if ledger is not None else ()


def hear(run: Run, snapshot: Snapshot) -> None:
    """Write down what a look shows of others, if it is new, and what is well again that was broken before the run.

    Nothing is asked for it, and mostly nothing written.
    """
    ledger = ledger_of(snapshot.lease, run.id)
    if ledger is None:
        return
    if sickness.without_recovered(ledger, snapshot) == ledger and not set(_seen(ledger, snapshot)) - _known(ledger):
        return
    now = run.clock.now()

    def add(current: Ledger) -> Ledger:  # the look's ledger may be older than its machines, and what went was ours
        for what, change in dict.fromkeys(_seen(current, snapshot)):
            if (what, change) not in _known(current):
                current = current.heard(now, what, (change,))
        return sickness.without_recovered(current, snapshot)

    lock.change(run, add)


def _known(ledger: Ledger) -> set[tuple[str, str]]:
    return {(heard.object, heard.what) for heard in ledger.others}


def _seen(ledger: Ledger, snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    for name, baseline in ledger.groups.items():
        yield from _of_group(baseline, snapshot)
        yield from _update(ledger, name, baseline, snapshot)
    ours = {m for c in ledger.claims if c.terminate_since is not None for m in c.machines}
    for claim in ledger.claims:
        if claim.group in ledger.groups and claim.state in (ClaimState.ADMITTED, ClaimState.PASSED):
            yield from _of_claim(claim, ledger.groups[claim.group], snapshot, ours)


def _of_group(baseline: Baseline, snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    group = snapshot.groups.get(baseline.asg)
    if group is None or baseline.strategy is Strategy.MANAGED:
        return
    if group.refresh_in_progress:
        yield f"asg {group.name}", f"instance refresh {group.refresh_in_progress} was begun"
    for process in baseline.suspended_by_us if baseline.suspended else ():
        if process not in group.suspended:
            yield f"asg {group.name}", f"{process} was resumed"


def _update(ledger: Ledger, name: str, baseline: Baseline, snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    group = snapshot.managed.get(baseline.asg)
    update = group.in_flight if group is not None else None
    claims = ledger.claims_of(name)
    if group is None or update is None or any(c.asked_for(update.id) for c in claims):
        return
    yield f"node group {group.label}", f"update {update.id} was begun"


def _of_claim(claim: Claim, baseline: Baseline, snapshot: Snapshot, ours: Set[str]) -> Iterator[tuple[str, str]]:
    """Machines of a batch that left by nobody's hand of ours.

    :param ours: what this run terminates itself.
    """
    if claim.strategy is Strategy.MANAGED:
        return  # EKS takes them away
    for machine in claim.machines:
        if machine not in ours and gone(snapshot.instances.get(machine)):
            yield f"instance {machine}", "went away before its turn had come"
        elif taken_out(claim, baseline, machine, snapshot):
            yield f"instance {machine}", f"was taken out of asg {baseline.asg} and runs on: it is left alone"
    for new in claim.replacements.values():
        if new not in ours and new in snapshot.instances and gone(snapshot.instances[new]):
            yield f"instance {new}", "went away again, it was a replacement"
