"""One look at a cluster, AWS and Kubernetes together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from node_rotation.control_plane.values import ControlPlane
from node_rotation.managed.nodegroup import ManagedGroup
from node_rotation.workloads.volume import Volume
from node_rotation.world.aws import Activity, Instance, ScalingGroup, Targets
from node_rotation.world.kubernetes import Budget, Lease, Node, Pod, Workload


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One observation of one cluster, shared by all who wait for it.

    Before ``watched_since`` (epoch seconds) nobody could look for a while: what is waited for is waited for from then.
    """

    taken_at: float
    groups: Mapping[str, ScalingGroup]
    instances: Mapping[str, Instance]
    nodes: tuple[Node, ...]
    pods: tuple[Pod, ...]
    budgets: tuple[Budget, ...]
    workloads: tuple[Workload, ...]
    lease: Lease | None = None
    activities: Mapping[str, tuple[Activity, ...]] = field(default_factory=dict)
    control_plane: ControlPlane | None = None
    volumes: tuple[Volume, ...] = ()
    checks: Mapping[str, str] = field(default_factory=dict)
    """The gate's own checks that are not green: label → why."""
    managed: Mapping[str, ManagedGroup] = field(default_factory=dict)  # by Auto Scaling group
    targets: Mapping[str, Targets] = field(default_factory=dict)
    """Of the groups that we roll ourselves, by target group (ARN)."""
    watched_since: float = 0.0

    @property
    def machines(self) -> int:
        """How many machines the cluster's groups have."""
        return sum(len(group.members) for group in self.groups.values())

    def node_of(self, instance_id: str) -> Node | None:
        """The Node whose providerID names this instance, or None."""
        return next((n for n in self.nodes if n.instance_id == instance_id), None)

    def pods_on(self, node: str) -> tuple[Pod, ...]:
        """Every pod bound to a node."""
        return tuple(p for p in self.pods if p.node == node)
