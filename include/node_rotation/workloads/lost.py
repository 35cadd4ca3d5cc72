"""Pods that nobody can end: they were told to go, and the kubelet of their node is not heard of any more.

Kubernetes never removes them until their Node goes, because it can't know whether they still run; once its machine is
terminated they don't (https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/).
"""

from __future__ import annotations

from node_rotation.health import UNHEARD
from node_rotation.world.kubernetes import Node, Pod
from node_rotation.world.snapshot import Snapshot


def lost(pod: Pod, node: Node, snapshot: Snapshot) -> str:
    """Why a pod does not keep its machine although it is still there; empty if that is not so.

    Where nobody could look for a while, its kubelet has the pod's grace period anew to be heard of.

    :param node: the pod's.
    """
    if pod.terminating_since is None or node.ready or node.ready_reason != UNHEARD:
        return ""
    if snapshot.taken_at - max(pod.terminating_since, snapshot.watched_since) <= pod.grace_s:
        return ""
    return (
        f"pod {pod.key} is terminating, past its grace period of {pod.grace_s:.0f}s, and nobody hears of the kubelet "
        f"of node {node.name} that would end it ({UNHEARD}): it goes with its machine"
    )
