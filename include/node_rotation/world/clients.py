"""The clients as protocols.

The real ones (``clients/``) and the world in memory (``testing/``) keep the same contract, which
``tests/node_rotation/contract`` runs against both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from node_rotation.control_plane.values import ControlPlane, EtcdAccess
from node_rotation.managed.nodegroup import ManagedGroups
from node_rotation.model import Image, TemplateVersion
from node_rotation.outside import Objects
from node_rotation.workloads.volume import Volume
from node_rotation.world.answers import EvictionAnswer
from node_rotation.world.aws import (
    Activity,
    Instance,
    Member,
    Parameter,
    Registrations,
    ScalingGroup,
    Targets,
    Template,
    TemplateSpec,
)
from node_rotation.world.kubernetes import Budget, Lease, Node, Pod, Taint, Workload

PROTECTION_READ_UP_TO = 4
"""Instances whose termination protection one look tells: EC2 has a call for it that knows one instance only."""


class Clock(Protocol):
    """Where time comes from: the wall, or a test that jumps."""

    def now(self) -> float:
        """Epoch seconds."""
        ...

    def wait(self, seconds: float) -> None:
        """Let time pass; only the engine calls this."""
        ...


class Cloud(ManagedGroups, Protocol):
    """AWS, as far as a rotation needs it. Every call raises the classes of ``errors``."""

    def groups(self, names: Sequence[str]) -> Mapping[str, ScalingGroup]:
        """The groups that exist among these names, hooks and running refreshes included."""
        ...

    def find_groups(self, tags: Mapping[str, str]) -> tuple[str, ...]:
        """Names of the groups that carry all these tags."""
        ...

    def warm_members(self, group: str) -> tuple[Member, ...]:
        """The machines of a group's warm pool: no members yet, on the image they were warmed with."""
        ...

    def instances(self, ids: Sequence[str]) -> Mapping[str, Instance]:
        """The instances among these ids that EC2 still knows, terminated ones included.

        Their termination protection is told for up to :data:`PROTECTION_READ_UP_TO`, and is False in larger looks.
        """
        ...

    def tagged_instances(self, key: str, value: str = "*") -> Mapping[str, Instance]:
        """Instances, not yet terminated, whose tag has this value (orphans: out of every group)."""
        ...

    def activities(self, group: str, since: float) -> tuple[Activity, ...]:
        """Scaling activities that started after ``since``, newest first."""
        ...

    def targets(self, target_groups: Sequence[str]) -> Mapping[str, Targets]:
        """Who is in these target groups (ARNs), and how each does; one that does not exist is left out."""
        ...

    def deregister_targets(self, target_group: str, machines: Registrations) -> None:
        """DeregisterTargets; who is not registered, or on another port, may be named and is left as it is."""
        ...

    def register_targets(self, target_group: str, machines: Registrations) -> None:
        """RegisterTargets; :raises GoneError: if there is no such target group or machine."""
        ...

    def image(self, image_id: str) -> Image | None:
        """An image by id; None if it is gone or private."""
        ...

    def images(self, owner: str, name: str, architecture: str) -> tuple[Image, ...]:
        """Images whose name matches a filter with ``*``, deprecated ones included, newest first."""
        ...

    def parameter(self, name: str) -> Parameter:
        """An SSM parameter; :raises GoneError: if there is none."""
        ...

    def parameters(self, path: str) -> tuple[Parameter, ...]:
        """Every SSM parameter directly below a path."""
        ...

    def put_parameter(self, name: str, value: str) -> None:
        """Write an SSM parameter (a String); there or not."""
        ...

    def template(self, spec: TemplateSpec) -> Template:
        """What a template launches now: ``$Latest``, ``$Default``, ``resolve:ssm:`` resolved."""
        ...

    def new_template_version(self, source: TemplateVersion, image_id: str, token: str) -> TemplateVersion:
        """Copy a template version with another image; the same token makes it once."""
        ...

    def use_template_version(self, group: str, version: TemplateVersion) -> None:
        """Point a group at a template version (policy and overrides kept)."""
        ...

    def set_default_version(self, version: TemplateVersion) -> None:
        """Make a version the template's default, for groups that say ``$Default``."""
        ...

    def detach(self, group: str, instance_ids: Sequence[str]) -> None:
        """Detach without decrement: the group launches the replacement."""
        ...

    def attach(self, group: str, instance_ids: Sequence[str]) -> None:
        """Attach; raises desired by as many."""
        ...

    def set_sizes(
        self, group: str, *, min: int | None = None, max: int | None = None, desired: int | None = None
    ) -> None:
        """Set only what is given."""
        ...

    def terminate_in_group(self, instance_id: str, *, decrement: bool) -> None:
        """TerminateInstanceInAutoScalingGroup."""
        ...

    def terminate(self, instance_id: str) -> None:
        """EC2 TerminateInstances."""
        ...

    def suspend(self, group: str, processes: Sequence[str]) -> None:
        """SuspendProcesses."""
        ...

    def resume(self, group: str, processes: Sequence[str]) -> None:
        """ResumeProcesses."""
        ...

    def tag_instances(self, instance_ids: Sequence[str], tags: Mapping[str, str]) -> None:
        """CreateTags."""
        ...

    def untag_instances(self, instance_ids: Sequence[str], keys: Sequence[str]) -> None:
        """DeleteTags."""
        ...

    def tag_group(self, group: str, tags: Mapping[str, str]) -> None:
        """CreateOrUpdateTags, never propagated."""
        ...

    def untag_group(self, group: str, keys: Sequence[str]) -> None:
        """DeleteTags of Auto Scaling."""
        ...


class Cluster(Protocol):
    """A Kubernetes API server, as far as a rotation needs it. Node writes carry the node's UID."""

    @property
    def objects(self) -> Objects:
        """Objects of any kind."""
        ...

    def nodes(self) -> tuple[Node, ...]:
        """Every Node."""
        ...

    def pods(self) -> tuple[Pod, ...]:
        """Every pod that is bound to a node or pending."""
        ...

    def budgets(self) -> tuple[Budget, ...]:
        """Every PodDisruptionBudget that has a selector: one without is over no pod."""
        ...

    def workloads(self) -> tuple[Workload, ...]:
        """Every Deployment, StatefulSet and DaemonSet."""
        ...

    def volumes(self) -> tuple[Volume, ...]:
        """Every PersistentVolume, with the nodes that VolumeAttachments name."""
        ...

    def minor_version(self) -> int:
        """The API server's minor version, e.g. 36."""
        ...

    def control_plane(self, etcd: Mapping[str, EtcdAccess]) -> ControlPlane:
        """``/readyz``, and the health of these etcd clusters; an endpoint that can't be reached is not healthy."""
        ...

    def cordon(self, node: str, uid: str) -> None:
        """Set ``spec.unschedulable``; :raises GoneError: if the node is gone or another one."""
        ...

    def uncordon(self, node: str, uid: str) -> None:
        """Clear ``spec.unschedulable``."""
        ...

    def taint(self, node: str, uid: str, taint: Taint) -> None:
        """Add a taint, others kept; a no-op if it is there."""
        ...

    def untaint(self, node: str, uid: str, key: str) -> None:
        """Remove the taints with this key, others kept."""
        ...

    def annotate(self, node: str, uid: str, annotations: Mapping[str, str | None]) -> None:
        """Set annotations; None removes one."""
        ...

    def label(self, node: str, uid: str, labels: Mapping[str, str | None]) -> None:
        """Set labels; None removes one."""
        ...

    def delete_node(self, node: str, uid: str) -> None:
        """Delete the Node object if it is still this one; gone is fine."""
        ...

    def evict(self, pod: Pod, grace_s: float | None = None) -> EvictionAnswer:
        """Ask for an eviction with the pod's UID as precondition (policy/v1 Eviction)."""
        ...

    def delete_pod(self, pod: Pod, grace_s: float | None = None) -> None:
        """Delete by UID, without asking budgets: only by policy, after its deadline."""
        ...

    def roll(self, deployment: Workload, reason: str) -> None:
        """Have a Deployment replace its pods, as ``kubectl rollout restart``; the same reason rolls it once.

        :raises GoneError: if the Deployment is gone or another one.
        """
        ...

    def lease(self) -> Lease | None:
        """The rotation's Lease of this cluster, or None."""
        ...

    def create_lease(self, holder: str, duration_s: float, annotations: Mapping[str, str]) -> Lease:
        """:raises ConflictError: if there is one already."""
        ...

    def update_lease(
        self, lease: Lease, *, holder: str, duration_s: float, annotations: Mapping[str, str], renewed_at: float
    ) -> Lease:
        """Replace it if ``lease.version`` is still current; :raises ConflictError: if not."""
        ...

    def delete_lease(self, lease: Lease) -> None:
        """Delete it if ``lease.version`` is still current; gone is fine."""
        ...
