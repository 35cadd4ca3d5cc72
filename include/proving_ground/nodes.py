"""The Node objects that machines become: names, labels, size, conditions."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

from proving_ground.control_plane.cluster import KUBELET_LABEL

if TYPE_CHECKING:
    from proving_ground.scenario import NodeGroup

KUBELET_VERSION = "v1.36.3"
# A kubelet's default; without it the attach-detach controller leaves the node alone.
_ATTACHED_BY_CONTROLLER = "volumes.kubernetes.io/controller-managed-attach-detach"
# vCPU and pods per size of the m6i family (ENI limits of the VPC CNI); memory is 4 GiB per vCPU.
_SIZES = {"medium": (1, 8), "large": (2, 29), "xlarge": (4, 58), "2xlarge": (8, 58), "4xlarge": (16, 234)}
_NETWORK_NOT_READY = (
    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady "
    "message:Network plugin returns error: cni plugin not initialized"
)


def provider_id(zone: str, instance_id: str) -> str:
    """What the AWS cloud provider writes into ``spec.providerID``."""
    return f"aws:///{zone}/{instance_id}"


def conditions(*, ready: bool) -> list[dict[str, str]]:
    """The four conditions a kubelet posts; Ready is the one that varies."""
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    quiet = [
        _condition(kind, "False", f"KubeletHasSufficient{resource}", "kubelet has no pressure", now)
        for kind, resource in (("MemoryPressure", "Memory"), ("DiskPressure", "Disk"), ("PIDPressure", "PID"))
    ]
    if ready:
        return [*quiet, _condition("Ready", "True", "KubeletReady", "kubelet is posting ready status", now)]
    return [*quiet, _condition("Ready", "False", "KubeletNotReady", _NETWORK_NOT_READY, now)]


def _condition(kind: str, status: str, reason: str, message: str, now: str) -> dict[str, str]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }


def manifest(
    *,
    name: str,
    instance_id: str,
    image_id: str,
    instance_type: str,
    zone: str,
    region: str,
    group: NodeGroup | None,
    ready: bool,
) -> dict[str, Any]:
    """The Node a kubelet registers.

    :param group: gives labels and taints; None for a machine outside the scenario's groups.
    :param ready: False leaves the network unready and the node without a playing kubelet.
    """
    size = _capacity(instance_type)
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "node.kubernetes.io/instance-type": instance_type,
        "topology.kubernetes.io/zone": zone,
        "topology.kubernetes.io/region": region,
    }
    if group:
        labels |= _role(group) | _eks(group, image_id) | group.labels
    if ready:
        labels[KUBELET_LABEL] = "alive"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {"proving-ground/image-id": image_id, _ATTACHED_BY_CONTROLLER: "true"},
        },
        "spec": {
            "providerID": provider_id(zone, instance_id),
            "taints": [_taint(text) for text in group.taints] if group else [],
        },
        "status": {
            "capacity": size,
            "allocatable": size,
            "conditions": conditions(ready=ready),
            "addresses": _addresses(name),
            "nodeInfo": _node_info(instance_id),
        },
    }


def _role(group: NodeGroup) -> dict[str, str]:
    return {"node-role.kubernetes.io/control-plane": ""} if group.role == "control-plane" else {}


def _eks(group: NodeGroup, image_id: str) -> dict[str, str]:
    """What EKS puts on its nodes (EKS user guide, "Understand each phase of node updates")."""
    if group.kind != "eks-managed":
        return {}
    return {"eks.amazonaws.com/nodegroup": group.name, "eks.amazonaws.com/nodegroup-image": image_id}


def _taint(text: str) -> dict[str, str]:
    pair, _, effect = text.rpartition(":")
    key, _, value = pair.partition("=")
    return {"key": key, "value": value, "effect": effect}


def _capacity(instance_type: str) -> dict[str, str]:
    cpu, pods = _SIZES.get(instance_type.rpartition(".")[2], (8, 58))
    return {"cpu": str(cpu), "memory": f"{cpu * 4}Gi", "pods": str(pods), "ephemeral-storage": "80Gi"}


def _addresses(name: str) -> list[dict[str, str]]:
    addresses = [{"type": "Hostname", "address": name}, {"type": "InternalDNS", "address": name}]
    if match := re.match(r"ip-(\d+)-(\d+)-(\d+)-(\d+)\.", name):
        addresses.insert(0, {"type": "InternalIP", "address": ".".join(match.groups())})
    return addresses


def _node_info(instance_id: str) -> dict[str, str]:
    return {
        "architecture": "amd64",
        "bootID": instance_id,
        "containerRuntimeVersion": "containerd://2.1.4",
        "kernelVersion": "6.12.0",
        "kubeProxyVersion": "",
        "kubeletVersion": KUBELET_VERSION,
        "machineID": instance_id,
        "operatingSystem": "linux",
        "osImage": "Proving Ground",
        "systemUUID": instance_id,
    }
