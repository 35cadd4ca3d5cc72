"""How EKS rolls a managed node group: setup, scale up, upgrade, scale down, each phase as its user guide says.

Source: https://docs.aws.amazon.com/eks/latest/userguide/managed-node-update-behavior.html. What the guide leaves
open and is assumed here: after a failure machines and sizes stay as they are, and the next update takes them up. Of
"all nodes of the node group" that MINIMAL cordons in the beginning, none is one that such an update has brought.
"""

from __future__ import annotations

import math
from collections import Counter
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING

from node_rotation.errors import GoneError
from node_rotation.testing.managed_values import MINIMAL, Nodegroup, Pace, UpdateFailed
from node_rotation.testing.scaling_activity import Status
from node_rotation.testing.scaling_placement import victims
from node_rotation.testing.scaling_values import AwsFault, Group, GroupChange, Lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from node_rotation.testing.autoscaling import AutoScaling
    from node_rotation.world.clients import Cluster
    from node_rotation.world.kubernetes import Node, Pod

EXCLUDE = "node.kubernetes.io/exclude-from-external-load-balancers"
MOST_AT_ONCE = 100


class Roller:
    """Rolls groups; every phase is a generator that yields the seconds until it goes on.

    :param cluster: the API server, as EKS reaches it; None where nobody plays one.
    :param lock: held around whatever touches Auto Scaling, never around calls of the API server.
    """

    def __init__(
        self, scaling: AutoScaling, cluster: Cluster | None, lock: AbstractContextManager[object], pace: Pace
    ) -> None:
        self._scaling, self._cluster, self._lock, self._pace = scaling, cluster, lock, pace

    def roll(self, group: Nodegroup, image_id: str, *, force: bool) -> Iterator[float]:
        """The update from scale up to scale down; the group launches the image already.

        :raises UpdateFailed: with EKS' code.
        """
        if group.strategy == MINIMAL:
            self._cordon(self._old(group, image_id))
        else:
            yield from self._scale_up(group, image_id)
        while old := self._old(group, image_id):
            chosen = self._choose(group, old)
            yield from self._empty(chosen, force=force)
            yield self._pace.pause
            yield from self._replace(group, chosen, image_id)
        yield from self._scale_down(group)

    def _scale_up(self, group: Nodegroup, image_id: str) -> Iterator[float]:
        with self._lock:
            found = self._asg(group)
            zones = {place.zone for place in found.places}
            extra = max(2 * len(zones), self._at_once(group, found)) - group.surplus
            if extra > 0:
                sizes = GroupChange(max_size=found.max_size + extra, desired=found.desired + extra)
                self._scaling.update(group.asg, sizes)
                group.surplus += extra
            used = {m.zone for m in found.live()}
        yield from self._ready(group, image_id, used)
        old = set(self._old(group, image_id))
        for node in self._nodes():
            if node.instance_id in old:
                with suppress(GoneError):
                    self._kubernetes.cordon(node.name, node.uid)
                    self._kubernetes.label(node.name, node.uid, {EXCLUDE: "true"})

    def _ready(self, group: Nodegroup, image_id: str, zones: set[str]) -> Iterator[float]:
        """Wait for a new node in every zone, and for every new node to be Ready."""
        waited = 0.0
        while True:
            with self._lock:
                found = self._asg(group)
                new = [m for m in found.live() if m.blueprint.image_id == image_id]
                full = found.capacity() >= found.desired
                said = [a.message or "" for a in found.activities if a.status is Status.FAILED]
            ready = {n.instance_id for n in self._nodes() if n.ready}
            if full and zones <= {m.zone for m in new} and all(m.instance_id in ready for m in new):
                return
            if waited >= self._pace.nodes:
                late = tuple(m.instance_id for m in new if m.instance_id not in ready)
                if not full and said:
                    group.issues = (("AsgInstanceLaunchFailures", said[0], (group.asg,)),)
                text = "Couldn't proceed with upgrade process as new nodes are not joining node group " + group.name
                raise UpdateFailed("NodeCreationFailure", text, late)
            yield self._pace.look
            waited += self._pace.look

    def _choose(self, group: Nodegroup, old: Sequence[str]) -> list[str]:
        """As many as may go at once, from the fullest zones, so that AZRebalance has nothing to do."""
        with self._lock:
            found = self._asg(group)
            zones = {m.instance_id: m.zone for m in found.live()}
            count = Counter(zones.values())
            chosen: list[str] = []
            for _ in range(min(self._at_once(group, found), len(old))):
                left = [i for i in old if i not in chosen]
                fullest = max(left, key=lambda i: (count[zones[i]], i))
                count[zones[fullest]] -= 1
                chosen.append(fullest)
            return chosen

    def _cordon(self, machines: Sequence[str]) -> None:
        for node in self._nodes():
            if node.instance_id in machines and not node.unschedulable:
                with suppress(GoneError):
                    self._kubernetes.cordon(node.name, node.uid)

    def _empty(self, machines: Sequence[str], *, force: bool) -> Iterator[float]:
        """Cordon, then evict until only DaemonSet pods are left."""
        self._cordon(machines)
        waited = 0.0
        while pods := self._pods(machines):
            if waited >= self._pace.eviction and not force:
                nodes = tuple(sorted({pod.node for pod in pods}))
                raise UpdateFailed("PodEvictionFailure", "Reached max retries while trying to evict pods", nodes)
            for pod in pods:
                if waited >= self._pace.eviction:
                    self._kubernetes.delete_pod(pod)
                elif pod.terminating_since is None:
                    self._kubernetes.evict(pod)
            yield self._pace.look
            waited += self._pace.look

    def _replace(self, group: Nodegroup, machines: Sequence[str], image_id: str) -> Iterator[float]:
        """Terminate; Auto Scaling launches what is missing."""
        with self._lock:
            found = self._asg(group)
            for machine in machines:
                if machine in found.members and found.members[machine].alive:
                    self._scaling.terminate(machine, decrement=False)
            zones: set[str] = set()
        while True:
            with self._lock:
                if not any(machine in self._asg(group).members for machine in machines):
                    break
            yield self._pace.look
        if self._pace.waits:
            yield from self._ready(group, image_id, zones)

    def _scale_down(self, group: Nodegroup) -> Iterator[float]:
        """One machine after the other, drained as by the hook that EKS puts on the group.

        If somebody scales the group up meanwhile, EKS leaves its size as it is.
        """
        with self._lock:
            expected = self._asg(group).desired
        while group.surplus > 0:
            with self._lock:
                found = self._asg(group)
                if found.desired > expected or found.desired <= found.min_size:
                    group.surplus = 0
                    return
                machine = victims(found, 1)[0].instance_id
            yield from self._empty([machine], force=True)
            with self._lock:
                found = self._asg(group)
                if machine in found.members and found.members[machine].alive:
                    self._scaling.terminate(machine, decrement=True)
                self._scaling.update(group.asg, GroupChange(max_size=found.max_size - 1, desired=found.desired))
                expected, group.surplus = found.desired, group.surplus - 1
            yield self._pace.look

    def _old(self, group: Nodegroup, image_id: str) -> list[str]:
        with self._lock:
            live = self._asg(group).live()
            return [
                m.instance_id
                for m in live
                if m.blueprint.image_id != image_id and m.lifecycle in (Lifecycle.PENDING, Lifecycle.IN_SERVICE)
            ]

    def _at_once(self, group: Nodegroup, found: Group) -> int:
        size = found.desired - group.surplus
        wanted = group.max_unavailable or 1
        if group.max_unavailable_percentage is not None:
            wanted = math.floor(size * group.max_unavailable_percentage / 100)
        return max(1, min(wanted, MOST_AT_ONCE))

    def _asg(self, group: Nodegroup) -> Group:
        try:
            return self._scaling.group(group.asg)
        except AwsFault as fault:
            raise UpdateFailed("AutoScalingGroupNotFound", str(fault), (group.asg,)) from fault

    @property
    def _kubernetes(self) -> Cluster:
        if self._cluster is None:
            raise UpdateFailed("ClusterUnreachable", "The Kubernetes API server can't be reached.")
        return self._cluster

    def _nodes(self) -> tuple[Node, ...]:
        return self._kubernetes.nodes()

    def _pods(self, machines: Sequence[str]) -> list[Pod]:
        names = {n.name for n in self._nodes() if n.instance_id in machines}
        return [p for p in self._kubernetes.pods() if p.node in names and _moves(p)]


def _moves(pod: Pod) -> bool:
    daemon = pod.owner is not None and pod.owner.kind == "DaemonSet"
    return not (daemon or pod.mirror or pod.phase in ("Succeeded", "Failed"))
