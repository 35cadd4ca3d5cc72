"""What a world in memory is made of, as plain values; the field names are those of a scenario file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h|d)$")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_Seed = TypeVar("_Seed")


@dataclass(frozen=True)
class Timing:
    """How long AWS, machines and Kubernetes take, in seconds; ``*_jitter`` is a share, uniform.

    :param detach: how long a group still lists a member as Detaching.
    :param node_removal: from terminated to the Node object gone; None: it is never removed.
    :param stop_jitter: of the workloads' ``stops_after``.
    :param sync: how late the disruption controller notices a change.
    :param pod_gc: how long a pod outlives its Node object (Kubernetes: podgc's quarantineTime, 40 s).
    :param volume_detach: from a pod's end to its volume detached.
    :param not_ready_eviction: tolerationSeconds that every pod gets for not-ready (Kubernetes: 300 s).
    :param etcd_start: from a master's running to its etcd members being up on the volume.
    :param failover: how long the API server is away when a master goes, until connections find another one.
    :param eks_eviction: and the other ``eks_*``: see ``managed_values.Pace``.
    """

    boot: float = 3.0
    boot_jitter: float = 0.0
    join: float = 0.0
    shutdown: float = 1.0
    stop: float = 1.0
    reconcile: float = 0.2
    capacity_retry: float = 2.0
    detach: float = 0.3
    node_removal: float | None = 2.0
    heartbeat_grace: float = 10.0
    stop_jitter: float = 0.0
    sync: float = 0.05
    pod_gc: float = 40.0
    not_ready_eviction: float = 300.0
    etcd_start: float = 1.0
    failover: float = 1.0
    volume_detach: float = 1.0
    eks_eviction: float = 900.0
    eks_pause: float = 60.0
    eks_look: float = 1.0
    eks_nodes: float = 900.0


@dataclass(frozen=True)
class Image:
    """A machine image; ``behaviour`` is good, never-joins, joins-not-ready or fails-later.

    :param release: EKS' AMI release version of it.
    """

    name: str
    created: str = "2026-11-01T06:00:00.000Z"
    owner: str = "self"
    architecture: str = "x86_64"
    deprecated: str | None = None
    behaviour: str = "good"
    fails_after: float = 5.0
    release: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Parameter:
    """An SSM parameter that names an image; one called ``release_version`` holds the image's release."""

    name: str
    image: str
    modified: str | None = None


@dataclass(frozen=True)
class Override:
    """One entry of a mixed-instances policy."""

    instance_type: str
    weight: int | None = None
    version: str | None = None


@dataclass(frozen=True)
class TargetGroup:
    """A target group behind a load balancer.

    :param healthy_after: from registration to the first checks being over.
    """

    name: str
    deregistration_delay: float = 300.0
    healthy_after: float = 1.0


@dataclass(frozen=True)
class Hook:
    """A lifecycle hook; ``transition`` is launching or terminating.

    :param completes_after: its owner says CONTINUE so long after a machine has begun to wait; None: nobody does.
    """

    name: str
    transition: str
    heartbeat: float = 3600.0
    result: str = "ABANDON"
    completes_after: float | None = None


@dataclass(frozen=True)
class Group:
    """A node group; its Auto Scaling group is named ``<cluster>-<name>``.

    :param target_groups: names of those that its machines are registered in.
    :param health_check: EC2, or ELB for those of its target groups too.
    :param ami_type: and the next four: of kind eks-managed. CUSTOM has a user's template ``<cluster>-<name>-user``.
    """

    name: str
    image: str
    desired: int
    min: int = 0
    max: int = 100
    kind: str = "asg"
    role: str = "worker"
    template: str = "launch_template"
    version: str = "$Latest"
    next_image: str | None = None
    resolve_ssm: str | None = None
    instance_type: str = "m6i.large"
    overrides: tuple[Override, ...] = ()
    zones: tuple[str, ...] = ("a", "b", "c")
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    new_instances_protected: bool = False
    target_groups: tuple[str, ...] = ()
    hooks: tuple[Hook, ...] = ()
    health_check: str = "EC2"
    ami_type: str = "AL2023_x86_64_STANDARD"
    kubernetes: str = "1.36"
    max_unavailable: int | None = None
    max_unavailable_percentage: int | None = None
    update_strategy: str = "DEFAULT"


@dataclass(frozen=True)
class DisruptionBudget:
    """A PodDisruptionBudget; without a selector it covers the workload that carries it."""

    min_available: int | str | None = None
    max_unavailable: int | str | None = None
    name: str = ""
    namespace: str = "default"
    selector: Mapping[str, str] = field(default_factory=dict)
    always_allow_unhealthy: bool = False


@dataclass(frozen=True)
class Workload:
    """Something that runs: Deployment, StatefulSet, DaemonSet, Job or a bare Pod.

    :param volume: each pod has a claim of its own, whose volume stays in the zone where the pod first ran.
    :param node_selector: of a DaemonSet: the labels of the nodes that it runs on.
    """

    name: str
    kind: str = "Deployment"
    namespace: str = "default"
    replicas: int = 1
    ready_after: float = 1.0
    stops_after: float = 1.0
    spread: str = "none"
    empty_dir: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    tolerate_everything: bool = False
    volume: bool = False
    priority_class: str | None = None
    budget: DisruptionBudget | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong, by the n-th call of an action (or by type and zone: capacity).

    :param kind: throttle, error, denied (only a person can clear it), conflict, lost_answer, delay or capacity.
    :param service: ec2, autoscaling, ssm or kubernetes; None: any.
    :param action: AWS' operation, or the method's name in the ``Cluster`` protocol; None: any.
    :param calls: 1-based; (): every call.
    :param launches: of a capacity fault: so many launches fail; None: all.
    """

    kind: str
    service: str | None = None
    action: str | None = None
    calls: tuple[int, ...] = ()
    code: str | None = None
    message: str | None = None
    status: int = 400
    instance_type: str = "*"
    zone: str = "*"
    launches: int | None = None
    delay: float = 0.0


@dataclass(frozen=True)
class WorldSeed:
    """One cluster and the AWS account around it, before anything happens."""

    groups: tuple[Group, ...]
    images: tuple[Image, ...]
    workloads: tuple[Workload, ...] = ()
    budgets: tuple[DisruptionBudget, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    target_groups: tuple[TargetGroup, ...] = ()
    faults: tuple[Fault, ...] = ()
    timing: Timing = Timing()
    cluster: str = "dev"
    environment: str = "dev"
    region: str = "eu-central-1"
    account: str = "123456789012"
    seed: int = 1


def from_scenario(scenario: Any, cluster: str | None = None) -> WorldSeed:
    """Read a scenario: the mapping that its YAML file holds, or any pydantic model of the same shape.

    :param cluster: the name of the cluster to take; None: the first.
    :raises ValueError: if there is no such cluster, or a key is not known.
    """
    data: Mapping[str, Any] = scenario.model_dump() if hasattr(scenario, "model_dump") else scenario
    chosen = _cluster(data, cluster)
    return WorldSeed(
        groups=_all(Group, chosen["groups"]),
        images=_all(Image, data["images"]),
        workloads=_all(Workload, chosen.get("workloads", ())),
        parameters=_all(Parameter, data.get("parameters", ())),
        target_groups=_all(TargetGroup, data.get("target_groups", ())),
        faults=_all(Fault, data.get("faults", ())),
        timing=_read(Timing, data.get("timing", {})),
        cluster=chosen["name"],
        environment=chosen["environment"],
        region=data.get("region", "eu-central-1"),
        account=data.get("account", "123456789012"),
        seed=data.get("seed", 1),
    )


def _cluster(data: Mapping[str, Any], name: str | None) -> Mapping[str, Any]:
    for candidate in data["clusters"]:
        if name in (None, candidate["name"]):
            return dict(candidate)
    raise ValueError(f"scenario {data['name']!r} has no cluster {name!r}")


def _all(kind: type[_Seed], given: Any) -> tuple[_Seed, ...]:
    return tuple(_read(kind, one) for one in given)


def _read(kind: type[_Seed], given: Mapping[str, Any]) -> _Seed:
    known = {f.name: f.type for f in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"{kind.__name__} {given.get('name', '')!r}: unknown {', '.join(unknown)}")
    return kind(**{key: _value(key, str(known[key]), value) for key, value in given.items()})


def _value(key: str, annotation: str, value: Any) -> Any:
    if key == "budget" and value is not None:
        return _read(DisruptionBudget, value)
    if key == "overrides":
        return _all(Override, value)
    if key == "hooks":
        return _all(Hook, value)
    if annotation.startswith("float") and isinstance(value, str):
        return _seconds(value)
    return tuple(value) if isinstance(value, list) else value


def _seconds(value: str) -> float:
    if match := _DURATION.match(value):
        return float(match[1]) * _UNIT_S[match[2]]
    raise ValueError(f"{value!r} is not a duration such as 90s, 15m or 2h")
