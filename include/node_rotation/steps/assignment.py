"""Which new machine replaces which old one, and how many a group is asked for: one place for both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from node_rotation import lock
from node_rotation.ledger import Baseline, Claim, ClaimState, Ledger
from node_rotation.model import Strategy
from node_rotation.run import Run
from node_rotation.steps import sizing
from node_rotation.steps.scene import Scene, fresh_group, staying, stays
from node_rotation.world.aws import Instance, ScalingGroup


def assign(run: Run, group_name: str, asg: str) -> Ledger:
    """Give newcomers of a group to the batches that wait for them, the earliest first, by compare-and-swap."""
    group = fresh_group(run, asg)
    newcomers = run.cloud.instances([m.instance_id for m in group.members])
    return lock.change(run, lambda ledger: assigned(ledger, group_name, group, newcomers))


def assigned(
    ledger: Ledger, group_name: str, group: ScalingGroup, instances: Mapping[str, Instance] | None = None
) -> Ledger:
    """A ledger in which every member that is new, and nobody's yet, is a waiting machine's replacement.

    :param group_name: the node group.
    :param group: its Auto Scaling group, read now.
    :param instances: for their launch times: the oldest newcomer goes to the earliest claim.
    """
    baseline = ledger.groups.get(group_name)
    if baseline is None:
        return ledger
    free = newcomers(ledger, baseline, group, instances or {})
    present = staying(group)
    for claim in ledger.claims_of(group_name):
        if not claim.open:
            continue
        # Once its old machine goes, or it is sent away itself, nobody else takes its place.
        # Where the old machine goes first, that begins before there is anybody to take its place.
        first = claim.strategy is Strategy.TERMINATE_FIRST
        lasting = (claim.terminate_since is not None and not first) or claim.state is ClaimState.FAILED
        kept = {old: new for old, new in claim.replacements.items() if new in present or lasting}
        for old in claim.machines:
            if old not in kept and free and not _stays(claim, old, present):
                kept[old] = free.pop(0)
        if kept != claim.replacements:
            spared = tuple(old for old in claim.spared if old not in kept)
            ledger = ledger.with_claim(claim.model_copy(update={"replacements": kept, "spared": spared}))
    return ledger


def _stays(claim: Claim, old: str, present: Set[str]) -> bool:
    """True for a machine that is still to be detached, or to go first: nobody has come for it yet.

    Given another's newcomer, it would never be detached, and the other waited for one that nobody launches.
    """
    made_room = claim.strategy is Strategy.DETACH and claim.terminate_since is not None
    return claim.strategy is not Strategy.SURGE and not made_room and old in present


def newcomers(ledger: Ledger, baseline: Baseline, group: ScalingGroup, instances: Mapping[str, Instance]) -> list[str]:
    """Members that came after the baseline and are nobody's replacement, oldest first."""
    taken = ledger.assigned | set(baseline.members)
    ids = [m.instance_id for m in group.members if stays(m.lifecycle) and m.instance_id not in taken]
    return sorted(ids, key=lambda i: (instances[i].launched_at if i in instances else float("inf"), i))


def needed(claims: Iterable[Claim], group: ScalingGroup) -> int:
    """How many machines surge has to add: one for each that is claimed and that its group still keeps.

    :param claims: of this group.
    :param group: read now.
    """
    return len({m for c in claims if c.open and c.strategy is Strategy.SURGE for m in c.machines} & staying(group))


def unasked(place: Scene) -> bool:
    """Whether surge has yet to add machines, although newcomers of somebody else's may be there already."""
    return needed(place.ledger.claims_of(place.claim.group), place.group) > place.baseline.added


def raise_desired(run: Run, group_name: str) -> bool:
    """Add to desired what the claims still need, never less; the one place that does so under the lock.

    A max in the way is raised if the policy allows it; else the claims wait for room that others have taken.

    :returns: False if there was nothing to add.
    """
    policy = run.settings.groups.get(group_name, run.settings.policy)

    def wanted(baseline: Baseline, group: ScalingGroup) -> int:
        claims = lock.require(run).ledger.claims_of(group_name)
        more = max(needed(claims, group) - baseline.own, 0)
        return group.desired + (more if policy.raise_max_size else min(more, max(group.max - group.desired, 0)))

    return sizing.set_desired(run, group_name, wanted)


def withdraw(run: Run, group_name: str, claims: tuple[Claim, ...]) -> bool:
    """Take back what surge has asked for beyond what these claims need, as far as it has not come.

    Lowering desired is safe only while nobody would have to go: desired is more than there are machines.
    """

    def wanted(baseline: Baseline, group: ScalingGroup) -> int:
        too_many = min(baseline.own - needed(claims, group), group.desired - len(staying(group)))
        return group.desired - max(too_many, 0)

    return sizing.set_desired(run, group_name, wanted)


def spare(run: Run, group_name: str) -> None:
    """Let machines go without a replacement, as far as somebody else took the replacements' places away.

    So it is when the group has all it is asked for, no newcomer is nobody's, and as many machines as are claimed are
    too many already. Once that is no longer so, who has not begun to drain waits for a replacement again.
    """
    baseline, group = sizing.settle(run, group_name)
    now = run.clock.now()
    lock.change(run, lambda ledger: _spared(ledger, group_name, baseline, group, now))


def _spared(ledger: Ledger, group_name: str, settled: Baseline, group: ScalingGroup, now: float) -> Ledger:
    if ledger.groups.get(group_name) != settled:
        return ledger
    serving = staying(group)
    claims = [c for c in ledger.claims_of(group_name) if c.state is ClaimState.ADMITTED]
    full = len(serving) >= group.desired and not newcomers(ledger, settled, group, {})
    enough = full and len({m for c in claims for m in c.machines} & serving) <= settled.own
    if enough and _changed_just_now(ledger, settled.asg, now):
        return ledger
    for claim in claims:
        spared = tuple(old for old in claim.machines if claim.replacements.get(old) not in serving)
        if not enough:
            spared = claim.spared if claim.drain_since is not None else ()
        if spared != claim.spared:
            ledger = ledger.with_claim(claim.model_copy(update={"spared": spared}))
    return ledger


def _changed_just_now(ledger: Ledger, asg: str, now: float) -> bool:
    """Whether a size of others' was first seen a moment ago: AWS may show one that is older than what it said last."""
    return any(heard.object == f"asg {asg}" and now - heard.at < sizing.PATIENCE_S for heard in ledger.others)
