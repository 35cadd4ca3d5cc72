"""The health gate: is the cluster at least as well as before, apart from what was broken already."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from node_rotation.world import Pod, Snapshot, Workload


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was broken before the run touched anything; only regressions against it count.

    :param not_ready: names of nodes.
    :param unhealthy: keys of workloads (``Deployment shop/api``).
    :param broken_budgets: keys of PodDisruptionBudgets below their desired health.
    :param unready_system_pods: keys of pods of ``kube-system``.
    """

    not_ready: frozenset[str] = frozenset()
    unhealthy: frozenset[str] = frozenset()
    broken_budgets: frozenset[str] = frozenset()
    unready_system_pods: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Health:
    """The gate's verdict of one look.

    :param reasons: what is worse than before, each naming its object; empty is green.
    :param image_fault: the cause lies on new nodes.
    """

    reasons: tuple[str, ...] = ()
    image_fault: bool = False

    @property
    def green(self) -> bool:
        """Nothing is worse than before."""
        return not self.reasons


def baseline_of(snapshot: Snapshot) -> Baseline:
    """What is broken now, to be recorded before anything changes."""
    return Baseline()


def judge(
    snapshot: Snapshot,
    baseline: Baseline,
    *,
    evicted: Collection[str],
    new_machines: Collection[str],
    leaving: Collection[str] = (),
) -> Health:
    """Judge the cluster for one batch.

    :param evicted: keys of the workloads whose pods the batch evicted, from :func:`workload_of`.
    :param new_machines: instance ids of the batch's replacements (better: of all of the run's).
    :param leaving: instance ids of old machines in flight in any batch: their Nodes may be anything.
    """
    return Health()


def workload_of(pod: Pod, workloads: Iterable[Workload]) -> str | None:
    """The key of the workload a pod belongs to (a ReplicaSet's Deployment), or None."""
    return None
