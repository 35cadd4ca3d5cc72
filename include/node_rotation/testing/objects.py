"""The objects of a Kubernetes cluster in memory, indexed so that a change costs what changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from node_rotation.testing.clock import Event, VirtualClock
from node_rotation.testing.seeds import Workload as WorkloadSeed
from node_rotation.world.kubernetes import Node, Owner, Pod, Taint

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
SYSTEM_TAINTS = (NOT_READY, UNREACHABLE, UNSCHEDULABLE)


@dataclass(slots=True)
class WorkloadState:
    """A workload and its pods (by uid, in the order they were made)."""

    seed: WorkloadSeed
    uid: str
    labels: Mapping[str, str]
    owner: Owner | None
    pods: dict[str, Pod] = field(default_factory=dict)
    made: int = 0
    rolled_for: str = ""
    outdated: set[str] = field(default_factory=set)

    @property
    def key(self) -> tuple[str, str, str]:
        """Kind, namespace and name."""
        return (self.seed.kind, self.seed.namespace, self.seed.name)

    def active(self) -> list[Pod]:
        """Pods that a controller counts: not on their way out."""
        return [pod for pod in self.pods.values() if pod.terminating_since is None]


PodChange = Callable[[WorkloadState, Pod | None, Pod | None, str], None]
"""What listeners are told: the workload, the pod before and after (None: it is not there), and the cause."""


class Objects:
    """Nodes, pods and workloads. Values are frozen; a write replaces one and tells who listens."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.nodes: dict[str, Node] = {}
        self.kubelets: dict[str, bool] = {}
        self.pods: dict[str, Pod] = {}
        self.pods_on: dict[str, dict[str, None]] = {}
        self.workload_of: dict[str, WorkloadState] = {}
        self.workloads: dict[tuple[str, str, str], WorkloadState] = {}
        self.leaving: dict[str, Event] = {}
        self.on_pod: list[PodChange] = []
        self.on_node: list[Callable[[Node | None, Node | None], None]] = []
        self.version = 0
        self._ids = 0

    def new_uid(self) -> str:
        """A uid that no other object has, reproducible."""
        self._ids += 1
        return f"00000000-0000-4000-8000-{self._ids:012x}"

    def put_node(self, node: Node) -> None:
        """Write a Node, with the taints that Kubernetes itself puts on it."""
        before = self.nodes.get(node.name)
        after = self.nodes[node.name] = replace(node, taints=_taints(node))
        self.pods_on.setdefault(node.name, {})
        self.version += 1
        for listener in self.on_node:
            listener(before, after)

    def drop_node(self, name: str) -> None:
        """Remove a Node; its pods stay until somebody collects them."""
        before = self.nodes.pop(name, None)
        self.version += 1
        for listener in self.on_node:
            listener(before, None)

    def put_pod(self, workload: WorkloadState, pod: Pod, cause: str) -> None:
        """Write a pod, new or changed."""
        before = self.pods.get(pod.uid)
        self.pods[pod.uid] = workload.pods[pod.uid] = pod
        self.workload_of[pod.uid] = workload
        if pod.node:
            self.pods_on.setdefault(pod.node, {})[pod.uid] = None
        self._tell(workload, before, pod, cause)

    def change_pod(self, uid: str, cause: str, **fields: Any) -> None:
        """Change some fields of a pod; nothing happens if it is gone or already so."""
        pod = self.pods.get(uid)
        if pod and any(getattr(pod, name) != value for name, value in fields.items()):
            self.put_pod(self.workload_of[uid], replace(pod, **fields), cause)

    def drop_pod(self, uid: str, cause: str) -> WorkloadState | None:
        """Remove a pod; answers whose it was."""
        pod = self.pods.pop(uid, None)
        if pod is None:
            return None
        workload = self.workload_of.pop(uid)
        del workload.pods[uid]
        self.pods_on.get(pod.node, {}).pop(uid, None)
        if event := self.leaving.pop(uid, None):
            event.cancel()
        self._tell(workload, pod, None, cause)
        return workload

    def same_pod(self, pod: Pod) -> Pod | None:
        """The pod of this name, if it still has this uid."""
        now = self.pods.get(pod.uid)
        return now if now and now.key == pod.key else None

    def pods_of_node(self, name: str) -> list[Pod]:
        """The pods bound to a node."""
        return [self.pods[uid] for uid in self.pods_on.get(name, ())]

    def runs(self, pod: Pod) -> bool:
        """Whether a kubelet really runs this pod, whatever the API server says."""
        return self.kubelets.get(pod.node, False)

    def _tell(self, workload: WorkloadState, before: Pod | None, after: Pod | None, cause: str) -> None:
        self.version += 1
        for listener in self.on_pod:
            listener(workload, before, after, cause)


def _taints(node: Node) -> tuple[Taint, ...]:
    """The node's own taints and those of the node lifecycle controller.

    Source: https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-based-evictions
    """
    own = [taint for taint in node.taints if taint[0] not in SYSTEM_TAINTS]
    if not node.ready:
        key = UNREACHABLE if node.ready_reason == "NodeStatusUnknown" else NOT_READY
        own += [(key, "", "NoSchedule"), (key, "", "NoExecute")]
    if node.unschedulable:
        own.append((UNSCHEDULABLE, "", "NoSchedule"))
    return tuple(own)
