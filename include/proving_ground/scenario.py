"""What a proving ground holds, as data: images, clusters, node groups, workloads and faults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

SCENARIOS = Path(__file__).parent / "scenarios"
_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h|d)$")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _seconds(value: Any) -> Any:
    if isinstance(value, str) and (match := _DURATION.match(value)):
        return float(match[1]) * _UNIT_S[match[2]]
    if isinstance(value, str):
        raise ValueError(f"{value!r} is not a duration such as 90s, 15m or 2h")
    return value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]
ImageBehaviour = Literal["good", "never-joins", "joins-not-ready", "fails-later"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Timing(_Part):
    """How long AWS and the machines take, in seconds; ``*_jitter`` is a share of the value, uniform."""

    boot: Seconds = 3.0
    boot_jitter: float = Field(default=0.0, ge=0, le=1)
    join: Seconds = Field(default=0.0, description="from running to the Node object being Ready")
    shutdown: Seconds = 1.0
    stop: Seconds = 1.0
    reconcile: Seconds = Field(default=0.2, description="how late Auto Scaling notices a difference")
    capacity_retry: Seconds = 2.0
    detach: Seconds = Field(default=0.3, description="how long a detached machine stays listed as Detaching")
    node_removal: Seconds | None = Field(default=2.0, description="None: the cloud controller never removes it")
    eks_eviction: Seconds = Field(default=900.0, description="EKS fails an update over a machine that does not empty")
    eks_pause: Seconds = Field(default=60.0, description="EKS waits between an empty machine and its termination")
    eks_look: Seconds = Field(default=1.0, description="between two looks of EKS at what it rolls")
    eks_nodes: Seconds = Field(default=900.0, description="EKS fails an update over new nodes that are not Ready")
    heartbeat_grace: Seconds = Field(default=10.0, description="missed heartbeats until a Node is NotReady")


class Image(_Part):
    """A machine image as the scenario seeds it; ``name`` is its key everywhere in the file."""

    name: str
    created: str = Field(description="ISO 8601, as DescribeImages shows it")
    owner: str = Field(default="self", description="'self', 'amazon' or an account id")
    architecture: Literal["x86_64", "arm64"] = "x86_64"
    deprecated: str | None = None
    behaviour: ImageBehaviour = "good"
    fails_after: Seconds = Field(default=5.0, description="for fails-later: Ready for so long")
    release: str = Field(default="", description="EKS' AMI release version of it")
    tags: dict[str, str] = {}


class Parameter(_Part):
    """An SSM parameter, public (``/aws/service/...``) or ours, that names an image.

    One called ``release_version`` holds the image's release.
    """

    name: str
    image: str
    modified: str | None = None


class Override(_Part):
    """One entry of a mixed-instances policy; ``version`` is a template version of its own."""

    instance_type: str
    weight: int | None = None
    version: str | None = None


class TargetGroup(_Part):
    """A target group that a load balancer forwards to; ``name`` is its key in the file."""

    name: str = Field(pattern=r"^[a-zA-Z0-9-]{1,32}$")
    deregistration_delay: Seconds = Field(default=300.0, le=3600, description="so long a target that leaves drains")
    healthy_after: Seconds = Field(default=1.0, description="from registration to the first checks being over")


class Hook(_Part):
    """A lifecycle hook; AWS ends its wait after ``heartbeat`` with ``result``."""

    name: str
    transition: Literal["launching", "terminating"]
    heartbeat: Seconds = Field(default=3600.0, gt=0, description="AWS' own API takes 30 s to 2 h")
    result: Literal["CONTINUE", "ABANDON"] = "ABANDON"
    completes_after: Seconds | None = Field(default=None, description="its owner says CONTINUE then; None: nobody does")


class NodeGroup(_Part):
    """An Auto Scaling group named ``<cluster>-<name>``, self-managed or EKS'."""

    name: str
    kind: Literal["asg", "kops", "eks-managed"] = "asg"
    role: Literal["worker", "control-plane"] = "worker"
    template: Literal["launch_template", "mixed_instances", "launch_configuration"] = "launch_template"
    version: str = Field(default="$Latest", description="$Latest, $Default or a number")
    image: str = Field(description="the image its machines start on")
    next_image: str | None = Field(
        default=None, description="once they run, a second template version with this image is made"
    )
    resolve_ssm: str | None = Field(default=None, description="the template says resolve:ssm:<this>")
    instance_type: str = "m6i.large"
    overrides: tuple[Override, ...] = ()
    min: int = Field(ge=0)
    max: int = Field(ge=0)
    desired: int = Field(ge=0)
    zones: tuple[str, ...] = ("a", "b", "c")
    labels: dict[str, str] = {}
    taints: tuple[str, ...] = Field(default=(), description="key=value:Effect, set when a node joins")
    tags: dict[str, str] = {}
    new_instances_protected: bool = False
    target_groups: tuple[str, ...] = Field(default=(), description="names of those its machines are registered in")
    hooks: tuple[Hook, ...] = ()
    health_check: Literal["EC2", "ELB"] = Field(default="EC2", description="ELB: the target groups' checks count too")
    ami_type: str = Field(default="AL2023_x86_64_STANDARD", description="this and what follows: eks-managed only")
    kubernetes: str = "1.36"
    max_unavailable: int | None = None
    max_unavailable_percentage: int | None = None
    update_strategy: Literal["DEFAULT", "MINIMAL"] = "DEFAULT"


class DisruptionBudget(_Part):
    """A PodDisruptionBudget over the workload's own pods; exactly one of the two is set."""

    min_available: int | str | None = None
    max_unavailable: int | str | None = None


class Workload(_Part):
    """Something that runs; its pods become Ready and go away as the two durations say."""

    name: str
    kind: Literal["Deployment", "StatefulSet", "DaemonSet", "Job", "Pod"] = "Deployment"
    namespace: str = "default"
    replicas: int = Field(default=1, ge=0)
    ready_after: Seconds = 1.0
    stops_after: Seconds = Field(default=1.0, description="from deletion to the pod being gone")
    spread: Literal["none", "hostname", "zone"] = "none"
    empty_dir: bool = False
    volume: bool = Field(default=False, description="StatefulSets: each pod has a volume of its own, zones in turn")
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: tuple[str, ...] = ()
    tolerate_everything: bool = False
    priority_class: str | None = None
    budget: DisruptionBudget | None = None

    @model_validator(mode="after")
    def _volumes_of_stateful_sets(self) -> Workload:
        if self.volume and self.kind != "StatefulSet":
            raise ValueError(f"{self.kind} {self.name}: only a StatefulSet's pods have volumes here")
        return self


class Constants(_Part):
    """What an observer computes its bound from, beside sizes and timing; seconds, and machines at once."""

    boot: Seconds | None = Field(default=None, description="from launch to Ready; None: the scenario's own timing")
    drain: Seconds = Field(description="how long a machine's pods take to leave")
    gate: Seconds = Field(description="how long a gate has to be green")
    master_gate: Seconds | None = Field(default=None, description="a master's; None: as the others'")
    slots: int = Field(ge=1, description="machines of worker groups that may be in flight at once")


class Cluster(_Part):
    """One Kubernetes cluster with a control plane of its own."""

    name: str
    environment: str
    kind: Literal["eks", "kops", "plain"] = "plain"
    groups: tuple[NodeGroup, ...]
    workloads: tuple[Workload, ...] = ()
    observer: Constants | None = Field(default=None, description="instead of the scenario's")


class Fault(_Part):
    """Something that goes wrong: keyed by the n-th call of an action, or by type and zone."""

    kind: Literal["throttle", "error", "capacity", "lost_answer", "delay"]
    service: Literal["ec2", "autoscaling", "eks", "ssm", "elbv2", "iam", "service-quotas", "sts"] = "autoscaling"
    action: str | None = Field(default=None, description="e.g. DetachInstances; None: every action")
    calls: tuple[int, ...] = Field(default=(), description="1-based calls of that action; (): every call")
    code: str | None = None
    message: str | None = None
    status: int = 400
    instance_type: str = "*"
    zone: str = Field(default="*", description="zone letter or *; for capacity")
    launches: int | None = Field(default=None, description="capacity: so many launches fail; None: all")
    delay: Seconds = 0.0


class Scenario(_Part):
    """A whole world before anything happens."""

    schema_version: Literal[1] = 1
    name: str
    seed: int = 1
    region: str = "eu-central-1"
    account: str = "123456789012"
    timing: Timing = Timing()
    images: tuple[Image, ...]
    parameters: tuple[Parameter, ...] = ()
    target_groups: tuple[TargetGroup, ...] = ()
    clusters: tuple[Cluster, ...]
    faults: tuple[Fault, ...] = ()
    observer: Constants | None = None

    @model_validator(mode="after")
    def _known_target_groups(self) -> Scenario:
        known = {target_group.name for target_group in self.target_groups}
        for group in (group for cluster in self.clusters for group in cluster.groups):
            if unknown := sorted(set(group.target_groups) - known):
                raise ValueError(f"group {group.name} names {unknown[0]!r}, which is not one of target_groups")
        return self


def load(source: str | Path) -> Scenario:
    """Read and validate a scenario.

    :param source: a file, or the name of one that comes with the proving ground.
    :raises ValueError: names the file and every path in it that is wrong.
    """
    path = Path(source)
    if not path.suffix:
        path = SCENARIOS / f"{source}.yaml"
    data = yaml.safe_load(path.read_text())
    try:
        return Scenario.model_validate(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
