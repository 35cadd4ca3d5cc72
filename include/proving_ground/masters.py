"""Joins EC2 and the control plane: a master's machine holds a volume, and its etcd members live only where that is.

The API server, one for all masters, is there as long as one of them is: without any, nothing answers.
"""

from __future__ import annotations

import logging
import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proving_ground.control_plane.members import Members
    from proving_ground.node_agent import Instance, World
    from proving_ground.scenario import Cluster

RESTART_S = 1.0
_LEAVING = ("stopping", "stopped", "shutting-down", "terminated")
_log = logging.getLogger(__name__)


class Etcd(Protocol):
    """What holds the members; ``control_plane.members.Members`` does."""

    def up(self, volume: str) -> None: ...  # noqa: D102
    def down(self, volume: str) -> None: ...  # noqa: D102
    def running(self, volume: str) -> bool: ...  # noqa: D102


class Server(Protocol):
    """The API server; ``control_plane.apiserver.ApiServer`` is."""

    def up(self) -> None: ...  # noqa: D102
    def down(self) -> None: ...  # noqa: D102
    def running(self) -> bool: ...  # noqa: D102


@dataclass
class Volume:
    """A volume of one master; ``zone`` is where it can be attached, ``holder`` the instance that has it."""

    name: str
    zone: str
    holder: str = ""


def volumes(cluster: Cluster, region: str) -> tuple[Volume, ...]:
    """One for each master that a kops cluster has, in its zone; none for other clusters."""
    masters = [g for g in cluster.groups if cluster.kind == "kops" and g.role == "control-plane"]
    letters = [group.zones[number % len(group.zones)] for group in masters for number in range(group.desired)]
    return tuple(Volume(f"{letter}{number}", f"{region}{letter}") for number, letter in enumerate(letters))


class Masters:
    """One thread per cluster: attaches, releases, and restarts what died, as a kubelet does.

    :param cluster: its masters' groups are named ``<cluster>-<group>``.
    :param held: its volumes; their members and the API server are up already.
    """

    def __init__(self, cluster: Cluster, held: Sequence[Volume], etcd: Members | Etcd, server: Server) -> None:
        self._groups = {f"{cluster.name}-{g.name}" for g in cluster.groups if g.role == "control-plane"}
        self._volumes, self._etcd, self._server = list(held), etcd, server
        self._events: queue.Queue[Instance | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name=f"masters-{cluster.name}", daemon=True)
        self._thread.start()

    def follow(self, world: World) -> None:
        """Take over the machines that run already, and all that come later."""
        world.subscribe(self._events.put)
        for instance in world.instances():
            self._events.put(instance)

    def stop(self) -> None:
        """End the thread; what is still queued is dropped."""
        self._events.put(None)
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while True:
            try:
                event = self._events.get(timeout=RESTART_S)
            except queue.Empty:
                self._restart()
                continue
            if event is None:
                return
            self._handle(event)

    def _handle(self, event: Instance) -> None:
        held = next((v for v in self._volumes if v.holder == event.instance_id), None)
        if held and event.kind in _LEAVING:
            held.holder = ""
            if not any(volume.holder for volume in self._volumes):
                self._server.down()
            self._etcd.down(held.name)
        elif not held and event.kind == "running" and event.group in self._groups:
            self._attach(event)

    def _attach(self, machine: Instance) -> None:
        free = next((v for v in self._volumes if not v.holder and v.zone == machine.zone), None)
        if free is None:
            _log.warning("%s in %s finds no free etcd volume there", machine.instance_id, machine.zone)
            return
        free.holder = machine.instance_id
        self._etcd.up(free.name)
        self._serve()

    def _restart(self) -> None:
        for volume in self._volumes:
            if volume.holder and not self._etcd.running(volume.name):
                self._etcd.up(volume.name)
        if any(volume.holder for volume in self._volumes):
            self._serve()

    def _serve(self) -> None:
        if not self._server.running():
            self._server.up()
