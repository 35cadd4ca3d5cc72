"""Undo what prepare did to a node group; gives the lock back after the last one."""

from __future__ import annotations

from node_rotation import lock
from node_rotation.ledger import Baseline, Ledger
from node_rotation.model import Strategy
from node_rotation.outcome import Done, Outcome, Waiting
from node_rotation.run import Run
from node_rotation.steps.assignment import newcomers
from node_rotation.steps.heal import heal_claim, send_away
from node_rotation.steps.scene import fresh_group, gone, ledger_of, terminated
from node_rotation.steps.undo import Before, undo_group, undo_nodes
from node_rotation.world import Snapshot


def restore(run: Run, group_name: str, *, giving_up: bool = False) -> tuple[str, ...]:
    """Put a group back as it was, new machines kept. Idempotent; does nothing if nothing was prepared.

    Batches that are still open are healed first. Call it again until :func:`restored` says Done.

    :param giving_up: don't wait for pods or machines any more; verify then names what is left.
    :returns: one line per thing done.
    """
    found = lock.held(run)
    if found is None or found.lease.holder != run.id:
        return ()
    did: list[str] = []
    ledger = found.ledger
    if group_name in ledger.groups:
        ledger = _restore_group(run, group_name, ledger, did, giving_up=giving_up)
    if not ledger.groups and lock.release(run):
        did.append(f"the lock of {run.settings.name} is given back")
    return tuple(did)


def restored(run: Run, group_name: str) -> Outcome:
    """Whether a group is restored: Waiting while pods still leave a surplus machine (call restore again)."""
    ledger = ledger_of(run.look().lease, run.id)
    if ledger is None or group_name not in ledger.groups:
        return Done(f"group {group_name} is restored")
    machines = sorted(_not_gone_yet(run.look(), ledger, group_name))
    reasons = [f"batch {c.batch} is being healed" for c in ledger.claims_of(group_name) if c.open]
    reasons += [f"instance {machine} is shutting down" for machine in machines]
    return Waiting(tuple(reasons) or (f"group {group_name} is being restored",))


def _restore_group(run: Run, group_name: str, ledger: Ledger, did: list[str], *, giving_up: bool) -> Ledger:
    for claim in ledger.claims_of(group_name):
        if claim.open:
            did.extend(heal_claim(run, claim, "the run ended before it passed"))
    ledger = lock.require(run).ledger
    baseline = ledger.groups[group_name]
    run.look.forget()
    if not giving_up and any(c.open for c in ledger.claims_of(group_name)):
        return ledger
    if not _surplus_gone(run, group_name, baseline, ledger, did) and not giving_up:
        return ledger
    _delete_nodes(run, group_name, ledger, did)
    if _not_gone_yet(run.look(), ledger, group_name) and not giving_up:
        return ledger
    machines = _machines(ledger, group_name) | {m.instance_id for m in fresh_group(run, baseline.asg).members}
    undo_nodes(run, run.look(), machines, did)
    undo_group(run, baseline.asg, Before(baseline.min, baseline.max, baseline.suspended_by_us), did)
    return lock.change(run, lambda now: now.without_group(group_name))


def _machines(ledger: Ledger, group_name: str) -> set[str]:
    claims = ledger.claims_of(group_name)
    return {m for c in claims for m in (*c.machines, *c.replacements.values())}


def _surplus_gone(run: Run, group_name: str, baseline: Baseline, ledger: Ledger, did: list[str]) -> bool:
    """Our own remaining surge leaves; True when nothing of it is left.

    Desired above the baseline counts as ours up to the highest that we asked for; more is somebody else's, kept.
    """
    if baseline.strategy is not Strategy.SURGE:
        return True
    group = fresh_group(run, baseline.asg)
    surplus = group.desired - baseline.desired
    if surplus <= 0 or group.desired > (baseline.raised_to or 0):
        return True
    launched = run.cloud.instances([m.instance_id for m in group.members])
    spare = newcomers(ledger, baseline, group, launched)[::-1][:surplus]
    snapshot = run.look()
    return all([send_away(run, snapshot, (group_name, baseline.asg), machine, did) for machine in spare])


def _not_gone_yet(snapshot: Snapshot, ledger: Ledger, group_name: str) -> set[str]:
    """Machines that go but are not gone: EC2 has yet to say terminated, or their Node is still there."""
    machines = {m for m in _machines(ledger, group_name) if gone(snapshot.instances.get(m))}
    return {m for m in machines if not terminated(snapshot.instances.get(m)) or snapshot.node_of(m) is not None}


def _delete_nodes(run: Run, group_name: str, ledger: Ledger, did: list[str]) -> None:
    snapshot = run.look()
    for machine in sorted(_not_gone_yet(snapshot, ledger, group_name)):
        node = snapshot.node_of(machine)
        if node is not None and terminated(snapshot.instances.get(machine)):
            lock.require(run)
            run.cluster.delete_node(node.name, node.uid)
            run.look.forget()
            did.append(f"node {node.name} of the terminated instance {machine} is deleted")
