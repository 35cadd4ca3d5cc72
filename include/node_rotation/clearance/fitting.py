"""Whether a batch fits into its cluster's maintenance windows: one that can't finish inside is not started."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from node_rotation.clearance.windows import longest_s, waits_for
from node_rotation.estimate import batch_s
from node_rotation.model import Batch, Blocker, GroupPlan, ManagedPlan
from node_rotation.policy import Policy


def shortfall(policy: Policy, machines: int = 1, managed: ManagedPlan | None = None) -> str:
    """Why a batch can never run inside the windows, by their lengths; "" if it can.

    :param machines: of the batch.
    :param managed: how EKS rolls them, if it does: what it has begun can't be stopped when a window closes.
    """
    need_s, longest = batch_s(machines, policy, managed=managed), longest_s(policy.hours.windows)
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
        if why := shortfall(policies[batch.group], len(batch.machines), managed[batch.group]):
            remedy = "make the window longer, or lower gate.settle"
            if managed[batch.group] is not None:
                remedy = "make the window longer, or let EKS take more machines at once (its update configuration)"
            yield Blocker(
                reason=f"batch {batch.name} never fits: {why}", objects=(f"batch {batch.name}",), remedy=remedy
            )


def waits(batch: Batch, group: GroupPlan, policy: Policy, now: float) -> Iterator[str]:
    """Why a batch may not start at this time of day; nothing if it may.

    :param group: the plan of its group.
    :param now: epoch seconds.
    """
    if why := waits_for(policy.hours, now, batch_s(len(batch.machines), policy, managed=group.managed)):
        yield why
