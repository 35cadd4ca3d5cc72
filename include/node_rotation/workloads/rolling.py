"""Single replicas: their Deployment starts a successor elsewhere before the old pod goes, so nothing is down."""

from __future__ import annotations

from collections.abc import Iterable

from node_rotation.health import workload_of
from node_rotation.world.kubernetes import Pod, Workload


def to_roll(pod: Pod, workloads: Iterable[Workload]) -> Workload | None:
    """The Deployment to be rolled so that this pod is replaced before it goes, or None.

    Only a Deployment of one replica whose strategy starts the new pod first, and whose pod mounts no claim: a volume
    that only one machine may attach would keep the successor waiting for the old pod.
    https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#rolling-update-deployment
    A pod that is not Ready serves nobody, and what broke it may break its successor, which it would then wait for.

    :param workloads: of the whole cluster; those of other namespaces don't matter.
    """
    if pod.owner is None or pod.owner.kind != "ReplicaSet" or pod.claims:
        return None
    singles = [w for w in workloads if w.surges and w.desired == 1 and w.namespace == pod.namespace]
    key = workload_of(pod, singles)
    return next((w for w in singles if w.key == key and (pod.ready or w.rolled_for == pod.uid)), None)
