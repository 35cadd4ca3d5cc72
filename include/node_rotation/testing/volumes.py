"""PersistentVolumes in memory: bound where their pod first runs, attached to one node at a time.

Sources: https://kubernetes.io/docs/concepts/storage/storage-classes/#volume-binding-mode (WaitForFirstConsumer) and
kubernetes/pkg/controller/volume/attachdetach (``maxWaitForUnmountDuration``: 6 minutes for a node that is not there).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from node_rotation.testing.clock import VirtualClock
from node_rotation.workloads.volume import Volume
from node_rotation.world.kubernetes import Node, Pod

ZONE = "topology.kubernetes.io/zone"
UNMOUNT_WAIT_S = 360.0


@dataclass(slots=True)
class _Disk:
    name: str
    zone: str
    node: str = ""


class Volumes:
    """Every claim's volume.

    :param detach_s: from a pod's end to its VolumeAttachment gone.
    """

    def __init__(self, clock: VirtualClock, detach_s: float) -> None:
        self._clock, self._detach_s = clock, detach_s
        self._disks: dict[str, _Disk] = {}
        self.on_detached: list[Callable[[], None]] = []

    def seen(self) -> tuple[Volume, ...]:
        """The volumes as the API server shows them."""
        return tuple(
            Volume(disk.name, claim, (disk.zone,), (disk.node,) if disk.node else ())
            for claim, disk in self._disks.items()
        )

    def accepts(self, pod: Pod, node: Node) -> bool:
        """Whether a pod's volumes can be used on a node."""
        zone = node.labels.get(ZONE, "")
        return all((disk := self._disks.get(claim)) is None or disk.zone == zone for claim in _claims(pod))

    def attach(self, pod: Pod, node: Node) -> bool:
        """Bind and attach a pod's volumes; False while one is still attached elsewhere."""
        disks = []
        for claim in _claims(pod):
            name = f"pvc-{len(self._disks) + 1:04d}"
            disks.append(self._disks.setdefault(claim, _Disk(name, node.labels.get(ZONE, ""))))
        if any(disk.node not in ("", node.name) for disk in disks):
            return False
        for disk in disks:
            disk.node = node.name
        return True

    def detach(self, pod: Pod, *, unmounted: bool) -> None:
        """A pod is gone: its volumes are detached, late where nobody has unmounted them."""
        wait_s = self._detach_s if unmounted else UNMOUNT_WAIT_S
        for claim in _claims(pod):
            disk = self._disks.get(claim)
            if disk is not None and disk.node == pod.node:
                self._clock.after(wait_s, partial(self._detached, disk, pod.node))

    def _detached(self, disk: _Disk, node: str) -> None:
        if disk.node == node:
            disk.node = ""
            for listener in self.on_detached:
                listener()


def _claims(pod: Pod) -> tuple[str, ...]:
    return tuple(f"{pod.namespace}/{claim}" for claim in pod.claims)
