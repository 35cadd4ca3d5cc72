"""The etcd of a kops control plane: per master's volume one member of each etcd cluster, as processes on loopback.

A member's process may end and start again on its data, at its old address, as etcd-manager sees to it when another
machine takes a volume over (https://kops.sigs.k8s.io/cluster_spec/#etcdclusters).
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from proving_ground.control_plane.cluster import SMALL, answers, free_ports, retried, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from proving_ground.control_plane.cluster import Tools
    from proving_ground.control_plane.processes import Started

ETCD_CLUSTERS = ("main", "events")


@dataclass(frozen=True)
class Member:
    """One member of one etcd cluster; its addresses stay with its volume."""

    etcd: str
    name: str
    client: str
    peer: str


class Members:
    """Both etcd clusters of one Kubernetes cluster.

    :param volumes: a name for each master's volume, e.g. ``a`` for the one in zone a.
    """

    def __init__(self, tools: Tools, cluster: str, directory: Path, volumes: Sequence[str]) -> None:
        self._tools, self._cluster, self._directory = tools, cluster, directory
        self._volumes = tuple(volumes)
        self._members: dict[str, tuple[Member, ...]] = {}
        self._started: dict[Member, Started] = {}

    def start(self) -> None:
        """Start every member and wait until both clusters have a leader.

        :raises NotReadyError: one did not come up in time.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        retried(self._start)
        file = self._directory / "etcd.json"
        file.write_text(json.dumps({etcd: self.endpoints(etcd) for etcd in ETCD_CLUSTERS}, indent=1) + "\n")

    def endpoints(self, etcd: str) -> tuple[str, ...]:
        """Client URLs of an etcd cluster's members."""
        return tuple(member.client for member in self._members[etcd])

    def up(self, volume: str) -> None:
        """Have a volume's members run; nothing for one that does."""
        for member in self._of(volume):
            if not self._runs(member):
                self._started[member] = self._begin(member)

    def down(self, volume: str) -> None:
        """Have a volume's members end; their data stay."""
        self._tools.processes.stop([self._name(member) for member in self._of(volume)])

    def running(self, volume: str) -> bool:
        """Whether every member on a volume has its process."""
        return all(self._runs(member) for member in self._of(volume))

    def processes(self, volume: str) -> frozenset[int]:
        """The ids of the processes that run a volume's members; others once they were down in between."""
        return frozenset(self._started[member].pid for member in self._of(volume) if self._runs(member))

    def _start(self) -> None:
        self._tools.processes.stop([self._name(member) for of in self._members.values() for member in of])
        self._started = {}  # of a start whose ports somebody else took: neither its processes nor its data count
        ports = iter(free_ports(2 * len(self._volumes) * len(ETCD_CLUSTERS)))
        self._members = {etcd: self._addressed(etcd, ports) for etcd in ETCD_CLUSTERS}
        for member in (member for of in self._members.values() for member in of):
            shutil.rmtree(self._data(member), ignore_errors=True)
        for volume in self._volumes:
            self.up(volume)
        for member, started in self._started.items():
            wait_for(started, self._log(member), partial(answers, f"{member.client}/health"))

    def _addressed(self, etcd: str, ports: Iterator[int]) -> tuple[Member, ...]:
        return tuple(
            Member(etcd, f"etcd-{volume}", f"http://127.0.0.1:{next(ports)}", f"http://127.0.0.1:{next(ports)}")
            for volume in self._volumes
        )

    def _of(self, volume: str) -> list[Member]:
        return [member for of in self._members.values() for member in of if member.name == f"etcd-{volume}"]

    def _runs(self, member: Member) -> bool:
        started = self._started.get(member)
        return started is not None and started.process() is not None

    def _name(self, member: Member) -> str:
        return f"{self._cluster}/{member.etcd}-{member.name}"

    def _data(self, member: Member) -> Path:
        return self._directory / f"{member.etcd}-{member.name}"

    def _log(self, member: Member) -> Path:
        return self._directory / f"{member.etcd}-{member.name}.log"

    def _begin(self, member: Member) -> Started:
        peers = ",".join(f"{one.name}={one.peer}" for one in self._members[member.etcd])
        argv = [
            str(self._tools.binaries / "etcd"),
            f"--name={member.name}",
            f"--data-dir={self._data(member)}",
            f"--listen-client-urls={member.client}",
            f"--advertise-client-urls={member.client}",
            f"--listen-peer-urls={member.peer}",
            f"--initial-advertise-peer-urls={member.peer}",
            f"--initial-cluster={peers}",
            f"--initial-cluster-token={self._cluster}-{member.etcd}",
            "--unsafe-no-fsync",
            # Six members that say ten times a second that they live take an eighth of a core.
            "--heartbeat-interval=300",
            "--election-timeout=1500",
            "--log-level=warn",
        ]
        return self._tools.processes.start(self._name(member), argv, self._log(member), SMALL)
