"""Clients that can't change anything: whoever only plans is given these, so that no ``if`` has to hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from node_rotation.errors import PermanentError
from node_rotation.world.clients import Cloud, Cluster


def _refused(mutation: str) -> Callable[..., NoReturn]:
    def refuse(self: object, *args: object, **kwargs: object) -> NoReturn:
        raise PermanentError(f"{mutation} was asked of a read-only client: nothing was changed; this is a bug")

    return refuse


class ReadOnlyCloud:
    """AWS without its mutations.

    :param cloud: answers what is asked.
    """

    def __init__(self, cloud: Cloud) -> None:
        self.groups = cloud.groups
        self.find_groups = cloud.find_groups
        self.instances = cloud.instances
        self.warm_members = cloud.warm_members
        self.tagged_instances = cloud.tagged_instances
        self.activities = cloud.activities
        self.image = cloud.image
        self.images = cloud.images
        self.parameter = cloud.parameter
        self.parameters = cloud.parameters
        self.template = cloud.template
        self.managed_group = cloud.managed_group
        self.targets = cloud.targets

    put_parameter: Any = _refused("PutParameter")
    new_template_version: Any = _refused("CreateLaunchTemplateVersion")
    use_template_version: Any = _refused("UpdateAutoScalingGroup")
    set_default_version: Any = _refused("ModifyLaunchTemplate")
    detach: Any = _refused("DetachInstances")
    attach: Any = _refused("AttachInstances")
    set_sizes: Any = _refused("UpdateAutoScalingGroup")
    terminate_in_group: Any = _refused("TerminateInstanceInAutoScalingGroup")
    terminate: Any = _refused("TerminateInstances")
    suspend: Any = _refused("SuspendProcesses")
    resume: Any = _refused("ResumeProcesses")
    tag_instances: Any = _refused("CreateTags")
    untag_instances: Any = _refused("DeleteTags")
    tag_group: Any = _refused("CreateOrUpdateTags")
    untag_group: Any = _refused("DeleteTags")
    update_managed_group: Any = _refused("UpdateNodegroupVersion")
    register_targets: Any = _refused("RegisterTargets")
    deregister_targets: Any = _refused("DeregisterTargets")


class ReadOnlyCluster:
    """A Kubernetes cluster without its mutations.

    :param cluster: answers what is asked.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.nodes = cluster.nodes
        self.pods = cluster.pods
        self.budgets = cluster.budgets
        self.workloads = cluster.workloads
        self.volumes = cluster.volumes
        self.minor_version = cluster.minor_version
        self.control_plane = cluster.control_plane
        self.lease = cluster.lease

    objects: Any = property(_refused("patch objects"))
    cordon: Any = _refused("cordon")
    uncordon: Any = _refused("uncordon")
    taint: Any = _refused("taint")
    untaint: Any = _refused("untaint")
    annotate: Any = _refused("annotate")
    label: Any = _refused("label")
    delete_node: Any = _refused("delete node")
    evict: Any = _refused("evict")
    roll: Any = _refused("roll deployment")
    delete_pod: Any = _refused("delete pod")
    create_lease: Any = _refused("create lease")
    update_lease: Any = _refused("update lease")
    delete_lease: Any = _refused("delete lease")


def read_only(cloud: Cloud, cluster: Cluster) -> tuple[Cloud, Cluster]:
    """Both clients without their mutations."""
    return ReadOnlyCloud(cloud), ReadOnlyCluster(cluster)
