"""Health gate: ends a batch and frees its slots once the cluster is as well as before, for a while."""

from __future__ import annotations

from dataclasses import dataclass, replace

from node_rotation import lock, sickness
from node_rotation.budget import shortage
from node_rotation.control_plane import quorum
from node_rotation.errors import BlockedError
from node_rotation.health import Health, judge
from node_rotation.ledger import Claim, ClaimState, Ledger, claim_change
from node_rotation.model import Batch, StepName, Strategy
from node_rotation.outcome import CLEAR_BATCH, Blocked, Done, Outcome, Waiting
from node_rotation.run import Run
from node_rotation.steps import traffic
from node_rotation.steps.others import hear
from node_rotation.steps.prepare import as_it_stands, ensure
from node_rotation.steps.proof import arrived, in_vain
from node_rotation.steps.scene import Scene, gone, ledger_of, over, place, span, terminated
from node_rotation.steps.step import MARGIN_S
from node_rotation.steps.taken import lacking, missed
from node_rotation.world.kubernetes import Node
from node_rotation.world.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Gate:
    """Done once every look was green for ``gate.settle`` and the old machines and their Nodes are gone.

    The slots are free as soon as the first half is true: what shuts down holds none.
    """

    name: StepName = StepName.GATE

    def act(self, run: Run, batch: Batch) -> Outcome | None:
        """Keep the ledger's account of green looks, free the slots, delete Nodes of terminated machines."""
        lock.keep(run, run.look().lease)
        hear(run, run.look())
        if _well(run, batch):
            return None
        seen = _seen(run, batch, again=True)
        if isinstance(seen, Blocked):
            raise BlockedError(seen)
        leftover = _leftover(seen)
        for node in leftover:
            lock.require(run)
            run.cluster.delete_node(node.name, node.uid)
            run.look.forget()
        if seen.claim.state is not ClaimState.ADMITTED:
            return None
        said = _account(seen, run, batch)
        return None if leftover else said

    def look(self, run: Run, batch: Batch) -> Outcome:
        """Done, or what is worse than before; Blocked once ``gate.timeout`` has passed."""
        if _well(run, batch):
            return Done("the old machines are gone, and all is well")
        seen = _seen(run, batch, again=False)
        if isinstance(seen, Blocked):
            return seen
        if seen.claim.state is ClaimState.PASSED:
            return _farewell(seen, run.policy(batch).poll, run.policy(batch).terminate_timeout)
        if seen.claim.state is not ClaimState.ADMITTED:
            return Blocked(seen.claim.why or "the batch failed", (f"batch {batch.name}",), CLEAR_BATCH.capitalize())
        return _verdict(seen, run, batch, _health(seen))

    def timeout_s(self, run: Run, batch: Batch) -> float:
        """The policy's ``gate.timeout``, the time a machine may take to be terminated, and a margin."""
        policy = run.policy(batch)
        return policy.gate.timeout + policy.terminate_timeout + MARGIN_S


def _well(run: Run, batch: Batch) -> bool:
    """Cleared after its run was restored, with all well: nobody touches anything, so one look tells as much as many.

    Else the gate needs the lock and begins anew, for time has to pass.
    """
    snapshot, plan = run.look(), run.group(batch)
    if ledger_of(snapshot.lease, run.id) is not None or not over(run, batch) or plan.asg not in snapshot.groups:
        return False
    ledger = _anew(run, batch, _unwell(snapshot), as_it_stands(run, plan, snapshot))
    seen = place(run, batch.name, snapshot, ledger.model_copy(update={"sick": None}))
    return isinstance(seen, Scene) and _health(seen).green


def _seen(run: Run, batch: Batch, *, again: bool) -> Scene | Blocked:
    """The scene; a cleared gate of a restored run begins anew if its old machines are gone for good."""
    snapshot = run.look()
    ledger = ledger_of(snapshot.lease, run.id)
    found = place(run, batch.name, snapshot, ledger)
    held = isinstance(found, Scene) and found.claim.state in (ClaimState.ADMITTED, ClaimState.PASSED)
    if held or not again or any(not gone(snapshot.instances.get(m.instance_id)) for m in batch.machines):
        return found
    ensure(run, batch.group)
    unwell = _unwell(run.look())
    lock.change(run, lambda now: _anew(run, batch, unwell, now))
    snapshot = run.look()
    return place(run, batch.name, snapshot, ledger_of(snapshot.lease, run.id))


def _unwell(snapshot: Snapshot) -> tuple[str, ...]:
    return tuple(sorted(w.key for w in snapshot.workloads if w.ready < w.desired))


def _anew(run: Run, batch: Batch, unwell: tuple[str, ...], ledger: Ledger) -> Ledger:
    """What the batch evicted was forgotten when it failed: it answers for every workload that is not well now."""
    old = ledger.claim(batch.name)
    claim = old or Claim(
        batch=batch.name, group=batch.group, machines=(), strategy=run.group(batch).strategy, since=run.clock.now()
    )
    fresh = {"state": ClaimState.ADMITTED, "gate_since": None, "green_since": None, "why": "", "evicted": unwell}
    return ledger.with_claim(claim.model_copy(update=fresh))


def _health(seen: Scene) -> Health:
    flying = [c for c in seen.ledger.claims if c.open]
    leaving = {m for c in flying for m in (*c.machines, *c.replacements.values())} | set(seen.claim.machines)
    before = sickness.before(seen.ledger.sick)
    new = arrived(seen.claim, seen.snapshot)
    passed = {m for c in seen.ledger.claims if c.state is ClaimState.PASSED for m in c.machines}
    health = judge(seen.snapshot, before, evicted=_own(seen), new_machines=new, leaving=(leaving | passed) - new)
    return replace(
        health, reasons=(*health.reasons, *_incomplete(seen), *traffic.unwell(seen), *_quorum(seen), *_checks(seen))
    )


def _incomplete(seen: Scene) -> tuple[str, ...]:
    """Who is missing while the group has yet to launch another: a replacement that went away again, or never came."""
    lost = [new for new in seen.claim.replacements.values() if gone(seen.snapshot.instances.get(new))]
    serving = sum(member.lifecycle == "InService" for member in seen.group.members)
    if serving >= seen.group.desired:
        return ()
    if lost:
        return (f"replacement {lost[0]} went away again, asg {seen.group.name} launches another",)
    first = seen.claim.strategy is Strategy.TERMINATE_FIRST
    alone = [old for old in seen.claim.machines if first and old not in seen.claim.replacements]
    boots = f"asg {seen.group.name} has {serving} of {seen.group.desired} machines in service"
    return (f"{shortage(seen.group) or boots}, nobody has come for {alone[0]}",) if alone else ()


def _quorum(seen: Scene) -> tuple[str, ...]:
    """What a master's replacement still lacks: its members of etcd, the API server."""
    settings, claim = seen.run.settings, seen.claim
    return quorum.after(settings, seen.snapshot) if quorum.guards(settings, claim.group, claim.strategy) else ()


def _checks(seen: Scene) -> tuple[str, ...]:
    """The user's own checks that are not green; what is to blame they don't say."""
    checks = seen.run.settings.groups[seen.claim.group].gate.checks
    return tuple(why for check in checks if (why := seen.snapshot.checks.get(check.label)))


def _own(seen: Scene) -> frozenset[str]:
    """The workloads this gate answers for: not those that lack no more than other batches have evicted since.

    Their pods are on the move because of those batches, whose own gates come later and answer for them; otherwise no
    gate would end while drains overlap. The canary runs alone, so its gate answers for everything.
    """
    others = [c for c in seen.ledger.claims if c.open and c.drain_since is not None and _answers_later(c, seen.claim)]
    before, own = sickness.before(seen.ledger.sick).unhealthy, frozenset(seen.claim.evicted)
    shared = own & {key for c in others for key in c.evicted}
    lacks = {w.key: lacking(w, before.get(w.key)) for w in seen.snapshot.workloads if w.key in shared}
    return own - {key for key, count in lacks.items() if count <= missed(others, seen.snapshot, key)}


def _answers_later(other: Claim, claim: Claim) -> bool:
    """Whether another batch's gate begins after this one's."""
    if other.batch == claim.batch or other.gate_since is None:
        return other.batch != claim.batch
    return claim.gate_since is not None and (claim.gate_since, claim.batch) < (other.gate_since, other.batch)


def _account(seen: Scene, run: Run, batch: Batch) -> Outcome | None:
    """Write only what changed: when the gate began, since when it is green, that it passed or failed.

    :returns: the verdict if nothing did.
    """
    now, claim, policy = run.clock.now(), seen.claim, run.policy(batch).gate
    health = _health(seen)
    fields: dict[str, object] = {} if claim.gate_since is not None else {"gate_since": now}
    if health.green and claim.green_since is None:
        fields["green_since"] = now
        if policy.settle == 0:
            fields |= _passed(seen, run, batch, now)
    elif not health.green and claim.green_since is not None:
        fields["green_since"] = None
    elif health.green and claim.green_since is not None and seen.waited(claim.green_since) >= policy.settle:
        fields |= _passed(seen, run, batch, now)
    if not fields:
        return _verdict(seen, run, batch, health)
    lock.change(run, claim_change(batch.name, **fields))
    return None


def _passed(seen: Scene, run: Run, batch: Batch, now: float) -> dict[str, object]:
    vain = in_vain(run, batch, seen.claim, seen.snapshot)
    return {"state": ClaimState.PASSED, "passed_at": now, "in_vain": vain}


def _verdict(seen: Scene, run: Run, batch: Batch, health: Health) -> Outcome:
    policy, claim = run.policy(batch), seen.claim
    waited = seen.waited(claim.gate_since) if claim.gate_since is not None else 0.0
    if health.green:
        green = seen.waited(claim.green_since) if claim.green_since is not None else 0.0
        left = max(policy.gate.settle - green, 0.0)
        return Waiting((f"gate: {span(policy.gate.settle)} of green looks in a row",), min(policy.poll, left or 0.1))
    if waited > policy.gate.timeout:
        return Blocked(
            f"not as well as before after {span(waited)}: {'; '.join(health.reasons)}",
            (f"batch {batch.name}", *(f"instance {m}" for m in claim.replacements.values())),
            "Correct what it names; then clear this gate, and the batches that were held go on."
            + _not_frozen(seen, health),
            health.image_fault,
        )
    return Waiting(tuple(f"gate: {reason}" for reason in health.reasons), policy.poll)


def _not_frozen(seen: Scene, health: Health) -> str:
    """Why an image is not frozen that somebody may take for the cause, and how to freeze it."""
    claims = seen.ledger.claims_of(seen.claim.group)
    if not health.suspects or any(c.proves for c in claims):
        return ""
    image = seen.run.plan.group(seen.claim.group).target.image.id
    return (
        f" Image {image} is not frozen: evicted pods start on new machines anyway, and only those of "
        f"{' and '.join(health.suspects)} fail there. If it is the cause: node-rotation freeze {image} --reason TEXT."
    )


def _leftover(seen: Scene) -> tuple[Node, ...]:
    snapshot: Snapshot = seen.snapshot
    if seen.claim.strategy is Strategy.MANAGED:
        return ()  # EKS and the cloud controller see to them
    return tuple(n for n in seen.old_nodes() if terminated(snapshot.instances.get(n.instance_id)))


def _farewell(seen: Scene, poll_s: float, timeout_s: float) -> Outcome:
    ours = [m for m in seen.claim.machines if not seen.taken_out(m)]
    running = [m for m in ours if not terminated(seen.snapshot.instances.get(m))]
    reasons = [f"instance {m} is shutting down" for m in running]
    reasons += [f"node {n.name} is to be removed" for n in seen.old_nodes() if n.instance_id not in running]
    waited = seen.now - (seen.claim.terminate_since or seen.now)
    if not reasons or waited > timeout_s:
        return Done("passed" if not reasons else f"passed; after {span(waited)} still: {'; '.join(reasons)}")
    return Waiting(tuple(f"passed; {reason}" for reason in reasons), poll_s)
