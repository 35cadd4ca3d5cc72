"""The words of the field as values: images, targets, drift, batches, plans. All frozen, all JSON."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from datetime import date, datetime
from enum import StrEnum
from itertools import dropwhile
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

PLAN_SCHEMA_VERSION = 2  # Plan.schema_version; docs/plan.schema.json
MAX_BATCHES = 64


class Value(BaseModel):
    """A frozen value that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Kind(StrEnum):
    """How a node group is managed."""

    ASG = "asg"
    EKS_MANAGED = "eks-managed"
    KOPS = "kops"


class Role(StrEnum):
    """What the machines of a group are for."""

    WORKER = "worker"
    CONTROL_PLANE = "control-plane"


class Strategy(StrEnum):
    """How a machine is replaced, and which side of the budget that spends."""

    SURGE = "surge"
    DETACH = "detach"
    TERMINATE_FIRST = "terminate_first"
    MANAGED = "managed"


class ImageStep(StrEnum):
    """Who writes the target image into the group's template."""

    LAUNCH_TEMPLATE = "launch_template"
    COMMAND = "command"
    POD = "pod"
    EXTERNAL = "external"


class StepName(StrEnum):
    """The steps of a batch, in their order."""

    ADMIT = "admit"
    LAUNCH = "launch"
    CORDON = "cordon"
    DRAIN = "drain"
    TERMINATE = "terminate"
    GATE = "health_gate"
    HEAL = "heal"


class DriftReason(StrEnum):
    """Why a machine is not what its target says."""

    IMAGE = "image"
    TEMPLATE_VERSION = "launch template version"
    LAUNCH_CONFIGURATION = "launch configuration"
    AGE = "age"
    MARKED = "marked by hand"


class Image(Value):
    """A machine image (AMI)."""

    id: str
    name: str
    owner: str
    created: datetime
    architecture: str = "x86_64"
    deprecated: datetime | None = None
    copied_from: str = Field(
        default="", description="id of the image it is a copy of; of one built from an instance empty"
    )


class TemplateVersion(Value):
    """A launch template version, or a launch configuration (then ``version`` is empty)."""

    name: str
    id: str = ""
    version: str = ""


class Target(Value):
    """What the machines of a group should run, pinned.

    ``template`` is the version that launches ``image``; None while the image step has yet to make it, from the version
    ``based_on``.
    """

    image: Image
    template: TemplateVersion | None = None
    based_on: TemplateVersion | None = None
    source: str = Field(description="where the image came from, e.g. 'ssm /images/base/current'")
    release: str = Field(default="", description="EKS' AMI release version of the image, e.g. 1.36.1-20261108")


class PlannedMachine(Value):
    """A machine that a plan replaces."""

    instance_id: str
    node: str | None = None
    zone: str = ""
    image_id: str = ""
    reasons: tuple[DriftReason, ...]


class Batch(Value):
    """Machines of one group that go through the steps together.

    ``name`` is ``group/number`` (from 1); it names tasks, claims and log lines.
    """

    name: str
    group: str
    machines: tuple[PlannedMachine, ...] = Field(min_length=1)
    canary: bool = False
    longer_s: float = Field(
        default=0.0, ge=0, description="what leaving target groups and pauses between evictions add to the usual time"
    )


def balance_batch(group: str, number: int) -> str:
    """The name of a batch that no plan knows: it evens a group out over its zones."""
    return f"{group}/balance-{number}"


def is_balance(batch: str) -> bool:
    """Whether a batch's name is such a one."""
    return batch.rpartition("/")[2].startswith("balance-")


def group_of(batch: str) -> str:
    """The node group of a batch, by the batch's name."""
    return batch.rpartition("/")[0]


class ManagedPlan(Value):
    """How EKS rolls a managed node group, by the group's own update configuration."""

    eks_cluster: str
    nodegroup: str
    version: str = Field(description="the group's Kubernetes version, which the update keeps")
    at_once: int = Field(ge=1, description="machines that EKS takes away at once")
    extra: int = Field(ge=0, description="machines that EKS adds for the time of the update")
    force: bool = Field(default=False, description="pods that don't leave in 15 minutes are deleted")


class GroupPlan(Value):
    """What the plan says of one node group."""

    name: str
    asg: str = Field(description="the Auto Scaling group's name")
    role: Role = Role.WORKER
    kind: Kind = Kind.ASG
    strategy: Strategy
    image_step: ImageStep
    needs_image_step: bool = Field(description="the template as it stands does not launch the target")
    target: Target
    slots: int = Field(ge=0, description="machines of this group that may be in flight at once; 0 is blocked")
    size: int = Field(ge=0, description="desired size when the plan was made")
    managed: ManagedPlan | None = Field(default=None, description="of strategy managed only")


class Blocker(Value):
    """Why a plan can't be carried out as it stands.

    :param held_back: only because the image still soaks or is frozen: nothing is broken.
    """

    reason: str
    objects: tuple[str, ...] = ()
    remedy: str = ""
    held_back: bool = False


class Cost(Value):
    """What the extra instance-hours cost by the user's price table; ``unpriced`` types are not in the amount."""

    amount: float
    currency: str
    as_of: date
    unpriced: tuple[str, ...] = ()


class Estimate(Value):
    """How long, and how many instance-hours on top of what runs anyway."""

    duration_s: float
    extra_instance_hours: float
    cost: Cost | None = Field(default=None, description="None without a price table")


class Plan(Value):
    """Everything a rotation of one cluster will do; made once, carried out exactly."""

    schema_version: Literal[1, 2] = 2
    id: str = Field(description="content hash: the same world and policy give the same id")
    environment: str
    cluster: str
    created: datetime
    groups: tuple[GroupPlan, ...]
    batches: tuple[Batch, ...]
    overrides: Mapping[str, Any] = Field(default={}, description="the run's own settings, on top of the fleet file's")
    slots: int = Field(ge=0, description="machines of the whole cluster that may be in flight at once")
    cluster_machines: int = Field(default=0, ge=0, description="machines of all the cluster's groups")
    estimate: Estimate
    blockers: tuple[Blocker, ...] = ()
    notes: tuple[str, ...] = Field(default=(), description="named and left alone: half machines, foreign nodes")

    def group(self, name: str) -> GroupPlan:
        """The plan of one group.

        :param name: the node group's name.
        :raises KeyError: if the plan has no such group.
        """
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(name)

    def canary(self, in_vain: Container[str] = ()) -> Batch | None:
        """The batch that goes alone before all others: the planned one, or who comes next; None if none was planned.

        :param in_vain: names of batches that passed without showing anything of the image.
        """
        line = dropwhile(lambda batch: not batch.canary, self.batches)
        return next((batch for batch in line if batch.name not in in_vain), None)

    def ahead_of(self, batch: Batch, in_vain: Container[str] = ()) -> Iterator[Batch]:
        """The batches that have to pass before a batch may begin: the canary, and for workers the masters.

        :param in_vain: as :meth:`canary` takes it.
        """
        worker = self.group(batch.group).role is not Role.CONTROL_PLANE
        masters = {group.name for group in self.groups if group.role is Role.CONTROL_PLANE}
        alone = self.canary(in_vain)
        for other in self.batches:
            if other.name != batch.name and (other is alone or (worker and other.group in masters)):
                yield other

    @property
    def moved(self) -> tuple[GroupPlan, ...]:
        """The groups that get an image that their machines don't run: others lose theirs to age, template or a mark."""
        found = {b.group for b in self.batches for m in b.machines if DriftReason.IMAGE in m.reasons}
        return tuple(group for group in self.groups if group.name in found)

    @property
    def machines(self) -> int:
        """How many machines are replaced."""
        return sum(len(batch.machines) for batch in self.batches)


class DriftedMachine(Value):
    """A machine and why it drifted."""

    instance_id: str
    node: str | None
    zone: str
    image_id: str
    age_s: float
    ready: bool
    pods: int
    reasons: tuple[DriftReason, ...]


class GroupDrift(Value):
    """What the drift check found in one node group."""

    group: str
    asg: str
    target: Target | None
    machines: int
    drifted: tuple[DriftedMachine, ...]
    notes: tuple[str, ...] = ()
    blockers: tuple[Blocker, ...] = ()
