"""What a check-up asks: the rights a rotation needs, and the two askers as protocols (``doctor``, ``examine``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from node_rotation.configuration.autoscaler_policy import AutoscalerPolicy
from node_rotation.configuration.intake_policy import ObjectRef
from node_rotation.names import LEASE_NAME, LEASE_NAMESPACE
from node_rotation.world.aws import ScalingGroup


class Answer(StrEnum):
    """Whether something is allowed."""

    ALLOWED = "allowed"
    DENIED = "denied"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Right:
    """A verb on a kind of object, as RBAC grants it; ``resource`` is ``plural`` or ``plural/subresource``."""

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    def __str__(self) -> str:
        """As messages and ``kubectl auth can-i`` say it."""
        kind = self.path or (f"{self.resource}.{self.group}" if self.group else self.resource)
        where = f" {self.name}" if self.name else ""
        return f"{self.verb} {kind}{where}" + (f" in {self.namespace}" if self.namespace else "")


def _rights(verbs: str, resources: str, group: str = "", namespace: str = "", name: str = "") -> tuple[Right, ...]:
    return tuple(Right(v, r, group, namespace, name) for r in resources.split() for v in verbs.split())


KUBERNETES_RIGHTS = (
    *_rights("get list patch delete", "nodes"),
    *_rights("list", "pods"),
    *_rights("create", "pods/eviction"),
    *_rights("list", "deployments statefulsets daemonsets", "apps"),
    *_rights("list", "persistentvolumes"),
    *_rights("list", "volumeattachments", "storage.k8s.io"),
    *_rights("list", "poddisruptionbudgets", "policy"),
    Right("get", "", path="/version"),
    Right("get", "", path="/readyz"),
    *_rights("create", "leases", "coordination.k8s.io", LEASE_NAMESPACE),
    *_rights("get patch delete", "leases", "coordination.k8s.io", LEASE_NAMESPACE, LEASE_NAME),
)
"""docs/rbac.yaml in values; a test keeps them the same."""

ROLL_RIGHTS = _rights("patch", "deployments", "apps")
"""Only for policies with ``drain.roll_single_replicas``."""

FORCE_RIGHTS = _rights("delete", "pods")
"""Only for policies with ``drain.force_after``."""


def pod_rights(namespace: str) -> tuple[Right, ...]:
    """Only for policies with ``image_step: pod``: what docs/image-steps.md has granted in the pod's namespace."""
    return (*_rights("create get delete", "pods", "", namespace), *_rights("get", "pods/log", "", namespace))


def autoscaler_rights(policy: AutoscalerPolicy) -> tuple[Right, ...]:
    """Only for policies with ``autoscaler.pause``."""
    return _rights("get patch", "deployments", "apps", policy.namespace, policy.deployment)


READS = (
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:DescribeInstanceRefreshes",
    "autoscaling:DescribeLaunchConfigurations",
    "autoscaling:DescribeLifecycleHooks",
    "autoscaling:DescribeScalingActivities",
    "autoscaling:DescribeWarmPool",
    "ec2:DescribeImages",
    "ec2:DescribeInstanceAttribute",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeInstances",
    "ec2:DescribeLaunchTemplateVersions",
)
GROUP_CHANGES = (
    "autoscaling:AttachInstances",
    "autoscaling:CreateOrUpdateTags",
    "autoscaling:DeleteTags",
    "autoscaling:DetachInstances",
    "autoscaling:ResumeProcesses",
    "autoscaling:SuspendProcesses",
    "autoscaling:TerminateInstanceInAutoScalingGroup",
    "autoscaling:UpdateAutoScalingGroup",
)
TARGET_ACTIONS = (
    "elasticloadbalancing:DescribeTargetHealth",
    "elasticloadbalancing:DeregisterTargets",
    "elasticloadbalancing:RegisterTargets",
)
MACHINE_CHANGES = ("ec2:CreateTags", "ec2:DeleteTags", "ec2:TerminateInstances")
TEMPLATE_CHANGES = ("ec2:CreateLaunchTemplateVersion", "ec2:ModifyLaunchTemplate")
NODEGROUP_ACTIONS = ("eks:DescribeNodegroup", "eks:DescribeUpdate", "eks:ListUpdates", "eks:UpdateNodegroupVersion")
FREEZE_READS = ("ssm:GetParametersByPath",)
FREEZE_CHANGES = ("ssm:PutParameter",)
"""docs/iam-policy.json in values; a test keeps them the same."""

LAUNCHES = {
    "ec2:RunInstances": ("AwsChecksWhoMayLaunch", "from launch templates"),
    "ec2:CreateTags": ("AwsChecksWhoMayTagWhatIsLaunched", "at launch"),
    "iam:PassRole": ("AwsChecksWhoMayPassTheNodeRole", "of the template's role to EC2"),
}
"""What Auto Scaling and EKS check of whoever gives a group a template version: action → its statement's Sid and use.

https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-launch-template-permissions.html
"""

BOUND_TO_THE_TAG = frozenset({*GROUP_CHANGES, *MACHINE_CHANGES, *TEMPLATE_CHANGES})
"""Allowed only on what is tagged as the cluster's: without the tag AWS says no more than that they are denied."""


def see_to_the_tag(actions: Iterable[str]) -> str:
    """What else to do about denied actions, to be added to a sentence; nothing if no tag decides on them."""
    if BOUND_TO_THE_TAG.isdisjoint(actions):
        return ""
    return (
        ", and see that the group, its running machines and its launch template have the tag "
        "kubernetes.io/cluster/CLUSTER=owned"
    )


def allow_launches(actions: Iterable[str] = tuple(LAUNCHES)) -> str:
    """What to do where launching from a template is denied.

    :param actions: those of ``LAUNCHES`` that are; AWS itself does not say which.
    """
    named = ", ".join(f"{LAUNCHES[action][0]} ({action} {LAUNCHES[action][1]})" for action in actions)
    return (
        "Auto Scaling and EKS give a group a template version only for who may launch from it. Allow in the IAM policy "
        f"of this identity what docs/iam-policy.json has as {named}."
    )


def aws_actions(group: ScalingGroup, *, image_step: bool, managed: bool = False) -> tuple[str, ...]:
    """What a rotation asks of Auto Scaling, EC2 and load balancing for one group.

    :param image_step: the rotation writes images into the group's template itself.
    :param managed: EKS rolls the group: Auto Scaling group and machines are its own and only read.
    """
    others = {"ec2:DescribeLaunchTemplateVersions", *TEMPLATE_CHANGES}
    if not group.template.launch_configuration:
        others = {"autoscaling:DescribeLaunchConfigurations"} | (set() if image_step else set(TEMPLATE_CHANGES))
    targets = TARGET_ACTIONS if group.target_groups else ()
    wanted = READS if managed else (*READS, *GROUP_CHANGES, *MACHINE_CHANGES, *TEMPLATE_CHANGES, *targets)
    return tuple(action for action in wanted if action not in others)


def names_version(group: ScalingGroup) -> bool:
    """Whether a group names its template's version by number: only such a one is told of the image step's version."""
    return group.template.version.isdigit()


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet of a node group; ``free`` counts its IPv4 addresses."""

    id: str
    zone: str
    free: int


@dataclass(frozen=True, slots=True)
class Quota:
    """How many vCPUs of a class of instance types may run at once, and how many do; ``limit`` None: not told."""

    name: str
    limit: float | None
    used: int
    why: str = ""


class Account(Protocol):
    """An AWS account, asked what a rotation may do there. Nothing here changes anything."""

    def identity(self) -> str:
        """The ARN that AWS takes us for."""
        ...

    def may(self, actions: Sequence[str], group: ScalingGroup) -> Mapping[str, Answer]:
        """Whether these actions are allowed on a group, its machines, its template and its target groups.

        :param actions: ``service:Action``, as IAM writes them.
        """
        ...

    def may_launch(self, group: ScalingGroup) -> Mapping[str, Answer]:
        """Whether those of ``LAUNCHES`` that the group's templates call for are allowed."""
        ...

    def may_update(self, actions: Sequence[str], cluster: str, nodegroup: str) -> Mapping[str, Answer]:
        """Whether these actions of EKS are allowed on a managed node group."""
        ...

    def may_record(self, actions: Sequence[str], path: str) -> Mapping[str, Answer]:
        """Whether these actions of SSM are allowed on the parameters below a path."""
        ...

    def subnets(self, group: str) -> tuple[Subnet, ...]:
        """Where an Auto Scaling group launches."""
        ...

    def vcpus(self, instance_types: Sequence[str]) -> Mapping[str, int]:
        """How many vCPUs each type has."""
        ...

    def quota(self, instance_type: str) -> Quota:
        """The On-Demand quota that a type counts against."""
        ...


class Access(Protocol):
    """An API server, asked what we may do there."""

    def may(self, right: Right) -> Answer:
        """SelfSubjectAccessReview of one right."""
        ...

    def right_to_patch(self, ref: ObjectRef) -> Right:
        """What has to be allowed to patch an object. :raises GoneError: if there is no such kind."""
        ...
