"""A real API server behind the protocol :class:`~node_rotation.world.clients.Cluster`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from node_rotation.clients import kubernetes_values as values
from node_rotation.clients.etcd import probe
from node_rotation.clients.kubernetes_api import Api, Json
from node_rotation.clients.kubernetes_errors import (
    cause_of,
    denied_by_webhook,
    message_of,
    other_uid,
    retry_after_s,
    translate,
    translate_connection,
)
from node_rotation.clients.kubernetes_objects import KubernetesObjects
from node_rotation.clients.wall import WallClock
from node_rotation.control_plane.values import ControlPlane, EtcdAccess
from node_rotation.errors import ConflictError, GoneError, PermanentError
from node_rotation.names import LEASE_NAME, LEASE_NAMESPACE, ROLLED_FOR
from node_rotation.workloads.volume import Volume
from node_rotation.world.answers import (
    Denied,
    Evicted,
    EvictionAnswer,
    Misconfigured,
    PodGone,
    RefusedByBudget,
    Throttled,
)
from node_rotation.world.clients import Clock
from node_rotation.world.kubernetes import Budget, Lease, Node, Pod, Taint, Workload

if TYPE_CHECKING:
    from kubernetes.client import ApiClient


LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{LEASE_NAMESPACE}/leases"
WORKLOADS = {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}
TAINT_ATTEMPTS = 6
# 500s that pass by themselves: a slow etcd, an admission webhook whose pods move, a restarting API server.
_PASSING = re.compile(r"etcdserver|timed? ?out|timeout|webhook|connection|context (deadline|canceled)", re.IGNORECASE)


class KubernetesCluster:
    """One Kubernetes cluster.

    :param client: carries address, credentials and their refreshing.
    :param clock: stamps new Leases.
    """

    def __init__(self, client: ApiClient, clock: Clock | None = None) -> None:
        self._api = Api(client)
        self._clock = clock or WallClock()
        self._objects = KubernetesObjects(self._api)

    @property
    def objects(self) -> KubernetesObjects:
        """Objects of any kind."""
        return self._objects

    def nodes(self) -> tuple[Node, ...]:
        """Every Node."""
        return tuple(values.node(n) for n in self._api.items("/api/v1/nodes", "nodes"))

    def pods(self) -> tuple[Pod, ...]:
        """Every pod, finished ones included."""
        return tuple(values.pod(p) for p in self._api.items("/api/v1/pods", "pods"))

    def budgets(self) -> tuple[Budget, ...]:
        """Every PodDisruptionBudget that has a selector."""
        return values.budgets(self._api.items("/apis/policy/v1/poddisruptionbudgets", "poddisruptionbudgets"))

    def workloads(self) -> tuple[Workload, ...]:
        """Every Deployment, StatefulSet and DaemonSet."""
        return tuple(
            values.workload(kind, found)
            for kind, plural in WORKLOADS.items()
            for found in self._api.items(f"/apis/apps/v1/{plural}", plural)
        )

    def volumes(self) -> tuple[Volume, ...]:
        """Every PersistentVolume, with the nodes that VolumeAttachments name."""
        volumes = self._api.items("/api/v1/persistentvolumes", "persistentvolumes")
        attachments = self._api.items("/apis/storage.k8s.io/v1/volumeattachments", "volumeattachments")
        return values.volumes(volumes, attachments)

    def minor_version(self) -> int:
        """The API server's minor version; EKS writes ``36+``."""
        said = str(self._api.call("GET", "/version", "the API server's version").get("minor", ""))
        digits = re.match(r"\d+", said)
        if not digits:
            raise PermanentError(f"the API server {self._api.host} names no minor version: {said!r}")
        return int(digits[0])

    def control_plane(self, etcd: Mapping[str, EtcdAccess]) -> ControlPlane:
        """``/readyz``, and the health of these etcd clusters.

        https://kubernetes.io/docs/reference/using-api/health-checks/

        :raises TransientError: if the API server can't be reached: then nothing is known.
        """
        try:
            self._api.raw("GET", "/readyz")
            ready, said = True, "ok"
        except ApiException as error:
            if error.status != 500:  # 500 is its own "not ready"
                raise translate(error, "get", "/readyz") from error
            ready, said = False, message_of(error)
        except (HTTPError, OSError) as error:
            raise translate_connection(error, self._api.host, "get", "/readyz") from error
        return ControlPlane(ready, said, probe(etcd))

    def cordon(self, node: str, uid: str) -> None:
        """Set ``spec.unschedulable``; :raises GoneError: if the node is gone or another one."""
        self._patch_node(node, {"metadata": {"uid": uid}, "spec": {"unschedulable": True}})

    def uncordon(self, node: str, uid: str) -> None:
        """Clear ``spec.unschedulable``; :raises GoneError: as above."""
        self._patch_node(node, {"metadata": {"uid": uid}, "spec": {"unschedulable": None}})

    def annotate(self, node: str, uid: str, annotations: Mapping[str, str | None]) -> None:
        """Set annotations; None removes one."""
        self._patch_node(node, {"metadata": {"uid": uid, "annotations": dict(annotations)}})

    def label(self, node: str, uid: str, labels: Mapping[str, str | None]) -> None:
        """Set labels; None removes one."""
        self._patch_node(node, {"metadata": {"uid": uid, "labels": dict(labels)}})

    def taint(self, node: str, uid: str, taint: Taint) -> None:
        """Add a taint, others kept; a no-op if it is there."""
        key, value, effect = taint
        wanted = {"key": key, "effect": effect} | ({"value": value} if value else {})

        def added(taints: list[Json]) -> list[Json]:
            if any(values.taint(t) == taint for t in taints):
                return taints
            # A taint is known by key and effect: the same pair with another value is replaced.
            return [t for t in taints if (t["key"], t["effect"]) != (key, effect)] + [wanted]

        self._edit_taints(node, uid, added)

    def untaint(self, node: str, uid: str, key: str) -> None:
        """Remove the taints with this key, others kept."""
        self._edit_taints(node, uid, lambda taints: [t for t in taints if t["key"] != key])

    def _edit_taints(self, node: str, uid: str, edit: Callable[[list[Json]], list[Json]]) -> None:
        """Taints are one list without merge keys: read, edit, write if nobody wrote in between."""
        for _ in range(TAINT_ATTEMPTS):
            found = self._api.call("GET", _node(node), f"node {node}")
            _same(found, node, uid)
            taints = (found.get("spec") or {}).get("taints") or []
            edited = edit(taints)
            if edited == taints:
                return
            version = found["metadata"]["resourceVersion"]
            patch = {"metadata": {"uid": uid, "resourceVersion": version}, "spec": {"taints": edited or None}}
            try:
                self._patch_node(node, patch)
            except ConflictError:
                continue
            return
        raise ConflictError(f"the taints of node {node} were changed by others {TAINT_ATTEMPTS} times in a row")

    def _patch_node(self, node: str, patch: Mapping[str, Any]) -> None:
        self._api.merge(_node(node), f"node {node}", patch)

    def delete_node(self, node: str, uid: str) -> None:
        """Delete the Node object if it is still this one; gone is fine."""
        self._delete(_node(node), f"node {node}", {"preconditions": {"uid": uid}})

    def delete_pod(self, pod: Pod, grace_s: float | None = None) -> None:
        """Delete by UID, without asking budgets; gone is fine.

        :param grace_s: overrides the pod's own grace period; seconds.
        """
        self._delete(_pod(pod), f"pod {pod.key}", {"preconditions": {"uid": pod.uid}, **_grace(grace_s)})

    def _delete(self, path: str, what: str, options: Json) -> None:
        body = {"apiVersion": "v1", "kind": "DeleteOptions", **options}
        try:
            self._api.call("DELETE", path, what, body=body)
        except GoneError:
            return

    def evict(self, pod: Pod, grace_s: float | None = None) -> EvictionAnswer:
        """Ask for an eviction with the pod's UID as precondition.

        https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/#how-api-initiated-eviction-works

        :param grace_s: overrides the pod's own grace period; seconds.
        :raises TransientError: if the API server, not a budget or a webhook, was in the way.
        """
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.name, "namespace": pod.namespace},
            "deleteOptions": {"preconditions": {"uid": pod.uid}, **_grace(grace_s)},
        }
        try:
            self._api.raw("POST", f"{_pod(pod)}/eviction", body=body)
        except ApiException as error:
            answer = _eviction_answer(error)
            if answer is None:
                raise translate(error, "create", f"pods/eviction of {pod.key}") from error
            return answer
        except (HTTPError, OSError) as error:
            raise translate_connection(error, self._api.host, "evict", f"pod {pod.key}") from error
        return Evicted()

    def roll(self, deployment: Workload, reason: str) -> None:
        """Have a Deployment replace its pods, as ``kubectl rollout restart``; the same reason rolls it once.

        :raises GoneError: if the Deployment is gone or another one.
        """
        path = f"/apis/apps/v1/namespaces/{deployment.namespace}/deployments/{deployment.name}"
        template = {"metadata": {"annotations": {ROLLED_FOR: reason}}}
        patch = {"metadata": {"uid": deployment.uid}, "spec": {"template": template}}
        self._api.merge(path, f"deployment {deployment.namespace}/{deployment.name}", patch)

    def lease(self) -> Lease | None:
        """The rotation's Lease of this cluster, or None."""
        try:
            return values.lease(self._api.call("GET", f"{LEASES}/{LEASE_NAME}", _LEASE))
        except GoneError:
            return None

    def create_lease(self, holder: str, duration_s: float, annotations: Mapping[str, str]) -> Lease:
        """:raises ConflictError: if there is one already."""
        now = self._clock.now()
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": LEASE_NAME, "namespace": LEASE_NAMESPACE, "annotations": dict(annotations)},
            "spec": _lease_spec(holder, duration_s, now, now),
        }
        return values.lease(self._api.call("POST", LEASES, _LEASE, body=body))

    def update_lease(
        self, lease: Lease, *, holder: str, duration_s: float, annotations: Mapping[str, str], renewed_at: float
    ) -> Lease:
        """Replace it if ``lease.version`` is still current.

        :raises ConflictError: if it was changed, or deleted, meanwhile.
        """
        # A patch, because a PUT would bring a deleted Lease back: the API server creates Leases on update. As the
        # version is a precondition, the annotations to remove are known.
        removed = dict.fromkeys(lease.annotations.keys() - annotations.keys())
        meta = {"resourceVersion": lease.version, "annotations": removed | dict(annotations)}
        acquired_at = lease.acquired_by(holder, renewed_at)
        patch = {"metadata": meta, "spec": _lease_spec(holder, duration_s, renewed_at, acquired_at)}
        try:
            return values.lease(self._api.merge(f"{LEASES}/{LEASE_NAME}", _LEASE, patch))
        except GoneError as error:
            raise ConflictError(f"{_LEASE} was deleted meanwhile") from error

    def delete_lease(self, lease: Lease) -> None:
        """Delete it if ``lease.version`` is still current; gone is fine.

        :raises ConflictError: if it was changed meanwhile.
        """
        options = {"preconditions": {"resourceVersion": lease.version}}
        self._delete(f"{LEASES}/{LEASE_NAME}", _LEASE, options)


_LEASE = f"lease {LEASE_NAMESPACE}/{LEASE_NAME}"


def _node(name: str) -> str:
    return f"/api/v1/nodes/{name}"


def _pod(pod: Pod) -> str:
    return f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"


def _grace(grace_s: float | None) -> Json:
    return {} if grace_s is None else {"gracePeriodSeconds": round(grace_s)}


def _same(found: Json, node: str, uid: str) -> None:
    if found["metadata"]["uid"] != uid:
        raise GoneError(f"node {node} is gone, another one has its name (UID {found['metadata']['uid']}, not {uid})")


def _lease_spec(holder: str, duration_s: float, renewed_at: float, acquired_at: float) -> Json:
    return {
        "holderIdentity": holder,
        "leaseDurationSeconds": max(1, round(duration_s)),
        "renewTime": values.micro_time(renewed_at),
        "acquireTime": values.micro_time(acquired_at),
    }


def _eviction_answer(error: ApiException) -> EvictionAnswer | None:
    """What a refused eviction means; None if it is an error like any other."""
    said = message_of(error)
    if denied_by_webhook(error):
        return Denied(said)
    if error.status == 429 and cause_of(error) == "DisruptionBudget":
        return RefusedByBudget(said, retry_after_s(error, 5.0))
    if error.status == 429:
        return Throttled(retry_after_s(error, 1.0))
    if error.status == 404 or other_uid(error):
        return PodGone()
    if error.status == 403 and cause_of(error) == "NamespaceTerminating":
        return Throttled(5.0)  # the namespace's deletion takes the pod with it, nothing to evict
    if error.status == 500 and not _PASSING.search(said):
        return Misconfigured(said)
    return None
