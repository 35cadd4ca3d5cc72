"""The scenario's workloads as manifests, created in a cluster and waited for until they are Ready."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Any

from kubernetes import client, utils

from proving_ground import claims
from proving_ground.kube import TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from proving_ground.scenario import Workload

POLL_S = 0.3
_TOPOLOGY = {"hostname": "kubernetes.io/hostname", "zone": "topology.kubernetes.io/zone"}
_BUILT_IN_PRIORITIES = ("system-node-critical", "system-cluster-critical")
_UNKNOWN_YET = "no PriorityClass with name"


class UnreadyError(RuntimeError):
    """Workloads did not become Ready in time; the message names them."""


def manifests(workload: Workload, zones: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The objects a workload consists of, in the order they have to be created.

    :param zones: where there are machines, for volumes.
    """
    objects = [_budget(workload), *claims.manifests(workload, zones), _controller(workload)]
    return [one for one in objects if one is not None]


def create(api: client.ApiClient, workloads: Sequence[Workload]) -> None:
    """Create all of them, and the namespaces and priority classes they want.

    :raises kubernetes.utils.FailToCreateError: the API server refused one; it says why.
    """
    core = client.CoreV1Api(api)
    for namespace in sorted({workload.namespace for workload in workloads}):
        # The API server makes its own namespaces shortly after it is ready: either may be first.
        with _already_there():
            core.create_namespace({"metadata": {"name": namespace}}, _request_timeout=TIMEOUT_S)
    scheduling = client.SchedulingV1Api(api)
    for name in sorted({one.priority_class for one in workloads if one.priority_class}):
        if name not in _BUILT_IN_PRIORITIES:
            with _already_there():
                body = {"metadata": {"name": name}, "value": 1000}
                scheduling.create_priority_class(body, _request_timeout=TIMEOUT_S)
    zones = _zones(core) if any(workload.volume for workload in workloads) else ()
    for workload in workloads:
        for manifest in manifests(workload, zones):
            _create(api, manifest)


def _create(api: client.ApiClient, manifest: Mapping[str, Any]) -> None:
    """Create one object. Admission of pods learns of a new priority class a moment after it is made."""
    until = time.monotonic() + TIMEOUT_S
    while True:
        try:
            utils.create_from_dict(api, manifest)
        except utils.FailToCreateError as refused:
            if _UNKNOWN_YET not in str(refused) or time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


def _zones(core: client.CoreV1Api) -> tuple[str, ...]:
    nodes = core.list_node(_request_timeout=TIMEOUT_S).items
    return tuple(sorted({node.metadata.labels[_TOPOLOGY["zone"]] for node in nodes if not node.spec.taints}))


@contextlib.contextmanager
def _already_there() -> Iterator[None]:
    try:
        yield
    except client.ApiException as error:
        if error.status != 409:
            raise


def wait_ready(api: client.ApiClient, workloads: Iterable[Workload], within_s: float) -> None:
    """Wait until each has all its pods Ready (a Job: started) and its budget has counted them.

    :param within_s: seconds until this gives up.
    :raises UnreadyError: names what is missing.
    """
    deadline = time.monotonic() + within_s
    waiting = list(workloads)
    while True:
        waiting = [workload for workload in waiting if not _is_ready(api, workload)]
        if not waiting:
            return
        if time.monotonic() > deadline:
            names = ", ".join(f"{one.kind} {one.namespace}/{one.name}" for one in waiting)
            raise UnreadyError(f"not Ready within {within_s:.0f} s: {names}; see kubectl get pods -A")
        time.sleep(POLL_S)


def _is_ready(api: client.ApiClient, workload: Workload) -> bool:
    status = _READERS[workload.kind](api, workload.name, workload.namespace)
    return status >= workload.replicas and _budget_counted(api, workload)


def _deployment(api: client.ApiClient, name: str, namespace: str) -> int:
    found = client.AppsV1Api(api).read_namespaced_deployment(name, namespace, _request_timeout=TIMEOUT_S)
    return found.status.ready_replicas or 0


def _stateful_set(api: client.ApiClient, name: str, namespace: str) -> int:
    found = client.AppsV1Api(api).read_namespaced_stateful_set(name, namespace, _request_timeout=TIMEOUT_S)
    return found.status.ready_replicas or 0


def _daemon_set(api: client.ApiClient, name: str, namespace: str) -> int:
    found = client.AppsV1Api(api).read_namespaced_daemon_set(name, namespace, _request_timeout=TIMEOUT_S)
    wanted = found.status.desired_number_scheduled or 0
    ready = found.status.number_ready or 0
    # A cluster without machines wants none, and that is enough.
    counted = found.status.observed_generation and ready >= wanted
    return max(ready, 1) if counted else 0


def _job(api: client.ApiClient, name: str, namespace: str) -> int:
    found = client.BatchV1Api(api).read_namespaced_job(name, namespace, _request_timeout=TIMEOUT_S)
    return (found.status.succeeded or 0) + (found.status.ready or 0)


def _pod(api: client.ApiClient, name: str, namespace: str) -> int:
    found = client.CoreV1Api(api).read_namespaced_pod(name, namespace, _request_timeout=TIMEOUT_S)
    conditions = found.status.conditions or []
    return sum(1 for one in conditions if one.type == "Ready" and one.status == "True")


_READERS: dict[str, Callable[[client.ApiClient, str, str], int]] = {
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Job": _job,
    "Pod": _pod,
}


def _budget_counted(api: client.ApiClient, workload: Workload) -> bool:
    if not workload.budget or workload.kind == "DaemonSet":
        return True
    found = client.PolicyV1Api(api).read_namespaced_pod_disruption_budget(
        workload.name, workload.namespace, _request_timeout=TIMEOUT_S
    )
    return (found.status.current_healthy or 0) >= workload.replicas


def _controller(workload: Workload) -> dict[str, Any]:
    if workload.kind == "Pod":
        return {"apiVersion": "v1", "kind": "Pod", **_pod_template(workload, named=True)}
    spec: dict[str, Any] = {"template": _pod_template(workload)}
    if workload.kind == "Job":
        spec["template"]["spec"]["restartPolicy"] = "Never"
        spec |= {"parallelism": workload.replicas, "completions": workload.replicas}
        return _object("batch/v1", workload, spec)
    spec["selector"] = {"matchLabels": {"app": workload.name}}
    if workload.kind != "DaemonSet":
        spec["replicas"] = workload.replicas
    if workload.kind == "StatefulSet":
        spec["serviceName"] = workload.name
        spec["volumeClaimTemplates"] = [claims.template()] if workload.volume else []
    return _object("apps/v1", workload, spec)


def _object(api_version: str, workload: Workload, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": workload.name, "namespace": workload.namespace, "labels": {"app": workload.name}}
    return {"apiVersion": api_version, "kind": workload.kind, "metadata": metadata, "spec": spec}


def _pod_template(workload: Workload, *, named: bool = False) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "labels": {"app": workload.name} | workload.labels,
        "annotations": _durations(workload) | workload.annotations,
        "finalizers": list(workload.finalizers),
    }
    if named:
        metadata |= {"name": workload.name, "namespace": workload.namespace}
    return {"metadata": metadata, "spec": _pod_spec(workload)}


def _durations(workload: Workload) -> dict[str, str]:
    ready_after = workload.ready_after
    if workload.kind == "DaemonSet" and "ready_after" not in workload.model_fields_set:
        ready_after = 0.0
    return {
        "proving-ground/ready-after": f"{ready_after:g}s",
        "proving-ground/stops-after": f"{workload.stops_after:g}s",
    }


def _pod_spec(workload: Workload) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "main", "image": "proving-ground/nothing:1"}
    spec: dict[str, Any] = {
        "containers": [container],
        "terminationGracePeriodSeconds": max(30, math.ceil(workload.stops_after)),
    }
    if workload.empty_dir:
        spec["volumes"] = [{"name": "scratch", "emptyDir": {}}]
        container["volumeMounts"] = [{"name": "scratch", "mountPath": "/scratch"}]
    if workload.volume:
        container["volumeMounts"] = [{"name": claims.NAME, "mountPath": "/data"}]
    if workload.tolerate_everything:
        spec["tolerations"] = [{"operator": "Exists"}]
    if workload.priority_class:
        spec["priorityClassName"] = workload.priority_class
    if workload.spread != "none":
        spec["topologySpreadConstraints"] = [_spread(workload)]
    return spec


def _spread(workload: Workload) -> dict[str, Any]:
    # ScheduleAnyway: cordoned nodes still count as places, a hard constraint would leave evicted pods Pending.
    return {
        "maxSkew": 1,
        "topologyKey": _TOPOLOGY[workload.spread],
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app": workload.name}},
    }


def _budget(workload: Workload) -> dict[str, Any] | None:
    if not workload.budget:
        return None
    spec: dict[str, Any] = {"selector": {"matchLabels": {"app": workload.name}}}
    if workload.budget.min_available is not None:
        spec["minAvailable"] = workload.budget.min_available
    if workload.budget.max_unavailable is not None:
        spec["maxUnavailable"] = workload.budget.max_unavailable
    metadata = {"name": workload.name, "namespace": workload.namespace}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": spec}
