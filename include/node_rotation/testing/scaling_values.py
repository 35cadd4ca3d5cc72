"""What Auto Scaling knows: groups, members, where an instance is launched from, and its outside world."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from node_rotation.testing.scaling_activity import Activity

PROCESSES = (
    "Launch",
    "Terminate",
    "AddToLoadBalancer",
    "AlarmNotification",
    "AZRebalance",
    "HealthCheck",
    "InstanceRefresh",
    "ReplaceUnhealthy",
    "ScheduledActions",
)


class AwsFault(Exception):  # noqa: N818 -- an answer of AWS, not a mishap of ours
    """An error as AWS answers it.

    :param code: AWS' error code, e.g. ``ValidationError``.
    :param message: AWS' own words.
    :param status: HTTP status.
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


class LaunchFailed(Exception):  # noqa: N818
    """EC2 refused a launch; the text goes into the scaling activity."""


class Lifecycle(StrEnum):
    """A member's lifecycle state, as DescribeAutoScalingGroups names it."""

    PENDING = "Pending"
    PENDING_WAIT = "Pending:Wait"
    PENDING_PROCEED = "Pending:Proceed"
    IN_SERVICE = "InService"
    TERMINATING = "Terminating"
    TERMINATING_WAIT = "Terminating:Wait"
    TERMINATING_PROCEED = "Terminating:Proceed"
    TERMINATING_RETAINED = "Terminating:Retained"
    DETACHING = "Detaching"
    WARMED_PENDING = "Warmed:Pending"
    WARMED_STOPPED = "Warmed:Stopped"
    WARMED_TERMINATING = "Warmed:Terminating"


@dataclass(frozen=True)
class TemplateRef:
    """A launch template as a group names it; ``version`` may be ``$Latest`` or ``$Default``."""

    template_id: str | None = None
    template_name: str | None = None
    version: str = "$Default"


@dataclass(frozen=True)
class Override:
    """One entry of a mixed-instances policy."""

    instance_type: str | None = None
    weight: int = 1
    template: TemplateRef | None = None
    image_id: str | None = None


@dataclass(frozen=True)
class LaunchSource:
    """What a group launches from: a template, a mixed-instances policy or a launch configuration."""

    template: TemplateRef | None = None
    configuration: str | None = None
    mixed: bool = False
    overrides: tuple[Override, ...] = ()
    distribution: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Blueprint:
    """A launch source at one moment: the real version number, its image and its type."""

    image_id: str
    instance_type: str
    template_id: str | None = None
    template_name: str | None = None
    version: str | None = None
    configuration: str | None = None


@dataclass(frozen=True)
class Place:
    """A zone of a group and the subnet in it."""

    zone: str
    subnet_id: str | None = None


@dataclass(frozen=True)
class Launch:
    """One instance that Auto Scaling asks EC2 for."""

    group: str
    blueprint: Blueprint
    place: Place
    tags: Mapping[str, str]
    warm: bool = False
    """For a warm pool: it boots and is stopped then, without ever being of use."""


@dataclass
class HookWait:
    """One lifecycle action that is not completed yet; ``beats`` counts its heartbeats."""

    name: str
    transition: str
    hook: Mapping[str, Any]
    token: str
    since: float
    beats: int = 0


@dataclass
class Member:
    """An instance of a group, with the version it was really launched from."""

    instance_id: str
    blueprint: Blueprint
    zone: str
    launched_at: float
    lifecycle: Lifecycle = Lifecycle.PENDING
    healthy: bool = True
    protected: bool = False
    weight: int = 1
    rebalances: bool = False
    activity: Activity | None = None
    in_service_at: float | None = None
    waits: dict[str, HookWait] = field(default_factory=dict)
    on_complete: Callable[[str], None] | None = None

    @property
    def arriving(self) -> bool:
        """Whether it is on its way into service."""
        return self.lifecycle in (Lifecycle.PENDING, Lifecycle.PENDING_WAIT, Lifecycle.PENDING_PROCEED)

    @property
    def alive(self) -> bool:
        """Whether it counts towards the group's capacity."""
        return self.arriving or self.lifecycle is Lifecycle.IN_SERVICE


@dataclass(frozen=True)
class GroupTag:
    """A tag of a group; ``propagate`` copies it to what the group launches."""

    key: str
    value: str
    propagate: bool = False


@dataclass
class Group:
    """An Auto Scaling group: what was asked for, and what is."""

    name: str
    source: LaunchSource
    min_size: int
    max_size: int
    desired: int
    places: tuple[Place, ...]
    tags: dict[str, GroupTag] = field(default_factory=dict)
    new_instances_protected: bool = False
    termination_policies: tuple[str, ...] = ("Default",)
    # What AWS keeps and answers, but the state machine does not act upon.
    attributes: dict[str, Any] = field(default_factory=dict)
    created_at: float = 0.0
    members: dict[str, Member] = field(default_factory=dict)
    suspended: dict[str, str] = field(default_factory=dict)
    activities: list[Activity] = field(default_factory=list)
    hooks: dict[str, dict[str, Any]] = field(default_factory=dict)
    warm_pool: dict[str, Any] | None = None
    pool: dict[str, Member] = field(default_factory=dict)
    refreshes: list[dict[str, Any]] = field(default_factory=list)
    deleting: bool = False
    retry_at: float = 0.0
    asked: list[str] = field(default_factory=list)
    """How desired was changed since the last pass; what follows from it says so in its cause."""
    kicked: bool = False

    @property
    def target_groups(self) -> tuple[str, ...]:
        """The target groups (ARNs) that its machines are registered in."""
        return tuple(self.attributes.get("TargetGroupARNs") or ())

    def live(self) -> list[Member]:
        """Members that are not on their way out."""
        return [member for member in self.members.values() if member.alive]

    def capacity(self) -> int:
        """What its live members weigh together."""
        return sum(member.weight for member in self.live())

    def runs(self, process: str) -> bool:
        """Whether a scaling process is not suspended."""
        return process not in self.suspended


@dataclass(frozen=True)
class GroupChange:
    """What UpdateAutoScalingGroup changes; None leaves a thing as it is."""

    source: LaunchSource | None = None
    min_size: int | None = None
    max_size: int | None = None
    desired: int | None = None
    places: tuple[Place, ...] | None = None
    new_instances_protected: bool | None = None
    termination_policies: tuple[str, ...] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


class Clock(Protocol):
    """Time, real or virtual."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def after(self, delay_s: float, callback: Callable[[], None]) -> object:
        """Call ``callback`` once, ``delay_s`` seconds from now."""


class Compute(Protocol):
    """The EC2 that Auto Scaling sees."""

    def blueprint(self, source: TemplateRef | str) -> Blueprint:
        """Resolve a template reference, or a launch configuration's name, as of now."""

    def launch(self, launch: Launch) -> str:
        """Start an instance and answer its id at once.

        :raises LaunchFailed: with AWS' text, e.g. for an image that is gone.
        """

    def start(self, instance_id: str) -> None:
        """Boot a stopped instance."""

    def on_running(self, instance_id: str, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the instance is running, or warm; never if it does not get there."""

    def state(self, instance_id: str) -> str:
        """EC2's state name, e.g. ``running``."""

    def describe(self, instance_id: str) -> tuple[Blueprint, str]:
        """What a foreign instance (one to be attached) runs, and its zone."""

    def terminate(self, instance_id: str, on_gone: Callable[[], None]) -> None:
        """Terminate it; ``on_gone`` once it is terminated."""

    def set_group_tag(self, instance_id: str, group: str | None) -> None:
        """Put or remove ``aws:autoscaling:groupName``."""


class Faults(Protocol):
    """What can go wrong with a launch."""

    def capacity(self, instance_type: str, zone: str, others: tuple[str, ...]) -> str | None:
        """AWS' InsufficientInstanceCapacity text, if this type can't be had in this zone now."""
