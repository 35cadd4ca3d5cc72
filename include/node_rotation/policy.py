"""How a rotation behaves: every setting with its default, merged from fleet to run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator

from node_rotation.clearance.windows import Blackout, Hours, Window
from node_rotation.configuration import shapes
from node_rotation.configuration.autoscaler_policy import AutoscalerPolicy
from node_rotation.configuration.durations import Duration as Duration
from node_rotation.configuration.durations import seconds as seconds
from node_rotation.configuration.image_policy import ImageCommand, ImagePod
from node_rotation.configuration.intake_policy import IntakePolicy
from node_rotation.configuration.notify_policy import Notify
from node_rotation.configuration.words import said
from node_rotation.control_plane.values import ControlPlanePolicy
from node_rotation.model import ImageStep, Strategy, Value
from node_rotation.workloads.gate_checks import GateCheck


def _share(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{said(value)} is neither a number of machines nor a percentage such as 25%")
    if isinstance(value, str):
        if not re.fullmatch(r"\d+%?", value):
            raise ValueError(f"{said(value)} is neither a number of machines nor a percentage such as 25%")
        return value if value.endswith("%") else int(value)
    if value < 0:
        raise ValueError(f"{value} is negative")
    return value


Share = Annotated[
    int | str,
    BeforeValidator(_share),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\d+%?$"}]}),
]
"""A number of machines, or a percentage of the group's desired size (rounded up for surge, down else)."""


class Mode(StrEnum):
    """What a run does once it has a plan."""

    PLAN = "plan"
    ROTATE = "rotate"


class OnGateFailure(StrEnum):
    """What later batches do when an earlier gate failed."""

    HOLD = "hold"
    SKIP = "skip"
    FAIL = "fail"


class PodRule(StrEnum):
    """What a drain does with pods that nobody would bring back, or that lose data."""

    EVICT = "evict"
    BLOCK = "block"
    WAIT = "wait"


class Protected(StrEnum):
    """What a rotation does with machines that are protected against scale-in."""

    BLOCK = "block"
    REPLACE = "replace"


class Process(StrEnum):
    """What may be suspended of an Auto Scaling group while it is rotated. Not Launch and Terminate: they do the work.

    https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-suspend-resume-processes.html
    """

    AZ_REBALANCE = "AZRebalance"
    ALARM_NOTIFICATION = "AlarmNotification"
    SCHEDULED_ACTIONS = "ScheduledActions"
    REPLACE_UNHEALTHY = "ReplaceUnhealthy"
    HEALTH_CHECK = "HealthCheck"
    INSTANCE_REFRESH = "InstanceRefresh"


class ImageSource(Value):
    """Where the target image comes from: template, ssm, name (with owner) or id.

    ``ssm`` may bring owner and name along: they answer for nights before the parameter was last written.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"ssm": "/images/base/current"}]})

    template: bool = Field(
        default=False, description="whatever the group's template launches; so it is where no image is named at all"
    )
    ssm: str | None = Field(
        default=None, examples=["/images/base/current"], description="an SSM parameter that holds an image id"
    )
    owner: str | None = Field(default=None, examples=["self"], description="an account id, 'self' or 'amazon'")
    name: str | None = Field(
        default=None, examples=["base-*"], description="an image name filter with *, for this owner"
    )
    id: str | None = Field(default=None, pattern=shapes.IMAGE_ID.pattern, description="a pinned image")
    release: str | None = Field(
        default=None,
        examples=["1.36.1-20261108"],
        description="a pinned AMI release version of EKS, managed groups only",
    )
    architecture: Literal["x86_64", "arm64"] = Field(default="x86_64", description="an image of another one is refused")
    soak: Duration = Field(default=0.0, description="an image younger than this is not rolled out yet")

    @model_validator(mode="after")
    def _one_source(self) -> ImageSource:
        given = [n for n in ("template", "ssm", "name", "id", "release") if getattr(self, n)]
        if len(given) > 1 and given != ["ssm", "name"]:
            raise ValueError(f"an image has one source, not {' and '.join(given)}")
        if bool(self.name) != bool(self.owner):
            raise ValueError("owner and name go together: owner: self, name: base-*")
        return self

    @property
    def from_template(self) -> bool:
        """Whether it is whatever the group's template launches: nothing else is named."""
        return not (self.ssm or self.name or self.id or self.release)


class BudgetPolicy(Value):
    """How many machines may be on their way at once, per group; ``cluster_slots`` caps them all."""

    max_surge: Share = Field(default=1, description="surge, detach: machines on top at once, or 25% of the group")
    max_unavailable: Share = Field(
        default=1, description="terminate_first: machines away at once, or 25% of the group; EKS groups have their own"
    )
    cluster_slots: int | None = Field(
        default=None, ge=1, description="machines in flight at once over all groups; none: only the groups' own limits"
    )


class DrainPolicy(Value):
    """How pods leave a machine."""

    timeout: Duration = Field(default=900.0, description="after this the machine goes back into service")
    grace: Duration | None = Field(default=None, description="overrides the pods' own grace period")
    wait_between_evictions: Duration = Field(default=0.0, description="between two pods of one machine")
    bare_pods: PodRule = Field(default=PodRule.BLOCK, description="pods without a controller: nobody brings them back")
    empty_dir: PodRule = Field(default=PodRule.EVICT, description="pods that lose what is in an emptyDir")
    jobs: PodRule = Field(default=PodRule.WAIT, description="pods of Jobs, which would have to start over")
    do_not_disrupt: PodRule = Field(
        default=PodRule.WAIT, description="pods and Nodes that ask for it: karpenter.sh/do-not-disrupt, safe-to-evict"
    )
    roll_single_replicas: bool = Field(
        default=False, description="a Deployment of one replica gets its new pod before the old one goes"
    )
    force_after: Duration | None = Field(
        default=None, description="pods still there after this are deleted past their budget; never by default"
    )


class GatePolicy(Value):
    """When a batch counts as well."""

    settle: Duration = Field(default=15.0, description="so long every look must be green, without a gap")
    timeout: Duration = Field(default=900.0, description="not well by then, the batch has failed")
    on_failure: OnGateFailure = Field(
        default=OnGateFailure.HOLD, description="what batches do behind one that failed: wait for somebody, or end"
    )
    checks: tuple[GateCheck, ...] = Field(default=(), description="have to be green too, before the run and after")


class DriftPolicy(Value):
    """What else than the image counts as drift."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"template": True}]})

    template: bool = Field(default=False, description="template changes other than the image")
    max_age: Duration | None = Field(default=None, description="machines older than this are replaced")


class Empty(StrEnum):
    """What it means that an environment before has nothing to prove an image on."""

    HOLD = "hold"
    ALLOW = "allow"


class Clusters(StrEnum):
    """How the clusters of one environment are rotated."""

    TOGETHER = "together"
    IN_TURN = "in_turn"


class PromotionPolicy(Value):
    """Where an image must have proven itself first: every machine of the required groups runs it.

    Required are the groups named, else those that take their images from where the group to be rotated does: the same
    source, or AMI type of EKS; where both have templates of their own, the group of the same name, or the only one.
    """

    after: Literal["previous"] | tuple[str, ...] = Field(
        default=(),
        examples=["previous"],
        description="previous: the environment before this one in the fleet file; or names of environments",
    )
    soak: Duration = Field(default=86400.0, description="so long a healthy node must have been running it there")
    groups: tuple[Annotated[str, StringConstraints(pattern=shapes.NAME.pattern)], ...] = Field(
        default=(),
        examples=[["workers"]],
        description="names of the node groups that count there, for every group here; none: those whose images come "
        "from the same source or AMI type, or, with templates of their own, that have the same name",
    )
    empty: Empty = Field(
        default=Empty.HOLD, description="if an environment there has no group, or a group no machine, to prove it on"
    )
    clusters: Clusters = Field(
        default=Clusters.TOGETHER,
        description="in_turn: one cluster of the environment at a time, in the fleet file's order, each only once "
        "those ahead of it run the image and their intake is open",
    )


class BlastRadius(Value):
    """What a plan must not exceed without approval."""

    share: Share | None = Field(
        default=None, examples=["25%"], description="machines, or a percentage of the cluster's: 25%"
    )
    control_plane: bool = Field(default=False, description="any control plane at all")


class ApprovalPolicy(Value):
    """Which plans somebody has to approve before anything is touched."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"required": True}]})

    required: bool = Field(default=False, description="every plan")
    above: BlastRadius = BlastRadius()
    timeout: Duration = Field(default=28800.0, gt=0, description="not answered by then, nothing is done")


class Policy(Value):
    """Every setting of a rotation. Merged: defaults < environment < cluster < node group < run."""

    mode: Mode = Field(default=Mode.ROTATE, description="plan: a run stops once its plan is made")
    strategy: Strategy = Field(
        default=Strategy.SURGE,
        description="surge: desired is raised, the old one drained and terminated; detach: the old one leaves its "
        "group, which replaces it; terminate_first: nobody on top; managed: EKS rolls its own groups",
    )
    image: ImageSource = ImageSource(template=True)
    image_step: ImageStep = Field(
        default=ImageStep.EXTERNAL,
        description="who puts the image into the template: the rotation (launch_template), a program, a pod, or others",
    )
    image_command: ImageCommand | None = Field(default=None, description="for image_step: command")
    image_pod: ImagePod | None = Field(default=None, description="for image_step: pod")
    intake: IntakePolicy | None = Field(default=None, description="closed while the cluster rotates")
    autoscaler: AutoscalerPolicy = AutoscalerPolicy()
    notify: tuple[Notify, ...] = Field(default=(), description="who is told; a more particular list replaces it")
    budget: BudgetPolicy = BudgetPolicy()
    canary: bool = Field(default=True, description="the first batch of a run goes alone, until its gate is passed")
    allow_detach_behind_load_balancer: bool = Field(
        default=False, description="detach deregisters at once and bypasses terminating hooks"
    )
    scale_in_protected: Protected = Field(
        default=Protected.BLOCK, description="what to do with machines that somebody protected against scale-in"
    )
    raise_max_size: bool = Field(
        default=True, description="surge may raise a full group's max size for the run; it is restored exactly"
    )
    launch_timeout: Duration = Field(default=900.0, description="a replacement has to be Ready and usable by then")
    terminate_timeout: Duration = Field(default=600.0, description="a machine has to be terminated by then")
    deregister_timeout: Duration = Field(
        default=900.0, description="so long machines may take to leave their target groups (their deregistration delay)"
    )
    hook_timeout: Duration = Field(
        default=3600.0, description="so long a lifecycle hook may hold a machine, on top of the other timeouts"
    )
    drain: DrainPolicy = DrainPolicy()
    gate: GatePolicy = GatePolicy()
    drift: DriftPolicy = DriftPolicy()
    control_plane: ControlPlanePolicy = ControlPlanePolicy()
    wait_between_rotations: Duration = Field(default=0.0, description="after a gate, before the next admission")
    wait_between_drains: Duration = Field(default=0.0, description="between the beginnings of two batches' drains")
    suspend_processes: tuple[Process, ...] = Field(
        default=(Process.AZ_REBALANCE,), description="of the Auto Scaling group, for the run; restored exactly"
    )
    lock_duration: Duration = Field(
        default=600.0,
        gt=0,
        description="a run silent for `lock_duration` and a quarter (12.5 minutes by default) is dead",
    )
    poll: Duration = Field(
        default=2.0,
        gt=0,
        description="how long one look at the world is shared; at most a third of `lock_duration`",
    )
    priority: int = Field(default=0, description="groups with a higher one go first")
    approval: ApprovalPolicy = ApprovalPolicy()
    promotion: PromotionPolicy = PromotionPolicy()
    windows: tuple[Window, ...] = Field(default=(), description="machines are replaced only in these; none: always")
    blackouts: tuple[Blackout, ...] = Field(default=(), description="dates on which nothing is touched")
    outside_windows: str | None = Field(
        default=None,
        pattern=shapes.REASON.pattern,
        description="for one run: why it may work outside its windows; goes on record",
    )
    pin: bool = Field(
        default=False, description="for one run: it keeps its image, and while it waits nothing newer takes its place"
    )
    skip_promotion: str | None = Field(
        default=None,
        pattern=shapes.REASON.pattern,
        description="for one run: why it waits neither for the environments before nor for its turn; goes on record",
    )

    @property
    def promoted(self) -> PromotionPolicy:
        """What has to have proven an image first, for this run."""
        return PromotionPolicy() if self.skip_promotion else self.promotion

    @property
    def hours(self) -> Hours:
        """When the cluster may be touched."""
        return Hours() if self.outside_windows else Hours(self.windows, self.blackouts)


_SOURCES = frozenset({"template", "ssm", "owner", "name", "id", "release"})


def merge(*layers: Policy | Mapping[str, Any]) -> Policy:
    """Lay policies over each other; only what a layer says counts.

    :param layers: from the most general to the most particular.
    :raises ValueError: (pydantic's) if the result is no policy.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        said = layer.model_dump(exclude_unset=True) if isinstance(layer, Policy) else dict(layer)
        _lay(merged, said)
    return Policy.model_validate(merged)


def _lay(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        under = below.get(key)
        if not isinstance(value, Mapping):  # where settings belong, validation says so
            below[key] = value
        elif not isinstance(under, dict):
            below[key] = dict(value)
        elif key == "image" and not _SOURCES.isdisjoint(value):  # sources exclude each other: one replaces another
            below[key] = {**{k: v for k, v in under.items() if k in ("soak", "architecture")}, **value}
        else:
            _lay(under, value)
