"""The world as a rotation sees it: observations as frozen values, and the two clients as protocols.

The real clients (``clients/``) and the world in memory (``testing/``) keep the same contract, which
``tests/node_rotation/contract`` runs against both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from node_rotation.control_plane import ControlPlane, EtcdAccess
from node_rotation.managed import ManagedGroup, ManagedGroups
from node_rotation.model import Image, TemplateVersion
from node_rotation.outside import Objects
from node_rotation.volume import Volume

Taint = tuple[str, str, str]
"""key, value, effect"""


@dataclass(frozen=True, slots=True)
class Instance:
    """An EC2 instance. ``state`` is EC2's own word; ``launched_at`` epoch seconds."""

    id: str
    image_id: str
    instance_type: str
    zone: str
    state: str
    launched_at: float
    tags: Mapping[str, str] = field(default_factory=dict)
    private_dns: str = ""
    termination_protected: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """An instance as its Auto Scaling group lists it; ``template`` is what it was launched from."""

    instance_id: str
    lifecycle: str
    health: str
    zone: str
    instance_type: str = ""
    template: TemplateVersion | None = None
    protected: bool = False


@dataclass(frozen=True, slots=True)
class TemplateSpec:
    """How a group names its template: version as written, ``$Latest`` included."""

    name: str
    id: str = ""
    version: str = ""
    launch_configuration: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """A template version as it resolves now."""

    ref: TemplateVersion
    image_id: str
    instance_type: str = ""
    architecture: str = ""


@dataclass(frozen=True, slots=True)
class ScalingGroup:
    """An Auto Scaling group as it stands."""

    name: str
    min: int
    max: int
    desired: int
    members: tuple[Member, ...]
    template: TemplateSpec
    overrides: tuple[TemplateSpec | None, ...] = ()
    instance_types: tuple[str, ...] = ()
    weights: tuple[int, ...] = ()
    suspended: Mapping[str, str] = field(default_factory=dict)
    zones: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    target_groups: tuple[str, ...] = ()
    load_balancers: tuple[str, ...] = ()
    terminating_hooks: tuple[str, ...] = ()
    health_check_type: str = "EC2"
    max_lifetime_s: int = 0
    capacity_rebalance: bool = False
    refresh_in_progress: str = ""

    def member(self, instance_id: str) -> Member | None:
        """The member with this instance id, or None."""
        return next((m for m in self.members if m.instance_id == instance_id), None)


@dataclass(frozen=True, slots=True)
class Activity:
    """A scaling activity; ``message`` is AWS' own text (capacity, quota)."""

    started_at: float
    status: str
    description: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Parameter:
    """An SSM parameter's value and when it was last written (epoch seconds)."""

    name: str
    value: str
    modified_at: float


@dataclass(frozen=True, slots=True)
class Node:
    """A Node object; ``instance_id`` comes from ``spec.providerID`` ("" if it has none)."""

    name: str
    uid: str
    instance_id: str
    ready: bool
    ready_reason: str = ""
    unschedulable: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    created_at: float = 0.0
    provider_id: str = ""


@dataclass(frozen=True, slots=True)
class Owner:
    """A pod's controlling owner reference."""

    kind: str
    name: str
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod; ``terminating_since`` is None unless it has a deletion timestamp, ``started_at`` until a kubelet has it.

    Both are epoch seconds.
    """

    namespace: str
    name: str
    uid: str
    node: str
    phase: str
    ready: bool
    owner: Owner | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    terminating_since: float | None = None
    grace_s: float = 30.0
    mirror: bool = False
    empty_dir: bool = False
    claims: tuple[str, ...] = ()
    finalizers: tuple[str, ...] = ()
    priority: int = 0
    tolerates_everything: bool = False
    started_at: float | None = None

    @property
    def key(self) -> str:
        """``namespace/name``, as log lines and errors say it."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Budget:
    """A PodDisruptionBudget with its status; ``selector`` is matchLabels, ``expressions`` matchExpressions."""

    namespace: str
    name: str
    selector: Mapping[str, str]
    disruptions_allowed: int
    expected: int
    healthy: int
    desired_healthy: int
    expressions: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    always_allow_unhealthy: bool = False
    observed: bool = True

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment, StatefulSet or DaemonSet: how many it wants and how many are Ready.

    ``surges`` is True for a Deployment that replaces its last pod by starting the new one first; ``rolled_for`` is
    what we last rolled it for (:meth:`Cluster.roll`).
    """

    kind: str
    namespace: str
    name: str
    uid: str
    desired: int
    ready: int
    surges: bool = False
    rolled_for: str = ""

    @property
    def key(self) -> str:
        """``Kind namespace/name``."""
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Lease:
    """The Lease that is the lock; ``version`` is its resourceVersion, times are epoch seconds."""

    holder: str
    renewed_at: float
    duration_s: float
    annotations: Mapping[str, str]
    version: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One observation of one cluster, shared by all who wait for it."""

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

    def node_of(self, instance_id: str) -> Node | None:
        """The Node whose providerID names this instance, or None."""
        return next((n for n in self.nodes if n.instance_id == instance_id), None)

    def pods_on(self, node: str) -> tuple[Pod, ...]:
        """Every pod bound to a node."""
        return tuple(p for p in self.pods if p.node == node)


@dataclass(frozen=True, slots=True)
class Evicted:
    """The API server accepted the eviction."""


@dataclass(frozen=True, slots=True)
class RefusedByBudget:
    """429 with a DisruptionBudget cause: the budget allows no disruption now."""

    message: str
    retry_after_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Throttled:
    """429 without that cause: the API server is busy."""

    retry_after_s: float


@dataclass(frozen=True, slots=True)
class Misconfigured:
    """500: e.g. more than one budget covers the pod; no retry will help."""

    message: str


@dataclass(frozen=True, slots=True)
class PodGone:
    """404, or 409 because another pod has the name now: this pod is gone."""


EvictionAnswer = Evicted | RefusedByBudget | Throttled | Misconfigured | PodGone


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

    def instances(self, ids: Sequence[str]) -> Mapping[str, Instance]:
        """The instances among these ids that EC2 still knows, terminated ones included."""
        ...

    def tagged_instances(self, key: str, value: str = "*") -> Mapping[str, Instance]:
        """Instances, not yet terminated, whose tag has this value (orphans: out of every group)."""
        ...

    def activities(self, group: str, since: float) -> tuple[Activity, ...]:
        """Scaling activities that started after ``since``, newest first."""
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
        """Every PodDisruptionBudget."""
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
