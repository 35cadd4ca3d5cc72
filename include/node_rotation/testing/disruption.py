"""The disruption controller and the eviction API in memory.

Sources: kubernetes/pkg/controller/disruption/disruption.go (what a budget's status says) and
kubernetes/pkg/registry/core/pod/storage/eviction.go (who may be evicted, and what is answered else).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from node_rotation.testing.controllers import Controllers
from node_rotation.testing.objects import Objects, WorkloadState
from node_rotation.testing.seeds import DisruptionBudget as BudgetSeed
from node_rotation.world.answers import Evicted, EvictionAnswer, Misconfigured, PodGone, RefusedByBudget
from node_rotation.world.kubernetes import Budget, Pod

DELETION_TIMEOUT_S = 120.0  # disruption.go DeletionTimeout
_SCALED = ("Deployment", "StatefulSet")


@dataclass(slots=True)
class BudgetState:
    """A PodDisruptionBudget; ``disrupted`` are evictions whose pods are not yet seen to be going."""

    seed: BudgetSeed
    value: Budget
    workloads: list[WorkloadState] = field(default_factory=list)
    disrupted: dict[str, float] = field(default_factory=dict)
    due: bool = False

    def pods(self) -> list[Pod]:
        """Every pod it covers."""
        return [pod for workload in self.workloads for pod in workload.pods.values()]


class Disruption:
    """Keeps the status of every budget, a little late, and answers evictions from it.

    :param sync_s: how late a budget's status follows its pods.
    """

    def __init__(self, objects: Objects, controllers: Controllers, sync_s: float) -> None:
        self.objects, self.controllers, self.sync_s = objects, controllers, sync_s
        self.budgets: dict[tuple[str, str], BudgetState] = {}
        self.version = 0
        self._covering: dict[str, list[BudgetState]] = {}
        objects.on_pod.append(self._pod_changed)

    def add(self, seed: BudgetSeed) -> BudgetState:
        """Create a budget, over whatever its selector matches."""
        empty = Budget(seed.namespace, seed.name, dict(seed.selector), 0, 0, 0, 0, observed=False)
        state = BudgetState(seed, replace(empty, always_allow_unhealthy=seed.always_allow_unhealthy))
        self.budgets[seed.namespace, seed.name] = state
        self.version += 1
        for workload in self.objects.workloads.values():
            self._cover(state, workload)
        self._soon(state)
        return state

    def change(self, namespace: str, name: str, **fields: Any) -> None:
        """Somebody edits a budget; its status follows."""
        state = self.budgets[namespace, name]
        state.seed = replace(state.seed, **fields)
        self._soon(state)

    def workload_added(self, workload: WorkloadState) -> None:
        """A workload came: the budgets that are there may cover it."""
        for state in self.budgets.values():
            self._cover(state, workload)

    def covering(self, workload: WorkloadState) -> list[BudgetState]:
        """The budgets over a workload's pods."""
        return self._covering.get(workload.uid, [])

    def answer(self, pod: Pod) -> EvictionAnswer:
        """What the API server would answer an eviction now; nothing changes."""
        now = self.objects.same_pod(pod)
        if now is None:
            return PodGone()
        budgets = self.covering(self.objects.workload_of[pod.uid])
        if _needs_no_budget(now) or not budgets:
            return Evicted()
        if len(budgets) > 1:
            return Misconfigured(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            )
        value = budgets[0].value
        if (not now.ready and _unhealthy_may_go(value)) or (value.observed and value.disruptions_allowed > 0):
            return Evicted()
        return RefusedByBudget(
            "Cannot evict pod as it would violate the pod's disruption budget. The disruption budget "
            f"{value.name} needs {value.desired_healthy} healthy pods and has {value.healthy} currently"
        )

    def evict(self, pod: Pod, grace_s: float | None) -> EvictionAnswer:
        """Answer an eviction, and carry it out if it is granted."""
        answer = self.answer(pod)
        if isinstance(answer, Evicted):
            now = self.objects.pods[pod.uid]
            if not _needs_no_budget(now):
                self._spend(now)
            self.controllers.delete(now, grace_s, "eviction")
        return answer

    def _spend(self, pod: Pod) -> None:
        """Take one disruption from the budget; what is spent is seen by the next eviction of the same instant."""
        for state in self.covering(self.objects.workload_of[pod.uid]):
            if pod.ready or not _unhealthy_may_go(state.value):
                state.disrupted[pod.uid] = self.objects.clock.now()
                allowed = state.value.disruptions_allowed - 1
                self._write(state, replace(state.value, disruptions_allowed=allowed))

    def _cover(self, state: BudgetState, workload: WorkloadState) -> None:
        same_place = state.seed.namespace == workload.seed.namespace
        if same_place and all(workload.labels.get(k) == v for k, v in state.seed.selector.items()):
            state.workloads.append(workload)
            self._covering.setdefault(workload.uid, []).append(state)
            self._soon(state)

    def _pod_changed(self, workload: WorkloadState, _before: Pod | None, _after: Pod | None, _cause: str) -> None:
        for state in self.covering(workload):
            self._soon(state)

    def _soon(self, state: BudgetState) -> None:
        if not state.due:
            state.due = True
            self.objects.clock.after(self.sync_s, lambda: self._sync(state))

    def _sync(self, state: BudgetState) -> None:
        """One pass of the disruption controller over one budget."""
        state.due = False
        pods = state.pods()
        self._forget_disrupted(state)
        expected, desired = expectation(state)
        healthy = sum(pod.ready and pod.terminating_since is None and pod.uid not in state.disrupted for pod in pods)
        allowed = max(0, healthy - desired) if expected > 0 else 0
        self._write(
            state,
            replace(
                state.value,
                disruptions_allowed=allowed,
                expected=expected,
                healthy=healthy,
                desired_healthy=desired,
                observed=True,
            ),
        )

    def _forget_disrupted(self, state: BudgetState) -> None:
        """Drop what is seen to be going, is gone, or did not go in two minutes."""
        now = self.objects.clock.now()
        for uid, at in list(state.disrupted.items()):
            pod = self.objects.pods.get(uid)
            if pod is None or pod.terminating_since is not None or at + DELETION_TIMEOUT_S < now:
                del state.disrupted[uid]

    def _write(self, state: BudgetState, value: Budget) -> None:
        if value != state.value:
            state.value = value
            self.version += 1


def expectation(state: BudgetState) -> tuple[int, int]:
    """How many pods a budget expects, and how many of them must be healthy (disruption.go getExpectedPodCount)."""
    least, most = state.seed.min_available, state.seed.max_unavailable
    if most is not None:
        expected = scale(state)
        return expected, max(0, expected - _share(most, expected))
    if isinstance(least, str):
        expected = scale(state)
        return expected, _share(least, expected)
    return len(state.pods()), least or 0


def scale(state: BudgetState) -> int:
    """What the controllers of the covered pods want; pods without a scale subresource don't count."""
    return sum(w.seed.replicas for w in state.workloads if w.seed.kind in _SCALED and w.pods)


def _share(said: int | str, of: int) -> int:
    """A number or a percentage, rounded up as the disruption controller does."""
    return math.ceil(int(said.rstrip("%")) * of / 100) if isinstance(said, str) else said


def _needs_no_budget(pod: Pod) -> bool:
    """eviction.go canIgnorePDB: finished, pending and terminating pods."""
    return pod.phase in ("Succeeded", "Failed", "Pending") or pod.terminating_since is not None


def _unhealthy_may_go(budget: Budget) -> bool:
    """eviction.go: unhealthyPodEvictionPolicy, by default IfHealthyBudget."""
    return budget.always_allow_unhealthy or (
        budget.observed and budget.healthy >= budget.desired_healthy and budget.desired_healthy > 0
    )
