"""Whether a batch fits into its cluster's maintenance windows: one that can't finish inside is not started."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from node_rotation.budget import Claim, in_vain
from node_rotation.clearance.windows import longest_s, waits_for
from node_rotation.estimate import batch_s
from node_rotation.model import Batch, Blocker, Estimate, GroupPlan, ManagedPlan, Plan
from node_rotation.policy import Policy


def shortfall(policy: Policy, machines: int = 1, managed: ManagedPlan | None = None, longer_s: float = 0.0) -> str:
    """Why a batch can never run inside the windows, by their lengths; "" if it can.

    :param machines: of the batch.
    :param managed: how EKS rolls them, if it does: what it has begun can't be stopped when a window closes.
    :param longer_s: what the batch takes on top of the usual.
    """
    need_s = batch_s(machines, policy, managed=managed, longer_s=longer_s)
    longest = longest_s(policy.hours.windows)
    if need_s <= longest:
        return ""
    return f"a batch takes about {need_s / 60:.0f} min, the longest maintenance window is {longest / 60:.0f} min"


def too_long(
    batches: Sequence[Batch], groups: Sequence[GroupPlan], policies: Mapping[str, Policy]
) -> Iterator[Blocker]:
    """Batches that would wait for ever.

    :param groups: of the plan.
    :param policies: node group name → its policy.
    """
    managed = {group.name: group.managed for group in groups}
    for batch in batches:
        if why := shortfall(policies[batch.group], len(batch.machines), managed[batch.group], batch.longer_s):
            remedy = "make the window longer in the fleet file, or lower gate.settle there"
            if policies[batch.group].drain.wait_between_evictions:
                remedy += ", or drain.wait_between_evictions"
            if managed[batch.group] is not None:
                remedy = "make the window longer in the fleet file, or let EKS take more machines at once "
                remedy += "(its update configuration)"
            yield Blocker(
                reason=f"batch {batch.name} never fits: {why}", objects=(f"batch {batch.name}",), remedy=remedy
            )


def several_nights(estimate: Estimate, policy: Policy) -> Iterator[str]:
    """That a plan is more than one window's work, if it is."""
    longest = longest_s(policy.hours.windows)
    if estimate.duration_s > longest:
        yield (
            f"it takes about {estimate.duration_s / 60:.0f} min and the longest maintenance window is "
            f"{longest / 60:.0f} min: what is not done by then is left to a run to come"
        )


def waits(batch: Batch, group: GroupPlan, policy: Policy, now: float) -> Iterator[str]:
    """Why a batch may not start at this time of day; nothing if it may.

    :param group: the plan of its group.
    :param now: epoch seconds.
    """
    if not (policy.windows or policy.blackouts):
        return
    need_s = batch_s(len(batch.machines), policy, managed=group.managed, longer_s=batch.longer_s)
    if why := waits_for(policy.hours, now, need_s):
        yield why


def too_late(plan: Plan, asking: Batch, begun: Mapping[str, Claim], policies: Mapping[str, Policy], now: float) -> str:
    """Why a batch is left to a run to come; "" if it is not.

    The window has no room for it any more, or none for one that has to pass before it and has not begun.

    :param begun: batch name → its claim, of those that hold slots, or did.
    :param policies: node group name → its policy.
    :param now: epoch seconds.
    """
    ahead = (batch for batch in plan.ahead_of(asking, in_vain(begun.values())) if batch.name not in begun)
    for batch in (asking, *ahead):
        if why := next(waits(batch, plan.group(batch.group), policies[batch.group], now), ""):
            return why if batch is asking else f"{batch.name} goes first: {why}"
    return ""
