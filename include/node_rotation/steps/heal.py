"""Take a failed batch back to where it was, or, once its machine is drained, forward to the end."""

from __future__ import annotations

from dataclasses import dataclass

from node_rotation import lock, names
from node_rotation.errors import GoneError, PermanentError
from node_rotation.ledger import Baseline, Claim, ClaimState, Ledger, claim_change
from node_rotation.model import Batch, StepName, Strategy
from node_rotation.outcome import Done, Outcome, Waiting
from node_rotation.run import Run
from node_rotation.steps import sizing, traffic
from node_rotation.steps.assignment import assign, needed, newcomers, withdraw
from node_rotation.steps.cordon import cordon, lacking, of_others, uncordon
from node_rotation.steps.drain import evict_from
from node_rotation.steps.freezing import freeze_at_fault
from node_rotation.steps.image_step import back_text, put_back
from node_rotation.steps.managed import let_go
from node_rotation.steps.masters import require_may_go
from node_rotation.steps.put_back import attached_text
from node_rotation.steps.scene import Scene, busy_pods, fresh_group, gone, ledger_of, place, staying, stays
from node_rotation.steps.step import MARGIN_S
from node_rotation.steps.terminate import terminate
from node_rotation.workloads.attachments import still_attached
from node_rotation.world.aws import ScalingGroup
from node_rotation.world.kubernetes import Node
from node_rotation.world.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Heal:
    """Done once the batch holds no slots any more."""

    name: StepName = StepName.HEAL

    def act(self, run: Run, batch: Batch) -> None:
        """One pass of :func:`heal`."""
        heal(run, batch)

    def look(self, run: Run, batch: Batch) -> Outcome:
        """Done for a batch that passed, was healed, or never began."""
        ledger = ledger_of(run.look().lease, run.id)
        claim = ledger.claim(batch.name) if ledger else None
        if claim is None or not claim.open:
            return Done(_healed(ledger, claim) if ledger and claim and claim.state is ClaimState.HEALED else "")
        return Waiting((f"batch {batch.name} goes back: {claim.why or 'its pods leave the replacement'}",))

    def timeout_s(self, run: Run, batch: Batch) -> float:
        """As long as a drain may take, and a margin."""
        return run.policy(batch).drain.timeout + MARGIN_S


def heal(run: Run, batch: Batch, why: str = "", *, image_fault: bool = False) -> tuple[str, ...]:
    """Do what can be done now for a batch that failed; nothing for one that passed or never began.

    Call it again until ``STEPS[StepName.HEAL].look`` says Done: pods leave at their own pace.

    :param why: what blocked it, kept in the ledger for whoever asks later.
    :param image_fault: the cause lies in the image.
    :returns: one line per thing done.
    :raises BlockedError: if this run does not hold the lock.
    """
    found = lock.held(run)
    if found is None or found.lease.holder != run.id:
        return ()
    claim = found.ledger.claim(batch.name)
    if claim is None or not claim.open:
        return ()
    return heal_claim(run, claim, why, image_fault=image_fault)


def heal_claim(run: Run, claim: Claim, why: str = "", *, image_fault: bool = False) -> tuple[str, ...]:
    """As :func:`heal`, for a claim of the ledger: a sweep has no plan."""
    ledger = lock.require(run).ledger
    baseline = ledger.groups.get(claim.group)
    if baseline is None:
        lock.change(run, claim_change(claim.batch, state=ClaimState.HEALED))
        return (f"batch {claim.batch}: its group was restored already",)
    if claim.strategy is Strategy.MANAGED:
        _failed(run, claim, why, image_fault=image_fault)
        frozen = freeze_at_fault(run, lock.require(run).ledger.claim(claim.batch) or claim)  # before the claim closes
        return (*let_go(run, claim, why, image_fault=image_fault), *frozen)
    _failed(run, claim, why, image_fault=image_fault)
    ledger = assign(run, claim.group, baseline.asg)
    run.look.forget()
    scene = place(run, claim.batch, run.look(), ledger)
    if not isinstance(scene, Scene):
        return (scene.reason,)
    did: list[str] = []
    finished = [_heal_machine(scene, machine, did) for machine in scene.claim.machines]
    if all(finished):
        _withdraw(run, claim.group, claim.batch, did)
        did.extend(put_back(run, claim.group))
        did.extend(freeze_at_fault(run, scene.claim))
        lock.change(run, claim_change(claim.batch, state=ClaimState.HEALED))
        did.append(f"batch {claim.batch} is healed")
    return tuple(did)


def _failed(run: Run, claim: Claim, why: str, *, image_fault: bool) -> None:
    """Write down that a batch failed, and why; nothing if that was done."""
    if claim.state is ClaimState.ADMITTED:
        fields: dict[str, object] = {"state": ClaimState.FAILED}
        fields |= {"why": why or claim.why, "image_fault": image_fault or claim.image_fault}
        lock.change(run, claim_change(claim.batch, **fields))


def _healed(ledger: Ledger, claim: Claim) -> str:
    baseline = ledger.groups.get(claim.group)
    back = baseline.template_back if baseline and claim.image_fault else None
    if claim.strategy is Strategy.MANAGED:
        return f"batch {claim.batch} is healed ({claim.why})"
    return f"batch {claim.batch} is healed" + (f"; {back_text(baseline.asg, back)}" if baseline and back else "")


def _heal_machine(scene: Scene, old: str, did: list[str]) -> bool:
    """One machine, one pass; True when nothing is left to do for it."""
    if gone(scene.snapshot.instances.get(old)):
        return True
    if scene.taken_out(old):
        return True  # restore takes our marks off it
    new = scene.claim.replacements.get(old)
    node = scene.snapshot.node_of(old)
    if scene.claim.strategy is Strategy.TERMINATE_FIRST:
        return _stays_or_goes(scene, old, node, did)
    if _drained(scene, node) and new is not None and _serves(scene, new):
        require_may_go(scene.run, old)
        terminate(scene.run, scene.baseline.asg, old, decrement=scene.claim.strategy is Strategy.SURGE)
        did.append(f"instance {old} was drained and is terminated")
        return True
    if node is not None and _give_back(scene.run, node):
        did.append(_is_again(node))
    if new is not None and traffic.irreplaceable(scene, new):
        return False  # until the old machine serves again
    if new is not None and not _dismiss(scene, new, did):
        return False
    return _reattach(scene, old, did)


def _stays_or_goes(scene: Scene, old: str, node: Node | None, did: list[str]) -> bool:
    """Nothing came for a machine that goes first: it takes pods again, unless it is on its way already."""
    member = fresh_group(scene.run, scene.baseline.asg).member(old)
    if member is not None and not stays(member.lifecycle):
        return False
    if node is not None and _give_back(scene.run, node):
        did.append(_is_again(node))
    return True


def _drained(scene: Scene, node: Node | None) -> bool:
    """Empty because we drained it, and nothing can have come since."""
    begun = scene.claim.drain_since is not None
    if not begun or node is None or not node.unschedulable or busy_pods(scene.snapshot, node):
        return False
    return not still_attached(scene.snapshot, node)


def _serves(scene: Scene, new: str) -> bool:
    node, member = scene.snapshot.node_of(new), scene.group.member(new)
    return node is not None and node.ready and member is not None and member.lifecycle == "InService"


def _is_again(node: Node) -> str:
    return f"node {node.name} {'stays cordoned: that was not us' if of_others(node) else 'takes pods again'}"


def _give_back(run: Run, node: Node) -> bool:
    changed = uncordon(run, node)
    if any(key == names.OLD_TAINT for key, _, _ in node.taints):
        lock.require(run)
        try:
            run.cluster.untaint(node.name, node.uid, names.OLD_TAINT)
        except GoneError:
            return changed
        run.look.forget()
        return True
    return changed


def _dismiss(scene: Scene, new: str, did: list[str]) -> bool:
    """Send a replacement away; one that serves pods is drained first. True once it is going."""
    member = fresh_group(scene.run, scene.baseline.asg).member(new)
    if member is None or not stays(member.lifecycle):
        return True
    if scene.claim.strategy is Strategy.SURGE and not _too_many(scene):
        return True  # it came because somebody else made the group larger
    return send_away(scene.run, scene.snapshot, (scene.claim.group, scene.baseline.asg), new, did)


def _too_many(scene: Scene) -> bool:
    """Whether what surge added is more than the other batches need."""
    run, name = scene.run, scene.claim.group
    baseline, group = sizing.settle(run, name)
    others = [c for c in lock.require(run).ledger.claims_of(name) if c.batch != scene.claim.batch]
    return baseline.own > needed(others, group)


def send_away(run: Run, snapshot: Snapshot, where: tuple[str, str], machine: str, did: list[str]) -> bool:
    """Drain a machine that is too many and terminate it with decrement; True once it is going.

    One that is Ready goes only when it was seen cordoned and empty: until then a pod may come that no look shows yet.

    :param where: the node group's name and its Auto Scaling group's.
    :raises BlockedError: if it is a master that may not go: then nothing was done to it now.
    """
    require_may_go(run, machine)
    group_name, asg = where
    node = snapshot.node_of(machine)
    if node is not None and node.ready and not _emptied(run, snapshot, node, group_name, did):
        return False
    terminate(run, asg, machine, decrement=True)
    did.append(f"machine {machine} is terminated, its group shrinks with it")
    return True


def _emptied(run: Run, snapshot: Snapshot, node: Node, group_name: str, did: list[str]) -> bool:
    """Cordon a Node and have its pods leave; True once a look shows it cordoned and empty."""
    pods = busy_pods(snapshot, node)
    if lacks := lacking(node):
        cordon(run, node, run.id)
        did.append(f"node {node.name} takes no new pods")
    if pods:
        drain = run.settings.groups.get(group_name, run.settings.policy).drain
        evict_from(run, snapshot, (node,), run.clock.now(), drain, None)
        did.append(f"{len(pods)} pods leave machine {node.instance_id} again")
    return not lacks and not pods


def _reattach(scene: Scene, old: str, did: list[str]) -> bool:
    """Put a detached machine back; attaching raises desired (AttachInstances), so its replacement went first."""
    run, asg = scene.run, scene.baseline.asg
    instance = run.cloud.instances([old]).get(old)
    if instance is None or gone(instance) or names.DETACHED_FROM not in instance.tags:
        return True
    group = fresh_group(run, asg)
    member = group.member(old)
    if member is not None and not stays(member.lifecycle):
        return False  # still Detaching: it can be attached again once that is over
    if member is None:
        if old not in scene.claim.replacements and newcomers(scene.ledger, scene.baseline, group, {}):
            return False  # its replacement came this moment: it is assigned, and sent away, on the next pass
        _shrink_unfilled(scene, did)
        try:
            sizing.come_back(run, scene.claim.group, old)
        except PermanentError:  # "already part of": a call whose answer was lost was faster
            if fresh_group(run, asg).member(old) is None:
                raise
        lock.change(run, lambda now: _is_back(now, scene.claim.batch, old))
        did.append(attached_text(old, asg))
    lock.require(run)
    run.cloud.untag_instances([old], [names.DETACHED_FROM, names.RUN])
    run.look.forget()
    return True


def _is_back(ledger: Ledger, batch: str, machine: str) -> Ledger:
    """For the report, whoever writes it."""
    claim = ledger.claim(batch)
    if claim is None or machine in claim.back:
        return ledger
    return ledger.with_claim(claim.model_copy(update={"back": (*claim.back, machine)}))


def _shrink_unfilled(scene: Scene, did: list[str]) -> None:
    """Before attaching: take back the desired unit nobody fills, unless that was done, else the group ends larger."""

    def wanted(baseline: Baseline, group: ScalingGroup) -> int:
        unfilled = group.desired > len(staying(group)) and baseline.own >= 0
        return group.desired - 1 if unfilled else group.desired

    if sizing.set_desired(scene.run, scene.claim.group, wanted):
        did.append(f"group {scene.group.name} no longer asks for a replacement that has not come")


def _withdraw(run: Run, group_name: str, batch: str, did: list[str]) -> None:
    """After surge: take back what was asked for, by this batch, and never came."""
    ledger: Ledger = lock.require(run).ledger
    if ledger.groups[group_name].strategy is not Strategy.SURGE:
        return
    others = tuple(c for c in ledger.claims_of(group_name) if c.batch != batch)
    if withdraw(run, group_name, others):
        did.append(f"group {ledger.groups[group_name].asg} no longer asks for machines that have not come")
