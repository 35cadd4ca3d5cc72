"""Workload controllers, scheduler and kubelets in memory: pods come, become Ready, and go.

Sources: https://kubernetes.io/docs/concepts/workloads/controllers/ and
https://kubernetes.io/docs/concepts/scheduling-eviction/
"""

from __future__ import annotations

import random
from collections import Counter

from node_rotation.testing.objects import SYSTEM_TAINTS, Objects, WorkloadState
from node_rotation.testing.seeds import Timing
from node_rotation.testing.seeds import Workload as WorkloadSeed
from node_rotation.testing.volumes import Volumes
from node_rotation.world.kubernetes import Node, Owner, Pod

ZONE = "topology.kubernetes.io/zone"
DEFAULT_GRACE_S = 30.0
_PRIORITY = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}


class Controllers:
    """Everything that makes, places, starts and stops pods.

    :param seed: of the jitter with which pods stop.
    """

    def __init__(self, objects: Objects, timing: Timing, seed: int) -> None:
        self.objects, self.timing = objects, timing
        self._random = random.Random(seed)
        self.volumes = Volumes(objects.clock, timing.volume_detach)
        self.volumes.on_detached.append(self._start_waiting)
        self._pending: dict[str, None] = {}

    def add(self, seed: WorkloadSeed) -> WorkloadState:
        """Create a workload; its pods follow at once."""
        uid = self.objects.new_uid()
        labels = {"app": seed.name, **seed.labels}
        workload = WorkloadState(seed, uid, labels, _owner(seed, uid))
        self.objects.workloads[workload.key] = workload
        if seed.kind == "Pod":
            self._make(workload, seed.name)
        elif seed.kind == "DaemonSet":
            for node in list(self.objects.nodes.values()):
                self._daemon(workload, node)
        else:
            self.reconcile(workload)
        return workload

    def reconcile(self, workload: WorkloadState) -> None:
        """Make the pods that are missing, as each kind of controller does it."""
        kind = workload.seed.kind
        if kind == "StatefulSet":
            self._ordinals(workload)
        elif kind in ("Deployment", "Job"):
            for _ in range(workload.seed.replicas - len(workload.active())):
                workload.made += 1
                self._make(workload, f"{_owner_name(workload)}-{workload.made:05d}")

    def roll(self, workload: WorkloadState, reason: str) -> None:
        """A Deployment's rolling update with one pod more: the new one first, an old one goes when it is Ready.

        Source: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#rolling-update-deployment
        """
        if workload.rolled_for == reason:
            return  # the template did not change
        workload.rolled_for = reason
        self.objects.version += 1
        workload.outdated = {pod.uid for pod in workload.active()}
        self._next_successor(workload)

    def _next_successor(self, workload: WorkloadState) -> None:
        if workload.outdated:
            workload.made += 1
            self._make(workload, f"{_owner_name(workload)}-{workload.made:05d}")

    def _retire(self, workload: WorkloadState) -> None:
        """A successor is Ready: the oldest of the outdated pods goes, then the next one is made."""
        uid = min(workload.outdated)
        workload.outdated.discard(uid)
        if old := self.objects.pods.get(uid):
            self.delete(old, None, "rolled")
        self._next_successor(workload)

    def node_changed(self, name: str) -> None:
        """A node came, became schedulable or not, Ready or not: daemons start, waiting pods are placed."""
        node = self.objects.nodes[name]
        for workload in self.objects.workloads.values():
            if workload.seed.kind == "DaemonSet":
                self._daemon(workload, node)
        self.schedule()

    def node_ready(self, name: str) -> None:
        """The kubelet is (again) Ready: its pods become so after their time."""
        for pod in self.objects.pods_of_node(name):
            self._start(pod)

    def schedule(self) -> None:
        """Bind the pods that wait, in their order, wherever a node will have them."""
        for uid in list(self._pending):
            pod = self.objects.pods.get(uid)
            if pod is None or pod.terminating_since is not None:
                self._pending.pop(uid)
            elif node := self._place(self.objects.workload_of[uid], pod):
                self._pending.pop(uid)
                now = self.objects.clock.now()
                self.objects.change_pod(uid, "scheduled", node=node.name, phase="Running", started_at=now)
                self._start(self.objects.pods[uid])

    def delete(self, pod: Pod, grace_s: float | None, cause: str) -> None:
        """Give a pod its deletion timestamp; it goes after its time, sooner with a shorter grace.

        Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
        """
        workload = self.objects.workload_of[pod.uid]
        now = self.objects.clock.now()
        if pod.terminating_since is None:
            self.objects.change_pod(pod.uid, cause, terminating_since=now)
        if not pod.node:
            self.gone(pod.uid, cause)
        elif self.objects.runs(pod):
            self._stop(pod, workload, grace_s)
        elif grace_s == 0:
            self.gone(pod.uid, cause)
        self.reconcile(workload)

    def gone(self, uid: str, cause: str = "stopped") -> None:
        """Remove a pod for good, unless a finalizer holds it; its controller makes up for it."""
        pod = self.objects.pods.get(uid)
        if pod and pod.finalizers:
            self.objects.change_pod(uid, cause, ready=False, phase="Succeeded")
        elif workload := self.objects.drop_pod(uid, cause):
            if pod and pod.claims:
                self.volumes.detach(pod, unmounted=self.objects.runs(pod))
            self._pending.pop(uid, None)
            self._make_up(workload, pod)

    def _make_up(self, workload: WorkloadState, pod: Pod | None) -> None:
        node = self.objects.nodes.get(pod.node) if pod else None
        if workload.seed.kind == "DaemonSet" and node:
            self._daemon(workload, node)
        else:
            self.reconcile(workload)

    def _stop(self, pod: Pod, workload: WorkloadState, grace_s: float | None) -> None:
        jitter = self.timing.stop_jitter
        takes = workload.seed.stops_after * (self._random.uniform(1 - jitter, 1 + jitter) if jitter else 1)
        delay = min(takes, pod.grace_s if grace_s is None else grace_s)
        clock, leaving = self.objects.clock, self.objects.leaving
        if earlier := leaving.get(pod.uid):
            if earlier.at <= clock.now() + delay:
                return
            earlier.cancel()
        leaving[pod.uid] = clock.after(delay, lambda: self._stopped(pod))

    def _stopped(self, pod: Pod) -> None:
        self.objects.leaving.pop(pod.uid, None)
        if self.objects.runs(pod):
            self.gone(pod.uid)

    def _start(self, pod: Pod) -> None:
        node = self.objects.nodes.get(pod.node)
        if pod.ready or not (node and node.ready) or not self.volumes.attach(pod, node):
            return
        seed = self.objects.workload_of[pod.uid].seed
        self.objects.clock.after(seed.ready_after, lambda: self._started(pod.uid))

    def _start_waiting(self) -> None:
        """A volume was detached: whoever waits for it starts."""
        for pod in list(self.objects.pods.values()):
            if pod.claims and pod.node and not pod.ready and pod.terminating_since is None:
                self._start(pod)

    def _started(self, uid: str) -> None:
        pod = self.objects.pods.get(uid)
        node = self.objects.nodes.get(pod.node) if pod else None
        if pod and node and node.ready and self.objects.runs(pod) and pod.phase == "Running":
            self.objects.change_pod(uid, "started", ready=True)
            workload = self.objects.workload_of[uid]
            if workload.seed.kind == "StatefulSet":
                self.reconcile(workload)
            elif workload.outdated and uid not in workload.outdated:
                self._retire(workload)

    def _ordinals(self, workload: WorkloadState) -> None:
        """One after the other, each only once its predecessor is Ready (OrderedReady).

        Source: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#deployment-and-scaling-guarantees
        """
        pods = {pod.name: pod for pod in workload.pods.values()}
        for ordinal in range(workload.seed.replicas):
            name = f"{workload.seed.name}-{ordinal}"
            if name not in pods:
                self._make(workload, name)
                return
            if not pods[name].ready or pods[name].terminating_since is not None:
                return

    def _daemon(self, workload: WorkloadState, node: Node) -> None:
        if not fits_daemon(workload, node):
            return
        if not any(pod.node == node.name for pod in workload.pods.values()):
            workload.made += 1
            self._make(workload, f"{workload.seed.name}-{workload.made:05d}", node.name)

    def _make(self, workload: WorkloadState, name: str, node: str = "") -> None:
        seed = workload.seed
        pod = Pod(
            namespace=seed.namespace,
            name=name,
            uid=self.objects.new_uid(),
            node=node,
            phase="Running" if node else "Pending",
            ready=False,
            owner=workload.owner,
            labels=workload.labels,
            annotations=seed.annotations,
            grace_s=max(DEFAULT_GRACE_S, seed.stops_after * (1 + self.timing.stop_jitter)),
            empty_dir=seed.empty_dir,
            claims=(f"data-{name}",) if seed.volume else (),
            finalizers=seed.finalizers,
            priority=_PRIORITY.get(seed.priority_class or "", 0),
            tolerates_everything=seed.tolerate_everything,
            tolerations=(("", "Exists", "", ""),) if seed.tolerate_everything else (),
            started_at=self.objects.clock.now() if node else None,
            created_at=self.objects.clock.now(),
        )
        self.objects.put_pod(workload, pod, "made")
        if node:
            self._start(pod)
        else:
            self._pending[pod.uid] = None
            self.schedule()

    def _place(self, workload: WorkloadState, pod: Pod) -> Node | None:
        """The node that suits best: no soft taint, few siblings in its domain, few pods at all."""
        seed, objects = workload.seed, self.objects
        willing = (n for n in objects.nodes.values() if n.ready and _accepts(n, seed))
        candidates = [n for n in willing if self.volumes.accepts(pod, n)]
        if not candidates:
            return None
        siblings = Counter(
            _domain(objects.nodes[pod.node], seed.spread) for pod in workload.active() if pod.node in objects.nodes
        )
        return min(
            candidates,
            key=lambda node: (
                any(effect == "PreferNoSchedule" for _, _, effect in node.taints),
                siblings[_domain(node, seed.spread)],
                len(objects.pods_on[node.name]),
                node.name,
            ),
        )


def fits_daemon(workload: WorkloadState, node: Node) -> bool:
    """Whether a DaemonSet wants a pod there: the system's own taints never keep it away."""
    if not workload.seed.node_selector.items() <= node.labels.items():
        return False
    hard = [t for t in node.taints if t[2] in ("NoSchedule", "NoExecute") and t[0] not in SYSTEM_TAINTS]
    return workload.seed.tolerate_everything or not hard


def _accepts(node: Node, seed: WorkloadSeed) -> bool:
    if seed.tolerate_everything:
        return True
    hard = any(effect in ("NoSchedule", "NoExecute") for _, _, effect in node.taints)
    return not (hard or node.unschedulable)


def _domain(node: Node, spread: str) -> str:
    """Where siblings should not meet; without a wish the scheduler still spreads over hosts."""
    return node.labels.get(ZONE, "") if spread == "zone" else node.name


def _owner(seed: WorkloadSeed, uid: str) -> Owner | None:
    if seed.kind == "Pod":
        return None
    if seed.kind == "Deployment":
        return Owner("ReplicaSet", f"{seed.name}-7c9d8f6b5", uid)
    return Owner(seed.kind, seed.name, uid)


def _owner_name(workload: WorkloadState) -> str:
    return workload.owner.name if workload.owner else workload.seed.name
