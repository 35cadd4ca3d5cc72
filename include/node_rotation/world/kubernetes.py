"""What the API server shows of a cluster, as frozen values: nodes, pods, budgets, workloads, the lock's Lease."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Taint = tuple[str, str, str]
"""key, value, effect"""
Toleration = tuple[str, str, str, str]
"""key, operator, value, effect"""


@dataclass(frozen=True, slots=True)
class Node:
    """A Node object; ``instance_id`` comes from ``spec.providerID``, ``address`` is its InternalIP; "" without one.

    ``ready_reason`` is the one word for why it is not Ready, which Nodes with the same trouble share; in
    ``ready_message`` stand times and addresses of its own.
    """

    name: str
    uid: str
    instance_id: str
    ready: bool
    ready_reason: str = ""
    ready_message: str = ""
    unschedulable: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    created_at: float = 0.0
    provider_id: str = ""
    address: str = ""

    @property
    def why_not_ready(self) -> str:
        """Reason and message for a person; empty if it is Ready."""
        said = ": ".join(part for part in (self.ready_reason, self.ready_message) if part)
        return "" if self.ready else said or "no reason given"


@dataclass(frozen=True, slots=True)
class Owner:
    """A pod's controlling owner reference."""

    kind: str
    name: str
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod; ``terminating_since`` is None unless it has a deletion timestamp, ``started_at`` until a kubelet has it.

    Both and ``created_at`` are epoch seconds. ``tolerations`` are those for good, not for some seconds.
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
    tolerations: tuple[Toleration, ...] = ()
    created_at: float = 0.0

    @property
    def key(self) -> str:
        """``namespace/name``, as log lines and errors say it."""
        return f"{self.namespace}/{self.name}"

    def tolerates(self, taint: Taint) -> bool:
        """Whether a node's taint does not keep it away: as Kubernetes matches it with the pod's tolerations."""
        key, value, effect = taint
        return any(
            own_key in ("", key) and own_effect in ("", effect) and (operator == "Exists" or own_value == value)
            for own_key, operator, own_value, own_effect in self.tolerations
        )


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
    what we last rolled it for (:meth:`Cluster.roll`). A DaemonSet is ``lacking`` its pod on so many of its nodes. A
    Deployment that we paused had ``before_pause`` replicas, as its annotation says it.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    desired: int
    ready: int
    surges: bool = False
    rolled_for: str = ""
    lacking: int = 0
    before_pause: str = ""

    @property
    def key(self) -> str:
        """``Kind namespace/name``."""
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Lease:
    """The Lease that is the lock; ``version`` is its resourceVersion, times are epoch seconds.

    Its holder has it since ``acquired_at``; 0 if nobody wrote that down.
    """

    holder: str
    renewed_at: float
    duration_s: float
    annotations: Mapping[str, str]
    version: str
    acquired_at: float = 0.0

    def acquired_by(self, holder: str, now: float) -> float:
        """Since when somebody has it who writes it now."""
        return self.acquired_at if holder == self.holder else now
