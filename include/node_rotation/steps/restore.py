"""Undo what prepare did to a node group; gives the lock back after the last one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from node_rotation import intake, lock, names
from node_rotation.errors import BlockedError, PermanentError, RotationError
from node_rotation.ledger import Claim, ClaimState, Ledger, claim_change
from node_rotation.model import Strategy, is_balance
from node_rotation.outcome import Blocked, Done, Outcome, Waiting
from node_rotation.run import Run
from node_rotation.steps import baseline_tag, image_run, sizing
from node_rotation.steps.assignment import newcomers, withdraw
from node_rotation.steps.balance import ahead, even_out, give_up
from node_rotation.steps.baseline_tag import Before
from node_rotation.steps.drain import standing
from node_rotation.steps.heal import heal_claim, send_away
from node_rotation.steps.scene import fresh_group, gone, ledger_of, staying, terminated
from node_rotation.steps.undo import undo_group, undo_nodes
from node_rotation.steps.warm import renew
from node_rotation.world.aws import ScalingGroup
from node_rotation.world.snapshot import Snapshot


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
    if ledger.groups:
        return tuple(did)
    did.extend(intake.open_again(run))
    left = lock.read(run)
    if (left is None or not intake.shut(left)) and lock.release(run):
        did.append(f"the lock of {run.settings.name} is given back")
    return tuple(did)


def restored(run: Run, group_name: str) -> Outcome:
    """Whether a group is restored: Waiting while pods still leave a surplus machine (call restore again)."""
    found = lock.held(run)  # the Lease alone: when all is done, nothing else has to be looked at
    ledger = found.ledger if found is not None and found.lease.holder == run.id else None
    if ledger is not None and intake.shut(ledger) and not ledger.groups:
        return intake.opened(run, ledger)
    if ledger is None or group_name not in ledger.groups:
        return Done(f"group {group_name} is restored")
    snapshot = run.look()
    machines = sorted(_not_gone_yet(snapshot, ledger, group_name))
    reasons = [_unfinished(c) for c in ledger.claims_of(group_name) if c.open]
    reasons += _staying_pods(run, snapshot, ledger, group_name)
    reasons += [f"instance {machine} is shutting down" for machine in machines]
    return Waiting(tuple(reasons) or (f"group {group_name} is being restored",))


def timeout_s(run: Run, group_name: str) -> float:
    """Seconds after which whoever drives restore should call it with ``giving_up``; grows with what it replaces.

    What it will have to replace counts from the beginning: a task's deadline is fixed before there is a claim of it.

    :param group_name: a node group of the run's settings.
    """
    policy = run.settings.groups.get(group_name, run.settings.policy)
    snapshot = run.look()
    ledger, evened = ledger_of(snapshot.lease, run.id), 0
    if ledger is not None and group_name in ledger.groups:
        begun = sum(is_balance(c.batch) for c in ledger.claims_of(group_name))
        evened = begun + ahead(snapshot, ledger, group_name)
    each = policy.launch_timeout + policy.drain.timeout + policy.terminate_timeout + policy.gate.timeout
    return policy.drain.timeout + evened * each + 2 * intake.timeout_s(run)


def _unfinished(claim: Claim) -> str:
    if is_balance(claim.batch) and claim.state is ClaimState.ADMITTED:
        return f"batch {claim.batch} evens out the zones of group {claim.group}"
    return f"batch {claim.batch} is being healed"


def _staying_pods(run: Run, snapshot: Snapshot, ledger: Ledger, group_name: str) -> tuple[str, ...]:
    """The pods for which machines that are too many wait: those machines carry our cordon until they are empty."""
    group = snapshot.groups.get(ledger.groups[group_name].asg)
    machines = _machines(ledger, group_name) | {m.instance_id for m in (group.members if group else ())}
    policy = run.settings.groups.get(group_name, run.settings.policy)
    nodes = tuple(n for n in snapshot.nodes if n.instance_id in machines and names.CORDONED_BY in n.annotations)
    outcome = standing(snapshot, nodes, policy, snapshot.taken_at, snapshot.taken_at)
    if isinstance(outcome, Blocked):
        return (str(outcome),)
    return outcome.reasons if isinstance(outcome, Waiting) else ()


def _restore_group(run: Run, group_name: str, ledger: Ledger, did: list[str], *, giving_up: bool) -> Ledger:
    image_run.clear(run, group_name)
    baseline = ledger.groups[group_name]
    if baseline.strategy is not Strategy.MANAGED and not run.cloud.groups([baseline.asg]):
        return _forget(run, group_name, ledger, did)
    with _going_on(giving_up, group_name, did):
        _heal(run, ledger.claims_of(group_name), did, giving_up=giving_up)
    lock.require(run)  # if it is lost, that was no trouble of a machine
    if baseline.strategy is Strategy.MANAGED:  # nothing of it was changed
        return lock.change(run, lambda now: now.without_group(group_name))
    right = giving_up
    with _going_on(giving_up, group_name, did):
        right = _machines_right(run, group_name, did, giving_up=giving_up) or giving_up
    if not right:
        return lock.require(run).ledger
    ledger = lock.require(run).ledger
    baseline = ledger.groups[group_name]
    _delete_nodes(run, group_name, ledger, did)
    if _not_gone_yet(run.look(), ledger, group_name) and not giving_up:
        return ledger
    present = {m.instance_id for m in fresh_group(run, baseline.asg).members}
    # The group's former members too: somebody may have taken one out before its batch began.
    undo_nodes(run, run.look(), _machines(ledger, group_name) | present | set(baseline.members), did)
    baseline, group = sizing.settle(run, group_name)
    if group.warm_pool:  # warmed meanwhile on an image that was taken back
        did.extend(renew(run, fresh_group(run, baseline.asg)))
    ours = giving_up and baseline.own > 0
    earlier = baseline_tag.left_larger(baseline) if names.BASELINE in group.tags else None
    before = Before(baseline.min, baseline.max, baseline.suspended_by_us)
    undo_group(run, baseline.asg, before, did, keep_baseline=ours or earlier is not None)
    if earlier is not None:
        did.append(baseline_tag.larger(group, earlier))
    if ours:
        did.append(
            f"group {baseline.asg}: desired is {baseline.own} more than before, its pods could not leave in time"
        )
    return lock.change(run, lambda now: now.without_group(group_name))


def _forget(run: Run, group_name: str, ledger: Ledger, did: list[str]) -> Ledger:
    """Its Auto Scaling group was deleted meanwhile: its sizes are nobody's, only our marks on Nodes are left."""
    for claim in ledger.claims_of(group_name):
        if claim.open:
            lock.change(run, claim_change(claim.batch, state=ClaimState.HEALED, why="its group was deleted"))
    run.look.forget()
    baseline = ledger.groups[group_name]
    undo_nodes(run, run.look(), _machines(ledger, group_name) | set(baseline.members), did)
    did.append(f"group {group_name}: asg {baseline.asg} does not exist any more, nothing of it can be restored")
    return lock.change(run, lambda now: now.without_group(group_name))


@contextmanager
def _going_on(giving_up: bool, group_name: str, did: list[str]) -> Iterator[None]:
    """A refusal does not keep a group that is given up from being undone: verify then names the machine."""
    try:
        yield
    except (BlockedError, PermanentError) as error:
        if not giving_up:
            raise
        did.append(f"group {group_name} is restored without a machine of it: {error}")


def _heal(run: Run, claims: tuple[Claim, ...], did: list[str], *, giving_up: bool) -> None:
    """Heal, or give up, every open batch: one that is refused keeps no other from its turn.

    :raises RotationError: what the first of them was refused with.
    """
    before, refused = len(did), list[RotationError]()
    for claim in claims:
        try:
            if claim.open and not is_balance(claim.batch):
                did.extend(heal_claim(run, claim, "the run ended before it passed"))
            elif claim.open and giving_up:
                give_up(run, claim, "it took too long", did)
        except RotationError as error:
            refused.append(error)
    if len(did) > before or refused:
        run.look.forget()
    if refused:
        raise refused[0]


def _machines_right(run: Run, group_name: str, did: list[str], *, giving_up: bool) -> bool:
    """No batch is open, our surge has gone, and the zones are even."""
    ledger = lock.require(run).ledger
    opened = [c for c in ledger.claims_of(group_name) if c.open]
    if not all(is_balance(c.batch) for c in opened) and not giving_up:
        return False
    if giving_up:
        _ask_again(run, group_name)
    if not opened and not _surplus_gone(run, group_name, did):
        return False
    return giving_up or even_out(run, group_name, did)


def _machines(ledger: Ledger, group_name: str) -> set[str]:
    claims = ledger.claims_of(group_name)
    return {m for c in claims for m in (*c.machines, *c.replacements.values())}


def _surplus_gone(run: Run, group_name: str, did: list[str]) -> bool:
    """What this run has added to desired leaves again; True when nothing of it is left.

    The newest machines go first; where none is new, those that were to be replaced anyway.
    """
    _ask_again(run, group_name)
    baseline, group = sizing.settle(run, group_name)
    if baseline.own > 0 and withdraw(run, group_name, ()):
        baseline, group = sizing.settle(run, group_name)
    if baseline.own <= 0:
        return True
    launched = run.cloud.instances([m.instance_id for m in group.members])
    ledger = lock.require(run).ledger
    spare = [*newcomers(ledger, baseline, group, launched)[::-1], *_of_use_to_nobody(ledger, group_name, group)]
    snapshot = run.look()
    where = (group_name, baseline.asg)
    return all([send_away(run, snapshot, where, machine, did) for machine in spare[: baseline.own]])


def _ask_again(run: Run, group_name: str) -> None:
    """What this run took away too much, for a machine that could not come back, its group launches anew."""
    baseline, _ = sizing.settle(run, group_name)
    if baseline.own < 0:
        sizing.set_desired(run, group_name, lambda baseline, group: group.desired - min(baseline.own, 0))


def _of_use_to_nobody(ledger: Ledger, group_name: str, group: ScalingGroup) -> list[str]:
    """Members that may go where there are too many and nobody is new: replacements first, then who was replaced."""
    claims = sorted(ledger.claims_of(group_name), key=lambda c: c.state is ClaimState.PASSED)
    new = [m for c in claims for m in c.replacements.values()]
    old = [m for c in claims for m in c.machines]
    return [m for m in (*new, *old) if m in staying(group)]


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
