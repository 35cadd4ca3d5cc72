"""How much the groups of a cluster take at once of what they share: vCPUs of a quota, addresses of subnets. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from node_rotation.model import GroupPlan, Strategy


@dataclass(frozen=True, slots=True)
class Need:
    """A group, and how much each machine takes that a rotation runs on top of it."""

    group: GroupPlan
    each: int = 1

    @property
    def whole(self) -> int:
        """How much all of its machines on top take."""
        return on_top(self.group) * self.each


def on_top(group: GroupPlan) -> int:
    """How many machines a rotation runs on top of a group at once: of a managed group as many as EKS adds."""
    if group.managed is not None:
        return group.managed.extra
    return 0 if group.strategy is Strategy.TERMINATE_FIRST else group.slots


def at_most(needs: Iterable[Need], slots: int) -> int:
    """How much these groups take together at most, whoever of them goes when.

    A slot lets one machine of ours come, or as many of its own as EKS takes away at once all those that it adds.

    :param slots: of the cluster.
    """
    takers = [need for need in needs if need.whole]
    ours = sorted((n.each for n in takers if n.group.managed is None for _ in range(n.group.slots)), reverse=True)
    by_eks = [0] * (slots + 1)
    for need in (n for n in takers if n.group.managed is not None):
        for held in range(slots, need.group.slots - 1, -1):
            by_eks[held] = max(by_eks[held], by_eks[held - need.group.slots] + need.whole)
    beside = list(accumulate(ours, initial=0))
    return max(taken + beside[min(slots - held, len(ours))] for held, taken in enumerate(by_eks))


def fewer(groups: Sequence[GroupPlan]) -> str:
    """What takes less room in groups that have too little of it."""
    ways: list[str] = []
    ours = [group for group in groups if group.managed is None and on_top(group)]
    if any(group.slots > 1 for group in ours):
        ways.append("lower budget.max_surge")
    elif ours:
        ways.append("set strategy: terminate_first")
    if any(group.managed is not None and group.managed.extra for group in groups):
        ways.append("give the managed node groups the update strategy MINIMAL")
    if len(groups) > 1:
        ways.append("lower budget.cluster_slots")
    return ", or ".join(ways)
