"""The ``Cluster`` protocol over a Kubernetes cluster in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from node_rotation.control_plane.values import ControlPlane, EtcdAccess, EtcdCluster, EtcdMember
from node_rotation.errors import ConflictError, GoneError, PermanentError
from node_rotation.ledger import MAX_BYTES
from node_rotation.testing.controllers import Controllers, fits_daemon
from node_rotation.testing.disruption import Disruption
from node_rotation.testing.faults import Journal, ThrottledError
from node_rotation.testing.objects import Objects, WorkloadState
from node_rotation.testing.outside import MemoryObjects
from node_rotation.workloads.volume import Volume
from node_rotation.world.answers import Evicted, EvictionAnswer, Throttled
from node_rotation.world.kubernetes import Budget, Lease, Node, Pod, Taint, Workload

KUBERNETES = "kubernetes"
_SHOWN = ("Deployment", "StatefulSet", "DaemonSet")
_Seen = TypeVar("_Seen")


class MemoryCluster:
    """An API server as a rotation sees it; every call goes through the journal."""

    def __init__(
        self, objects: Objects, controllers: Controllers, disruption: Disruption, journal: Journal, minor: int = 36
    ) -> None:
        self._objects, self._controllers, self._disruption = objects, controllers, disruption
        self._journal, self._minor = journal, minor
        self._any = MemoryObjects(journal)
        self._lease: Lease | None = None
        self._lease_writes = 0
        self._seen: dict[str, tuple[int, object]] = {}
        self.etcd: Callable[[str, Sequence[str]], EtcdCluster] = _no_etcd
        self.on_lease: Callable[[Lease | None], None] | None = None

    @property
    def objects(self) -> MemoryObjects:
        """Objects of any kind."""
        return self._any

    @property
    def current_lease(self) -> Lease | None:
        """The Lease as it stands, for who watches from outside: no call."""
        return self._lease

    def nodes(self) -> tuple[Node, ...]:
        """Every Node."""
        self._journal.read(KUBERNETES, "nodes")
        return self._cached("nodes", self._objects.version, lambda: tuple(self._objects.nodes.values()))

    def pods(self) -> tuple[Pod, ...]:
        """Every pod."""
        self._journal.read(KUBERNETES, "pods")
        return self._cached("pods", self._objects.version, lambda: tuple(self._objects.pods.values()))

    def budgets(self) -> tuple[Budget, ...]:
        """Every PodDisruptionBudget."""
        self._journal.read(KUBERNETES, "budgets")
        states = self._disruption.budgets
        return self._cached("budgets", self._disruption.version, lambda: tuple(s.value for s in states.values()))

    def workloads(self) -> tuple[Workload, ...]:
        """Every Deployment, StatefulSet and DaemonSet."""
        self._journal.read(KUBERNETES, "workloads")
        return (*self._cached("workloads", self._objects.version, self._workloads), *self._any.deployments())

    def volumes(self) -> tuple[Volume, ...]:
        """Every PersistentVolume."""
        self._journal.read(KUBERNETES, "volumes")
        return self._controllers.volumes.seen()

    def minor_version(self) -> int:
        """The API server's minor version."""
        self._journal.read(KUBERNETES, "minor_version")
        return self._minor

    def control_plane(self, etcd: Mapping[str, EtcdAccess]) -> ControlPlane:
        """``/readyz``, and the health of these etcd clusters."""
        self._journal.read(KUBERNETES, "control_plane")
        return ControlPlane(True, "ok", tuple(self.etcd(name, access.endpoints) for name, access in etcd.items()))

    def cordon(self, node: str, uid: str) -> None:
        """Set ``spec.unschedulable``."""
        with self._journal.mutation(KUBERNETES, "cordon", node=node):
            self._write(replace(self._node(node, uid), unschedulable=True))

    def uncordon(self, node: str, uid: str) -> None:
        """Clear ``spec.unschedulable``."""
        with self._journal.mutation(KUBERNETES, "uncordon", node=node):
            self._write(replace(self._node(node, uid), unschedulable=False))

    def taint(self, node: str, uid: str, taint: Taint) -> None:
        """Add a taint, or change the value of the one with this key and effect."""
        others = tuple(t for t in self._node(node, uid).taints if (t[0], t[2]) != (taint[0], taint[2]))
        self._write_taints(node, uid, "taint", (*others, taint), taint)

    def untaint(self, node: str, uid: str, key: str) -> None:
        """Remove the taints with this key."""
        left = tuple(t for t in self._node(node, uid).taints if t[0] != key)
        self._write_taints(node, uid, "untaint", left, key)

    def annotate(self, node: str, uid: str, annotations: Mapping[str, str | None]) -> None:
        """Set annotations; None removes one."""
        with self._journal.mutation(KUBERNETES, "annotate", node=node, annotations=dict(annotations)):
            now = self._node(node, uid)
            merged = _merged(now.annotations, annotations)
            _fits(merged)
            self._write(replace(now, annotations=merged))

    def label(self, node: str, uid: str, labels: Mapping[str, str | None]) -> None:
        """Set labels; None removes one."""
        with self._journal.mutation(KUBERNETES, "label", node=node, labels=dict(labels)):
            now = self._node(node, uid)
            self._write(replace(now, labels=_merged(now.labels, labels)))

    def delete_node(self, node: str, uid: str) -> None:
        """Delete the Node object if it is still this one; gone is fine."""
        with self._journal.mutation(KUBERNETES, "delete_node", node=node):
            self.remove_node(node, uid)

    def remove_node(self, node: str, uid: str) -> None:
        """Let a Node object go, as the cloud controller does; its pods are collected later."""
        now = self._objects.nodes.get(node)
        if now and now.uid == uid:
            self._objects.drop_node(node)
            self._objects.clock.after(self._controllers.timing.pod_gc, lambda: self._collect(node))

    def evict(self, pod: Pod, grace_s: float | None = None) -> EvictionAnswer:
        """Ask for an eviction; only a granted one counts as a mutation."""
        try:
            return self._evict(pod, grace_s)
        except ThrottledError as error:
            return Throttled(error.retry_after_s)

    def _evict(self, pod: Pod, grace_s: float | None) -> EvictionAnswer:
        answer = self._disruption.answer(pod)
        if not isinstance(answer, Evicted):
            self._journal.read(KUBERNETES, "evict")
            return answer
        with self._journal.mutation(KUBERNETES, "evict", pod=pod.key, node=pod.node):
            return self._disruption.evict(pod, grace_s)

    def delete_pod(self, pod: Pod, grace_s: float | None = None) -> None:
        """Delete by UID, without asking budgets; gone is fine."""
        with self._journal.mutation(KUBERNETES, "delete_pod", pod=pod.key, node=pod.node):
            if now := self._objects.same_pod(pod):
                self._controllers.delete(now, grace_s, "deletion")

    def roll(self, deployment: Workload, reason: str) -> None:
        """Have a Deployment replace its pods; the same reason rolls it once."""
        with self._journal.mutation(KUBERNETES, "roll", deployment=deployment.key, reason=reason):
            state = self._objects.workloads.get((deployment.kind, deployment.namespace, deployment.name))
            if state is None or state.uid != deployment.uid:
                raise GoneError(f"{deployment.key} is gone.")
            self._controllers.roll(state, reason)

    def lease(self) -> Lease | None:
        """The rotation's Lease, or None."""
        self._journal.read(KUBERNETES, "lease")
        return self._lease

    def create_lease(self, holder: str, duration_s: float, annotations: Mapping[str, str]) -> Lease:
        """:raises ConflictError: if there is one already."""
        with self._journal.mutation(KUBERNETES, "create_lease", holder=holder):
            _fits(annotations)
            if self._lease:
                raise ConflictError(f"The Lease exists already; {self._lease.holder} holds it.")
            now = self._objects.clock.now()
            return self._put_lease(Lease(holder, now, duration_s, dict(annotations), "", now))

    def update_lease(
        self, lease: Lease, *, holder: str, duration_s: float, annotations: Mapping[str, str], renewed_at: float
    ) -> Lease:
        """:raises ConflictError: if it was changed, or deleted, meanwhile."""
        with self._journal.mutation(KUBERNETES, "update_lease", holder=holder):
            _fits(annotations)
            self._check_lease(lease)
            acquired_at = lease.acquired_by(holder, renewed_at)
            return self._put_lease(Lease(holder, renewed_at, duration_s, dict(annotations), "", acquired_at))

    def delete_lease(self, lease: Lease) -> None:
        """:raises ConflictError: if it changed meanwhile; gone is fine."""
        with self._journal.mutation(KUBERNETES, "delete_lease", holder=lease.holder):
            if self._lease:
                self._check_lease(lease)
                self._lease = None
                self._tell_lease()

    def _put_lease(self, lease: Lease) -> Lease:
        self._lease_writes += 1
        self._lease = replace(lease, version=str(self._lease_writes))
        self._tell_lease()
        return self._lease

    def _tell_lease(self) -> None:
        if self.on_lease:
            self.on_lease(self._lease)

    def _check_lease(self, lease: Lease) -> None:
        if self._lease is None:
            raise ConflictError("The Lease was deleted meanwhile.")
        if self._lease.version != lease.version:
            raise ConflictError(f"The Lease changed: {self._lease.holder} wrote it.")

    def _node(self, name: str, uid: str) -> Node:
        node = self._objects.nodes.get(name)
        if node is None or node.uid != uid:
            raise GoneError(f"Node {name} is gone." if node is None else f"Node {name} is another one now.")
        return node

    def _write_taints(self, node: str, uid: str, action: str, taints: tuple[Taint, ...], what: object) -> None:
        """Taints are read before they are written: what is so already is not written again."""
        if set(self._node(node, uid).taints) == set(taints):
            self._journal.read(KUBERNETES, action)
            return
        with self._journal.mutation(KUBERNETES, action, node=node, taint=what):
            self._write(replace(self._node(node, uid), taints=taints))

    def _write(self, node: Node) -> None:
        before = self._objects.nodes[node.name]
        if node != before:
            self._objects.put_node(node)
            if (node.unschedulable, node.taints) != (before.unschedulable, before.taints):
                self._controllers.node_changed(node.name)

    def _collect(self, node: str) -> None:
        """Kubernetes' pod garbage collector: pods of a node that is no more are removed by force."""
        if node not in self._objects.nodes:
            for pod in self._objects.pods_of_node(node):
                self._controllers.gone(pod.uid, "node gone")

    def _cached(self, name: str, version: int, make: Callable[[], _Seen]) -> _Seen:
        known = self._seen.get(name)
        if known is None or known[0] != version:
            known = self._seen[name] = (version, make())
        return known[1]  # type: ignore[return-value]

    def _workloads(self) -> tuple[Workload, ...]:
        shown = (w for w in self._objects.workloads.values() if w.seed.kind in _SHOWN)
        return tuple(self._workload(workload) for workload in shown)

    def _workload(self, workload: WorkloadState) -> Workload:
        seed, nodes = workload.seed, self._objects.nodes
        pods = workload.active()
        desired, lacking = seed.replicas, 0
        if seed.kind == "DaemonSet":
            homes = {node.name for node in nodes.values() if fits_daemon(workload, node)}
            pods = [pod for pod in pods if pod.node in homes]
            desired, lacking = len(homes), len(homes - {pod.node for pod in workload.pods.values()})
        ready = sum(pod.ready for pod in pods)
        return Workload(
            seed.kind,
            seed.namespace,
            seed.name,
            workload.uid,
            desired,
            ready,
            surges=seed.kind == "Deployment",
            rolled_for=workload.rolled_for,
            lacking=lacking,
        )


def _no_etcd(name: str, endpoints: Sequence[str]) -> EtcdCluster:
    return EtcdCluster(name, tuple(EtcdMember(endpoint, False, "connection refused") for endpoint in endpoints))


def _fits(annotations: Mapping[str, str]) -> None:
    """As the API server: names and values together (apimachinery, ``ValidateAnnotationsSize``)."""
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > MAX_BYTES:
        raise PermanentError(f"metadata.annotations: Too long: may not be more than {MAX_BYTES} bytes")


def _merged(now: Mapping[str, str], change: Mapping[str, str | None]) -> dict[str, str]:
    kept = {key: value for key, value in now.items() if key not in change}
    return {**kept, **{key: value for key, value in change.items() if value is not None}}
