"""What AWS shows of a cluster, as frozen values: instances, templates, Auto Scaling groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from node_rotation.model import TemplateVersion

LEAVING = ("Terminating", "Terminated", "Detach", "EnteringStandby", "Standby")
"""How the lifecycle states of members begin that are not, and won't be, in service (Auto Scaling user guide,
"instance lifecycle")."""
LEFT_ALONE = (*LEAVING, "Warmed:")
"""And of those that somebody has put aside as well: no drift is looked for in them."""
GONE_STATES = ("shutting-down", "terminated")
"""EC2's words for instances that it no longer runs, or soon won't."""
GROUP_TAG = "aws:autoscaling:groupName"
"""The tag by which AWS says which Auto Scaling group an instance is in."""


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
class Hook:
    """A lifecycle hook; ``transition`` is ``launching`` or ``terminating``.

    Without a heartbeat AWS ends its wait after ``heartbeat_s`` with ``result``, and after ``longest_s`` in any case.
    https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_LifecycleHook.html
    """

    name: str
    transition: str
    heartbeat_s: float = 3600.0
    longest_s: float = 172800.0
    result: str = "ABANDON"


@dataclass(frozen=True, slots=True)
class Target:
    """A machine as a target group shows it; ``state`` and ``reason`` are AWS' own words, ``ports`` where it listens."""

    state: str
    reason: str = ""
    ports: tuple[int, ...] = ()


Targets = Mapping[str, Target]
"""What a target group shows, by instance id; who is not in it is not registered."""

Registrations = Mapping[str, tuple[int, ...]]
"""Instance id → the ports it is registered on; none means the target group's own."""


MACHINES = "units"
"""A group's DesiredCapacityType where its sizes count machines, or their weights."""


@dataclass(frozen=True, slots=True)
class ScalingGroup:
    """An Auto Scaling group as it stands.

    :param override_images: what overrides launch whatever their template says: the override's name → image id.
    :param sized_in: what its sizes count (API: ``DesiredCapacityType``).
    :param warm_pool_reuses: what is scaled in goes back into the warm pool.
    """

    name: str
    min: int
    max: int
    desired: int
    members: tuple[Member, ...]
    template: TemplateSpec
    overrides: tuple[TemplateSpec | None, ...] = ()
    override_images: Mapping[str, str] = field(default_factory=dict)
    instance_types: tuple[str, ...] = ()
    weights: tuple[int, ...] = ()
    sized_in: str = MACHINES
    suspended: Mapping[str, str] = field(default_factory=dict)
    zones: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    target_groups: tuple[str, ...] = ()
    load_balancers: tuple[str, ...] = ()
    hooks: tuple[Hook, ...] = ()
    health_check_type: str = "EC2"
    max_lifetime_s: int = 0
    capacity_rebalance: bool = False
    refresh_in_progress: str = ""
    warm_pool: bool = False
    warm_pool_reuses: bool = False

    def member(self, instance_id: str) -> Member | None:
        """The member with this instance id, or None."""
        return next((m for m in self.members if m.instance_id == instance_id), None)

    def hooks_of(self, transition: str) -> tuple[Hook, ...]:
        """Its hooks of one transition."""
        return tuple(hook for hook in self.hooks if hook.transition == transition)


@dataclass(frozen=True, slots=True)
class Activity:
    """A scaling activity; ``message`` is AWS' own text (capacity, quota), ``cause`` why it was begun."""

    started_at: float
    status: str
    description: str
    message: str = ""
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Parameter:
    """An SSM parameter's value and when it was last written (epoch seconds)."""

    name: str
    value: str
    modified_at: float
