"""What volumes ask of a rotation: to be detached before their machine goes, and a node in their zone to go to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from node_rotation.eviction import left_alone
from node_rotation.workloads.lost import lost
from node_rotation.workloads.volume import Volume
from node_rotation.world.kubernetes import Node, Pod, Taint
from node_rotation.world.snapshot import Snapshot

ZONE = "topology.kubernetes.io/zone"
_KEEP_AWAY = ("NoSchedule", "NoExecute")
_Home = tuple[str, tuple[Taint, ...]]
"""A node as a pod with a zonal volume sees it: its zone, the taints that keep pods away."""


@dataclass(frozen=True, slots=True)
class Stranded:
    """A pod that no other node could take, because its volume is zonal.

    :param volume: usable in zones where no Ready node is left whose taints the pod tolerates.
    """

    pod: Pod
    volume: Volume

    def __str__(self) -> str:
        """One line for a person."""
        zones = " or ".join(self.volume.zones)
        return (
            f"pod {self.pod.key} on node {self.pod.node} needs another Ready node in zone {zones} whose taints it "
            f"tolerates, for its volume {self.volume.name} (claim {self.volume.claim})"
        )


def still_attached(snapshot: Snapshot, node: Node) -> tuple[Volume, ...]:
    """The volumes that are not detached from a drained node yet.

    Terminated with one, the volume stays attached for Kubernetes for six minutes, and its pod starts nowhere. Volumes
    of pods that a drain leaves where they are stay attached to the end, so they don't count:
    https://karpenter.sh/docs/concepts/disruption/#termination-controller
    """
    staying = {
        f"{pod.namespace}/{claim}"
        for pod in snapshot.pods_on(node.name)
        if pod.claims and (left_alone(pod, node) or lost(pod, node, snapshot))
        for claim in pod.claims
    }
    return tuple(v for v in snapshot.volumes if node.name in v.attached and v.claim not in staying)


def stranded(snapshot: Snapshot, pods: Collection[Pod], leaving: Collection[str]) -> Iterator[Stranded]:
    """Pods with a zonal volume for which no Ready node is left in its zone that would take them.

    :param pods: those that will have to go.
    :param leaving: names of the nodes that can't take them: cordoned soon.
    """
    if volumes := _zonal(snapshot):
        homes = {_home(n) for n in snapshot.nodes if _takes_pods(n) and n.name not in leaving}
        yield from _homeless(pods, volumes, homes)


def last_in_zone(snapshot: Snapshot, nodes: Collection[str]) -> Iterator[Stranded]:
    """Pods with a zonal volume on a node that is the only Ready one in its zone that would take them.

    :param nodes: names of the nodes to look at.
    """
    volumes = _zonal(snapshot)
    ready = [node for node in snapshot.nodes if _takes_pods(node)] if volumes else []
    count = Counter(_home(node) for node in ready)
    for node in ready:
        if node.name in nodes:
            others = count - Counter([_home(node)])
            yield from _homeless(snapshot.pods_on(node.name), volumes, others)


def _zonal(snapshot: Snapshot) -> Mapping[str, Volume]:
    """The zonal volumes by their claim."""
    return {volume.claim: volume for volume in snapshot.volumes if volume.claim and volume.zones}


def _homeless(pods: Collection[Pod], volumes: Mapping[str, Volume], homes: Collection[_Home]) -> Iterator[Stranded]:
    for pod in pods:
        needed = [v for claim in pod.claims if (v := volumes.get(f"{pod.namespace}/{claim}")) is not None]
        zones = {zone for zone, taints in homes if all(map(pod.tolerates, taints))} if needed else set()
        if found := next((v for v in needed if zones.isdisjoint(v.zones)), None):
            yield Stranded(pod, found)


def _home(node: Node) -> _Home:
    return node.labels.get(ZONE, ""), tuple(sorted(taint for taint in node.taints if taint[2] in _KEEP_AWAY))


def _takes_pods(node: Node) -> bool:
    return node.ready and not node.unschedulable
