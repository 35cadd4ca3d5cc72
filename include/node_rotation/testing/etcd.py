"""The etcd of kops masters in memory: one volume per seeded master, members that live where it is attached.

Sources: https://etcd.io/docs/v3.6/op-guide/failures/ (majority), and kops' etcd-manager, which attaches the volume
that is free in the machine's zone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from node_rotation.control_plane.values import EtcdCluster, EtcdMember
from node_rotation.testing import seeds
from node_rotation.testing.account import Account
from node_rotation.testing.clock import VirtualClock
from node_rotation.testing.ec2 import address_of
from node_rotation.world.aws import Instance

CLUSTERS = ("main", "events")


@dataclass
class Volume:
    """A volume with the data of one member of each etcd cluster; it never leaves its zone."""

    member: str
    zone: str
    holder: str = ""
    up: bool = False
    stopped: bool = False


class Etcd:
    """Both etcd clusters of a kops control plane, and the API server that is away without them.

    :param lost_at: epoch seconds of each moment at which a majority was lost.
    """

    def __init__(self, seed: seeds.WorldSeed, clock: VirtualClock, account: Account) -> None:
        self._clock, self._account, self._timing = clock, account, seed.timing
        masters = [g for g in seed.groups if g.kind == "kops" and g.role == "control-plane"]
        zones = [f"{seed.region}{g.zones[n % len(g.zones)]}" for g in masters for n in range(g.desired)]
        self.volumes = [Volume(f"etcd-{zone[-1]}{n}", zone, up=True) for n, zone in enumerate(zones)]
        self._names = {asg for g in masters if (asg := account.asg(g.name))}
        self._hosts: dict[str, tuple[str, str]] = {}
        self._failover_until = 0.0
        self.lost_at: list[float] = []

    def endpoints(self) -> tuple[str, ...]:
        """Addresses that stay with the volumes."""
        return tuple(f"http://{volume.member}:4001" for volume in self.volumes)

    def state_changed(self, instance: Instance, asg: str) -> None:
        """A machine runs, or goes: its volume is attached, or free again."""
        if asg not in self._names:
            return
        self._hosts[instance.id] = (instance.private_dns, address_of(instance))
        if instance.state == "running":
            self._attach(instance)
        elif instance.state in ("shutting-down", "terminated"):
            self._release(instance.id)

    def stop(self, member: str) -> None:
        """A member dies on its machine, and stays dead."""
        volume = next(v for v in self.volumes if v.member == member)
        volume.stopped = True
        self._down(volume)

    def start(self, member: str) -> None:
        """It is started again."""
        volume = next(v for v in self.volumes if v.member == member)
        volume.stopped, volume.up = False, bool(volume.holder)

    def has_quorum(self) -> bool:
        """Whether a majority of members is up."""
        return not self.volumes or sum(v.up for v in self.volumes) > len(self.volumes) // 2

    def away(self) -> str:
        """Why the API server can't be reached just now; empty if it can."""
        if not self.has_quorum():
            return "the API server can't be reached: etcd has no quorum"
        if self._clock.now() < self._failover_until:
            return "the API server can't be reached: connection refused"
        return ""

    def state(self, name: str, endpoints: Sequence[str]) -> EtcdCluster:
        """What a probe of these endpoints would hear."""
        voters = tuple(v.member for v in self.volumes) if name in CLUSTERS else ()
        return EtcdCluster(name, tuple(self._answer(endpoint) for endpoint in endpoints), voters)

    def _answer(self, endpoint: str) -> EtcdMember:
        host = urlsplit(endpoint).hostname or ""
        for volume in self.volumes:
            if host in (volume.member, *self._hosts.get(volume.holder, ())) and volume.up:
                return EtcdMember(endpoint, self.has_quorum(), "true" if self.has_quorum() else "no leader")
        return EtcdMember(endpoint, False, "connection refused")

    def _attach(self, instance: Instance) -> None:
        free = (v for v in self.volumes if not v.holder and v.zone == instance.zone)
        volume = next(free, None)
        if volume is None:
            return
        volume.holder = instance.id
        if not volume.up:
            self._clock.after(self._timing.etcd_start, lambda: self._up(volume, instance.id))

    def _up(self, volume: Volume, holder: str) -> None:
        if volume.holder == holder and not volume.stopped:
            volume.up = True

    def _release(self, instance_id: str) -> None:
        for volume in self.volumes:
            if volume.holder == instance_id:
                volume.holder = ""
                self._failover_until = self._clock.now() + self._timing.failover
                self._down(volume)

    def _down(self, volume: Volume) -> None:
        before, volume.up = self.has_quorum(), False
        if before and not self.has_quorum():
            self.lost_at.append(self._clock.now())
