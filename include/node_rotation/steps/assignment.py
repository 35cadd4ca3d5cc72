"""Which new machine replaces which old one, and how many a group is asked for: one place for both."""

from __future__ import annotations

from collections.abc import Mapping, Set

from node_rotation import lock
from node_rotation.ledger import Baseline, Claim, ClaimState, Ledger
from node_rotation.model import Strategy
from node_rotation.run import Run
from node_rotation.steps.scene import fresh_group, stays
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
    present = {m.instance_id for m in group.members if stays(m.lifecycle)}
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
            ledger = ledger.with_claim(claim.model_copy(update={"replacements": kept}))
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


def wanted_desired(baseline: Baseline, claims: tuple[Claim, ...], group: ScalingGroup) -> int:
    """Baseline and one more for each machine claimed by surge that its group still keeps.

    :param claims: of this group.
    :param group: read now.
    """
    alive = {m.instance_id for m in group.members if stays(m.lifecycle)}
    surging = {m for c in claims if c.open and c.strategy is Strategy.SURGE for m in c.machines}
    return baseline.desired + len(surging & alive)


def raise_desired(run: Run, group_name: str) -> None:
    """Set desired to what baseline and claims ask for, never lower; the one place that does so under the lock.

    A max that is in the way is raised as well; both are in the ledger before they are in AWS.
    """
    ledger = lock.require(run).ledger
    baseline = ledger.groups[group_name]
    group = fresh_group(run, baseline.asg)
    wanted = wanted_desired(baseline, ledger.claims_of(group_name), group)
    if wanted <= group.desired:
        return
    raised_max = wanted if wanted > group.max else None
    lock.change(run, lambda now: _peaks(now, group_name, wanted, raised_max))
    run.cloud.set_sizes(baseline.asg, max=raised_max, desired=wanted)
    run.look.forget()


def _peaks(ledger: Ledger, group_name: str, desired: int, maximum: int | None) -> Ledger:
    baseline = ledger.groups[group_name]
    peaks = {
        "raised_to": max(desired, baseline.raised_to or 0),
        "max_raised_to": max(maximum, baseline.max_raised_to or 0) if maximum else baseline.max_raised_to,
    }
    return ledger.with_group(group_name, baseline.model_copy(update=peaks))
