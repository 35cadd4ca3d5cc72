"""The safety monitor: it watches every change and remembers the worst moments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from node_rotation.testing.disruption import BudgetState, Disruption, expectation, scale
from node_rotation.testing.ec2 import Ec2
from node_rotation.testing.objects import Objects, WorkloadState
from node_rotation.world.aws import Instance
from node_rotation.world.kubernetes import Lease, Node, Pod

VOLUNTARY = ("eviction", "deletion", "machine gone")
ClaimsInUse = Callable[[Mapping[str, str]], Mapping[str, int]]
"""From the Lease's annotations to the slots in use per group: the ledger's own format stays where it is."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A moment at which somebody's act took a budget below what it needs."""

    at: float
    budget: str
    healthy: int
    desired: int
    pod: str
    cause: str


class Monitor:
    """What a rotation must never do, measured in the world and not in its own records.

    :param claims_in_use: set it to have ``max_claimed`` kept as well.
    """

    def __init__(self, objects: Objects, disruption: Disruption, ec2: Ec2) -> None:
        self._objects, self._disruption, self._ec2 = objects, disruption, ec2
        self.violations: list[Violation] = []
        self.min_healthy: dict[str, int] = {}
        self.min_available_share: dict[str, float] = {}
        self.max_extra: Counter[str] = Counter()
        self.max_unavailable: Counter[str] = Counter()
        self.max_claimed: Counter[str] = Counter()
        self.claims_in_use: ClaimsInUse | None = None
        self._sizes: dict[str, int] = {}
        self._alive: Counter[str] = Counter()
        self._usable: Counter[str] = Counter()
        self._healthy: dict[str, int] = {}
        self._watching = False
        objects.on_pod.append(self._pod_changed)
        objects.on_node.append(self._node_changed)
        ec2.on_state.append(self._instance_changed)

    def begin(self, sizes: Mapping[str, int]) -> None:
        """Watch from here on.

        :param sizes: by Auto Scaling group, what counts as neither extra nor unavailable.
        """
        self._watching = True
        self._sizes = dict(sizes)
        self.violations.clear()
        for worst in (self.max_extra, self.max_unavailable, self.max_claimed):
            worst.clear()
        self._healthy = {state.value.key: self._count(state) for state in self._disruption.budgets.values()}
        self.min_healthy = dict(self._healthy)
        self.min_available_share = dict.fromkeys(self._healthy, 1.0)

    def lease_written(self, lease: Lease | None) -> None:
        """Look at the claims in the ledger."""
        if lease and self.claims_in_use:
            for group, slots in self.claims_in_use(lease.annotations).items():
                self.max_claimed[group] = max(self.max_claimed[group], slots)

    def _pod_changed(self, workload: WorkloadState, before: Pod | None, after: Pod | None, cause: str) -> None:
        if not self._watching:
            return
        for state in self._disruption.covering(workload):
            self._look(state, before or after, cause)

    def _look(self, state: BudgetState, pod: Pod | None, cause: str) -> None:
        key, healthy = state.value.key, self._count(state)
        desired, wanted = expectation(state)[1], scale(state)
        fell = healthy < self._healthy.get(key, healthy)
        self._healthy[key] = healthy
        self.min_healthy[key] = min(self.min_healthy.get(key, healthy), healthy)
        if wanted:
            share = healthy / wanted
            self.min_available_share[key] = min(self.min_available_share.get(key, share), share)
        if fell and healthy < desired and cause in VOLUNTARY:
            now = self._objects.clock.now()
            self.violations.append(Violation(now, key, healthy, desired, pod.key if pod else "", cause))

    def _count(self, state: BudgetState) -> int:
        """Pods that really serve: Ready, not on their way out, and their machine runs."""
        return sum(pod.ready and pod.terminating_since is None and self._objects.runs(pod) for pod in state.pods())

    def _instance_changed(self, instance: Instance) -> None:
        group = self._ec2.launched_for[instance.id]
        if instance.state == "pending":
            self._alive[group] += 1
        elif instance.state == "shutting-down":
            self._alive[group] -= 1
        self._remember(group)

    def _node_changed(self, before: Node | None, after: Node | None) -> None:
        node = after or before
        group = self._ec2.launched_for.get(node.instance_id) if node else None
        if group:
            self._usable[group] += _usable(after) - _usable(before)
            self._remember(group)

    def _remember(self, group: str) -> None:
        if not self._watching:
            return
        size = self._sizes.get(group, 0)
        self.max_extra[group] = max(self.max_extra[group], self._alive[group] - size)
        self.max_unavailable[group] = max(self.max_unavailable[group], size - self._usable[group])


def _usable(node: Node | None) -> bool:
    return node is not None and node.ready and not node.unschedulable
