"""Kubernetes' JSON as values of ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from node_rotation.names import REPLICAS, ROLLED_FOR
from node_rotation.workloads.volume import Volume
from node_rotation.world.kubernetes import Budget, Lease, Node, Owner, Pod, Taint, Toleration, Workload

Json = Mapping[str, Any]
MIRROR = "kubernetes.io/config.mirror"
_ZONES = ("topology.kubernetes.io/zone", "topology.ebs.csi.aws.com/zone", "failure-domain.beta.kubernetes.io/zone")
DEFAULT_GRACE_S = 30.0


def epoch(text: str | None) -> float:
    """An RFC 3339 time in epoch seconds; 0 if there is none."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def micro_time(seconds: float) -> str:
    """Epoch seconds as the API's MicroTime, e.g. ``2026-11-09T01:02:03.000004Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def instance_of(provider_id: str) -> str:
    """The EC2 instance in ``spec.providerID``: ``aws:///eu-central-1a/i-0abc``; empty for Fargate and others."""
    last = provider_id.rpartition("/")[2]
    return last if provider_id.startswith("aws://") and last.startswith("i-") else ""


def node(found: Json) -> Node:
    """A Node."""
    meta, spec = found["metadata"], found.get("spec") or {}
    ready = _condition(found, "Ready")
    provider_id = spec.get("providerID", "")
    return Node(
        name=meta["name"],
        uid=meta["uid"],
        instance_id=instance_of(provider_id),
        ready=ready.get("status") == "True",
        ready_reason=_why(ready, "reason") if ready else "no Ready condition yet",
        ready_message=_why(ready, "message"),
        unschedulable=bool(spec.get("unschedulable")),
        labels=meta.get("labels") or {},
        annotations=meta.get("annotations") or {},
        taints=tuple(taint(t) for t in spec.get("taints") or ()),
        created_at=epoch(meta.get("creationTimestamp")),
        provider_id=provider_id,
        address=_internal_ip(found),
    )


def taint(found: Json) -> Taint:
    """A taint's key, value and effect."""
    return (found["key"], found.get("value") or "", found["effect"])


def pod(found: Json) -> Pod:
    """A pod."""
    meta, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    volumes = spec.get("volumes") or ()
    annotations = meta.get("annotations") or {}
    deleted = meta.get("deletionTimestamp")
    grace = meta.get("deletionGracePeriodSeconds", spec.get("terminationGracePeriodSeconds"))
    return Pod(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        node=spec.get("nodeName") or "",
        phase=status.get("phase") or "",
        ready=_condition(found, "Ready").get("status") == "True",
        owner=_owner(meta),
        labels=meta.get("labels") or {},
        annotations=annotations,
        # The API server writes the moment by which the pod has to be gone, that is with its grace period added.
        terminating_since=epoch(deleted) - (grace or 0) if deleted else None,
        grace_s=float(DEFAULT_GRACE_S if grace is None else grace),
        mirror=MIRROR in annotations,
        empty_dir=any("emptyDir" in v for v in volumes),
        claims=tuple(v["persistentVolumeClaim"]["claimName"] for v in volumes if v.get("persistentVolumeClaim")),
        finalizers=tuple(meta.get("finalizers") or ()),
        priority=spec.get("priority") or 0,
        tolerates_everything=any(_tolerates_everything(t) for t in spec.get("tolerations") or ()),
        started_at=epoch(status["startTime"]) if status.get("startTime") else None,
        tolerations=tuple(_toleration(t) for t in spec.get("tolerations") or () if t.get("tolerationSeconds") is None),
        created_at=epoch(meta.get("creationTimestamp")),
    )


def budgets(found: Iterable[Json]) -> tuple[Budget, ...]:
    """PodDisruptionBudgets; one without a selector is over no pod, an empty selector is over all (policy/v1)."""
    return tuple(budget(one) for one in found if (one.get("spec") or {}).get("selector") is not None)


def budget(found: Json) -> Budget:
    """A PodDisruptionBudget that has a selector."""
    meta, spec, status = found["metadata"], found["spec"], found.get("status") or {}
    selector = spec["selector"]
    return Budget(
        namespace=meta["namespace"],
        name=meta["name"],
        selector=selector.get("matchLabels") or {},
        disruptions_allowed=status.get("disruptionsAllowed", 0),
        expected=status.get("expectedPods", 0),
        healthy=status.get("currentHealthy", 0),
        desired_healthy=status.get("desiredHealthy", 0),
        expressions=tuple(
            (e["key"], e["operator"], tuple(e.get("values") or ())) for e in selector.get("matchExpressions") or ()
        ),
        always_allow_unhealthy=spec.get("unhealthyPodEvictionPolicy") == "AlwaysAllow",
        observed=status.get("observedGeneration", 0) >= meta.get("generation", 0),
    )


def workload(kind: str, found: Json) -> Workload:
    """A Deployment, StatefulSet or DaemonSet.

    :param kind: which; items of a list don't say.
    """
    meta, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    if kind == "DaemonSet":
        desired, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
    else:
        desired, ready = spec.get("replicas", 1), status.get("readyReplicas", 0)
    template = (spec.get("template") or {}).get("metadata") or {}
    return Workload(
        kind,
        meta["namespace"],
        meta["name"],
        meta["uid"],
        desired,
        ready,
        surges=kind == "Deployment" and _surges(spec),
        rolled_for=(template.get("annotations") or {}).get(ROLLED_FOR, ""),
        lacking=max(0, desired - status.get("currentNumberScheduled", 0)) if kind == "DaemonSet" else 0,
        before_pause=(meta.get("annotations") or {}).get(REPLICAS, ""),
    )


def _surges(spec: Json) -> bool:
    """Whether a rollout starts a new pod before an only one goes: surge rounds up, unavailable down."""
    strategy = spec.get("strategy") or {}
    rolling = strategy.get("rollingUpdate") or {}
    more, fewer = str(rolling.get("maxSurge", "25%")), str(rolling.get("maxUnavailable", "25%"))
    one_less = fewer == "100%" or (not fewer.endswith("%") and fewer != "0")
    rolls = strategy.get("type", "RollingUpdate") == "RollingUpdate" and not spec.get("paused")
    return rolls and more not in ("0", "0%") and not one_less


def volumes(found: Iterable[Json], attachments: Iterable[Json]) -> tuple[Volume, ...]:
    """PersistentVolumes and where they are attached.

    :param attachments: VolumeAttachments; one that is being deleted counts until it is gone.
    """
    nodes: dict[str, list[str]] = {}
    for attachment in attachments:
        spec = attachment["spec"]
        name = spec["source"].get("persistentVolumeName") or attachment["metadata"]["name"]  # else an inline volume
        nodes.setdefault(name, []).append(spec["nodeName"])
    known = [_volume(volume, tuple(nodes.pop(volume["metadata"]["name"], ()))) for volume in found]
    return (*known, *(Volume(name, attached=tuple(where)) for name, where in nodes.items()))


def _volume(found: Json, attached: tuple[str, ...]) -> Volume:
    spec = found.get("spec") or {}
    claim = spec.get("claimRef")
    required = (spec.get("nodeAffinity") or {}).get("required") or {}
    zones = tuple(
        zone
        for term in required.get("nodeSelectorTerms") or ()
        for expression in term.get("matchExpressions") or ()
        if expression["key"] in _ZONES and expression["operator"] == "In"
        for zone in expression.get("values") or ()
    )
    return Volume(found["metadata"]["name"], f"{claim['namespace']}/{claim['name']}" if claim else "", zones, attached)


def lease(found: Json) -> Lease:
    """A Lease."""
    meta, spec = found["metadata"], found.get("spec") or {}
    return Lease(
        holder=spec.get("holderIdentity") or "",
        renewed_at=epoch(spec.get("renewTime")),
        duration_s=float(spec.get("leaseDurationSeconds") or 0),
        annotations=meta.get("annotations") or {},
        version=meta["resourceVersion"],
        acquired_at=epoch(spec.get("acquireTime")),
    )


def _condition(found: Json, kind: str) -> Json:
    conditions = (found.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == kind), {})


def _internal_ip(found: Json) -> str:
    addresses = (found.get("status") or {}).get("addresses") or ()
    return next((a["address"] for a in addresses if a.get("type") == "InternalIP"), "")


def _why(ready: Json, part: str) -> str:
    """A part of what a condition Ready says of a Node that is not: its reason or its message."""
    return "" if ready.get("status") == "True" else ready.get(part) or ""


def _owner(meta: Json) -> Owner | None:
    for reference in meta.get("ownerReferences") or ():
        if reference.get("controller"):
            return Owner(reference["kind"], reference["name"], reference.get("uid", ""))
    return None


def _toleration(found: Json) -> Toleration:
    return (found.get("key") or "", found.get("operator") or "", found.get("value") or "", found.get("effect") or "")


def _tolerates_everything(toleration: Json) -> bool:
    """An empty key with Exists matches every taint; so it stays on a cordoned node, and comes back to it."""
    return not toleration.get("key") and toleration.get("operator") == "Exists" and not toleration.get("effect")
