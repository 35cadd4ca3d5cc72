"""Zonal volumes of a StatefulSet's pods: claims and PersistentVolumes as its pods' first start would have left them.

Bound beforehand, each in a zone of its own in turn, so that a scenario's pods are always where they were. Attaching and
detaching is not done here: the real attach-detach controller says what, and kwok plays the CSI attacher (stages.yaml).
https://kubernetes.io/docs/concepts/storage/persistent-volumes/#reserving-a-persistentvolume
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proving_ground.scenario import Workload

NAME = "data"
DRIVER = "ebs.csi.aws.com"
_ONCE = {"accessModes": ["ReadWriteOnce"]}
_SIZE = "8Gi"


def template() -> dict[str, Any]:
    """The claim template of a StatefulSet whose pods have a volume each."""
    return {"metadata": {"name": NAME}, "spec": _claim_spec()}


def manifests(workload: Workload, zones: Sequence[str]) -> list[dict[str, Any]]:
    """A volume and its claim for each pod of a StatefulSet.

    :param zones: full names, e.g. ``eu-central-1a``; the pods take them in turn.
    """
    if not workload.volume:
        return []
    return [
        one
        for number in range(workload.replicas)
        for one in _pair(workload, f"{NAME}-{workload.name}-{number}", zones[number % len(zones)])
    ]


def _pair(workload: Workload, claim: str, zone: str) -> tuple[dict[str, Any], dict[str, Any]]:
    name = f"{workload.namespace}-{claim}"
    terms = [{"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]}]}]
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            **_ONCE,
            "capacity": {"storage": _SIZE},
            "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain",
            "csi": {"driver": DRIVER, "volumeHandle": f"vol-{name}"},
            "claimRef": {"namespace": workload.namespace, "name": claim},
            "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
        },
    }
    metadata = {"name": claim, "namespace": workload.namespace, "labels": {"app": workload.name}}
    spec = {**_claim_spec(), "volumeName": name}
    return volume, {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def _claim_spec() -> dict[str, Any]:
    return {**_ONCE, "storageClassName": "", "resources": {"requests": {"storage": _SIZE}}}
