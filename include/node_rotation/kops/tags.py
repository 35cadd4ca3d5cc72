"""kops clusters: what their Auto Scaling groups' tags say, and what follows for their groups."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pydantic import Field

from node_rotation.errors import BadInputError
from node_rotation.model import Kind, Role, Strategy, Value
from node_rotation.policy import Policy

CLUSTER_TAG = "KubernetesCluster"
GROUP_TAG = "kops.k8s.io/instancegroup"
ROLE_TAG = "k8s.io/role/"
ETCD_CLUSTERS = ("main", "events")


class KopsRole(StrEnum):
    """The roles of kops' instance groups."""

    NODE = "Node"
    CONTROL_PLANE = "ControlPlane"
    API_SERVER = "APIServer"
    BASTION = "Bastion"


_ROLES = {
    "node": KopsRole.NODE,
    "master": KopsRole.CONTROL_PLANE,  # kops writes it beside control-plane, and alone before 1.23
    "control-plane": KopsRole.CONTROL_PLANE,
    "apiserver": KopsRole.API_SERVER,
    "api-server": KopsRole.API_SERVER,
    "bastion": KopsRole.BASTION,
}


class KopsCluster(Value):
    """Take a cluster's node groups from kops' tags instead of listing them.

    :param cluster: kops' name of the cluster, the value of the tag ``KubernetesCluster``.
    :param policies: instance group → its policy.
    """

    cluster: str = Field(examples=["prod.example.com"])
    policies: dict[str, Policy] = Field(default={}, examples=[{"nodes-spot": {"priority": -1}}])


def role_of(asg: str, tags: Mapping[str, str]) -> KopsRole:
    """The role of an instance group, from the tags of its Auto Scaling group.

    :param asg: the group's name, for messages.
    :raises BadInputError: if it has none, one that kops does not know, or more than one.
    """
    said = sorted(key.removeprefix(ROLE_TAG) for key in tags if key.startswith(ROLE_TAG))
    roles = {_ROLES.get(name) for name in said}
    role = roles.pop() if len(roles) == 1 else None
    if role is None:
        wrong = f"has the roles {', '.join(said)}" if said else f"has no tag {ROLE_TAG}*"
        raise BadInputError(
            f"Auto Scaling group {asg}",
            f"{wrong}: machines of different roles can't be replaced by one rule.",
            f"Give its instance group one role ({', '.join(KopsRole)}) and run kops update cluster.",
        )
    return role


def settled(kind: Kind, role: Role, policy: Policy) -> Policy:
    """A group's policy with what its kind leaves no choice in.

    A kops master keeps etcd on a volume that only one machine can hold: its replacement can't come first.

    :param policy: as fleet file and run say.
    """
    if kind is Kind.KOPS and role is Role.CONTROL_PLANE:
        return policy.model_copy(update={"strategy": Strategy.TERMINATE_FIRST})
    return policy
