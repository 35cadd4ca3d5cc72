"""EKS managed node groups as values: the group, its updates, and what their failures mean.

Sources: EKS API reference, Nodegroup, Update, ErrorDetail and Issue; EKS user guide, "Understand each phase of node
updates" (https://docs.aws.amazon.com/eks/latest/userguide/managed-node-update-behavior.html).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from node_rotation.model import TemplateVersion

CUSTOM = "CUSTOM"
EVICTION_S = 900.0
"""So long EKS tries to empty a machine, then it fails the update (PodEvictionFailure)."""
PAUSE_S = 60.0
"""So long EKS waits between an empty machine and its termination."""
MOST_AT_ONCE = 100
FAILED = ("Failed", "Cancelled")
UNUSABLE = ("CREATING", "DELETING", "CREATE_FAILED", "DELETE_FAILED")
"""A node group's states in which EKS takes no update."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """An error of an update, or an issue of a group, in EKS' own code and words."""

    code: str
    message: str
    resources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Update:
    """One update of a node group; ``type`` and ``status`` are EKS' own words, ``created_at`` epoch seconds."""

    id: str
    status: str
    type: str
    created_at: float
    params: Mapping[str, str] = field(default_factory=dict)
    errors: tuple[Trouble, ...] = ()

    @property
    def in_flight(self) -> bool:
        """True while EKS works on it: nobody can stop it, or start another."""
        return self.status == "InProgress"

    @property
    def failed(self) -> bool:
        """True once EKS has given up."""
        return self.status in FAILED


@dataclass(frozen=True, slots=True)
class ManagedGroup:
    """A managed node group as EKS describes it.

    :param asg: its Auto Scaling group's name; "" while EKS has none: it is still making the group, or could not.
    :param version: its Kubernetes version, e.g. ``1.36``.
    :param template: the user's launch template that it was made with; None without one.
    :param max_unavailable: of its update configuration; None if that says a percentage.
    :param minimal: EKS' strategy MINIMAL: old machines go before new ones come.
    :param updates: the one in flight, and those that were asked for by id.
    :param unknown: ids that were asked for and that EKS does not know: the group was made anew since.
    """

    cluster: str
    name: str
    status: str
    asg: str
    ami_type: str
    version: str
    release: str = ""
    template: TemplateVersion | None = None
    max_unavailable: int | None = None
    max_unavailable_percentage: int | None = None
    minimal: bool = False
    issues: tuple[Trouble, ...] = ()
    updates: tuple[Update, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """``cluster/name``, as log lines and errors say it."""
        return f"{self.cluster}/{self.name}"

    @property
    def in_flight(self) -> Update | None:
        """The update that EKS works on now, or None."""
        return next((update for update in self.updates if update.in_flight), None)

    def update(self, update_id: str) -> Update | None:
        """One of ``updates`` by its id, or None."""
        return next((update for update in self.updates if update.id == update_id), None)

    def at_once(self, size: int) -> int:
        """How many machines EKS takes away at once: by default one, at most 100; a share is at least one.

        :param size: machines of the group.
        """
        share = self.max_unavailable_percentage
        found = self.max_unavailable or 1 if share is None else size * share // 100
        return max(1, min(found, MOST_AT_ONCE, size or 1))

    def extra(self, zones: int, size: int) -> int:
        """How many machines EKS adds for the time of an update: two per zone, or as many as go at once.

        :param zones: of its Auto Scaling group.
        :param size: machines of the group.
        """
        return 0 if self.minimal else max(2 * zones, self.at_once(size))


class ManagedGroups(Protocol):
    """EKS, as far as a rotation needs it. Every call raises the classes of ``errors``."""

    def managed_group(self, cluster: str, name: str, updates: Collection[str] = ()) -> ManagedGroup:
        """A node group with the update in flight and those of these ids; :raises GoneError: if there is none."""
        ...

    def update_managed_group(
        self,
        group: ManagedGroup,
        *,
        release: str = "",
        template: TemplateVersion | None = None,
        force: bool,
        token: str,
    ) -> Update:
        """UpdateNodegroupVersion to a release, or to a template version; the same token asks once.

        :raises ConflictError: if another update is in flight.
        """
        ...


REMEDIES: Mapping[str, str] = {
    "PodEvictionFailure": "Make room in the budgets of these pods, then clear this batch; drain.force_after of 15m "
    "or less has EKS delete them past their budgets.",
    "NodeCreationFailure": "Look at a new machine's console output: bootstrap, node role and the way to the API "
    "server; correct image or launch template, then clear this batch.",
    "AsgInstanceLaunchFailures": "Read the Auto Scaling group's activities for what EC2 refuses, correct it, then "
    "clear this batch.",
    "InstanceLimitExceeded": "Ask for a higher EC2 quota of this instance type, then clear this batch.",
    "InsufficientFreeAddresses": "Free addresses in the group's subnets or give it larger ones, then clear this batch.",
    "IpNotAvailable": "Free addresses in the cluster's subnets, then clear this batch.",
    "EniLimitReached": "Ask for a higher quota of network interfaces, then clear this batch.",
    "AccessDenied": "Give EKS and the node role access to the cluster again (access entries, aws-auth), then clear "
    "this batch.",
    "OperationNotPermitted": "Give the cluster's role the permissions that the EKS guide lists, then clear this batch.",
    "ClusterUnreachable": "See that EKS and the nodes reach the API server, then clear this batch.",
    "AmiIdNotFound": "The image is gone: name one that exists in the launch template, then start a new run.",
    "AutoScalingGroupNotFound": "EKS' Auto Scaling group was deleted: make the node group anew.",
    "AutoScalingGroupInstanceRefreshActive": "Wait for the instance refresh, or cancel it, then clear this batch.",
    "Ec2LaunchTemplateNotFound": "The launch template was deleted: make the node group anew.",
    "Ec2LaunchTemplateVersionMismatch": "Somebody changed the Auto Scaling group's template: put EKS' version back, "
    "then clear this batch.",
    "Ec2InstanceTypeDoesNotExist": "Give the group an instance type that the region has.",
    "Ec2SubnetNotFound": "A subnet of the group is gone: make the node group anew.",
    "SubnetNotFound": "A subnet of the cluster is gone: give the cluster one that exists.",
    "SecurityGroupNotFound": "A security group of the cluster is gone: give the cluster one that exists.",
    "VpcIdNotFound": "The cluster's VPC is gone: the cluster has to be made anew.",
    "IamNodeRoleNotFound": "Make the node role anew under the same name, then clear this batch.",
    "IamInstanceProfileNotFound": "Make the instance profile anew under the same name, then clear this batch.",
    "InternalFailure": "Clear this batch to try again; if it stays, ask AWS.",
    "AutoScalingGroupInvalidConfiguration": "Somebody changed the Auto Scaling group by hand: put back what "
    "EKS made, then clear this batch.",
    "AutoScalingGroupOptInRequired": "Enable EC2 Auto Scaling in this account and region, then clear this batch.",
    "AutoScalingGroupRateLimitExceeded": "AWS throttles Auto Scaling in this account: find who calls so often, "
    "then clear this batch.",
    "Ec2LaunchTemplateDeletionFailure": "Let the node group's creator delete launch templates, then clear this batch.",
    "Ec2LaunchTemplateInvalidConfiguration": "Correct the launch template in a new version (the EKS guide says "
    "what it may hold), then start a new run.",
    "Ec2LaunchTemplateMaxLimitExceeded": "Delete launch templates nobody uses or ask for a higher quota, then "
    "clear this batch.",
    "Ec2LaunchTemplateVersionMaxLimitExceeded": "Delete versions of the launch template that nobody uses, then "
    "clear this batch.",
    "SourceEc2LaunchTemplateNotFound": "The launch template that the group was made with is gone: make the "
    "node group anew.",
    "Ec2SecurityGroupNotFound": "The cluster's security group is gone: the cluster has to be made anew.",
    "Ec2SecurityGroupDeletionFailure": "Remove what still uses the group's security group, then clear this batch.",
    "Ec2SubnetInvalidConfiguration": "Have the group's public subnets assign public addresses to new machines, "
    "then clear this batch.",
    "Ec2SubnetListTooLong": "Make the node group anew with fewer subnets.",
    "Ec2SubnetMissingIpv6Assignment": "Have the group's subnets assign IPv6 addresses to new machines, then "
    "clear this batch.",
    "IamLimitExceeded": "Ask for a higher IAM quota, or delete what nobody uses, then clear this batch.",
    "IamThrottling": "AWS throttles IAM in this account: wait, then clear this batch.",
    "LimitExceeded": "Ask for a higher quota of what EKS names, then clear this batch.",
    "KubernetesLabelInvalid": "Correct the node group's labels, then clear this batch.",
    "Unknown": "Clear this batch to try again; if it stays, ask AWS.",
    "NodeTerminationFailure": "Look at the machine's lifecycle hooks, then clear this batch.",
}
OF_ADDONS = (
    "InsufficientNumberOfReplicas",
    "ConfigurationConflict",
    "AdmissionRequestDenied",
    "UnsupportedAddonModification",
    "K8sResourceNotFound",
)
"""EKS' codes of updates of add-ons: no node group's update ends in one."""
OTHER_REMEDY = "Read the update in EKS (aws eks describe-update), correct its cause, then clear this batch."


def remedy(troubles: Collection[Trouble]) -> str:
    """What to do about the first of these that is known by its code."""
    return next((REMEDIES[t.code] for t in troubles if t.code in REMEDIES), OTHER_REMEDY)


def said(trouble: Trouble) -> str:
    """A failure in EKS' code and words."""
    return f"{trouble.code}: {trouble.message.rstrip('.')}" if trouble.message else trouble.code
