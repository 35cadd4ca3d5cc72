"""What a fleet consists of: environments, their clusters, their node groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import ConfigDict, Field, PlainSerializer, SerializationInfo, model_validator

from node_rotation.configuration import shapes
from node_rotation.configuration.access import AwsAccess, KubernetesAccess
from node_rotation.kops.tags import KopsCluster
from node_rotation.model import Kind, Role, Strategy, Value
from node_rotation.policy import Policy


def _as_said(policy: Policy, info: SerializationInfo) -> dict[str, Any]:
    return policy.model_dump(mode=info.mode, exclude_unset=True)


Layer = Annotated[Policy, PlainSerializer(_as_said)]
"""A policy as one level of the file says it: written down and read back, what it leaves open stays open."""


class NodeGroup(Value):
    """One pool of machines: an Auto Scaling group by name or tags, or a managed node group by EKS' names."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "workers", "asg": "prod-workers"},
                {"name": "apps", "kind": "eks-managed", "eks_cluster": "prod-1", "nodegroup": "apps"},
            ]
        }
    )

    name: str = Field(pattern=shapes.NAME.pattern, examples=["workers"])
    kind: Kind = Kind.ASG
    role: Role = Role.WORKER
    asg: str | None = Field(default=None, examples=["prod-workers"], description="the Auto Scaling group's name")
    asg_tags: dict[str, str] = Field(default={}, examples=[{"pool": "workers"}], description="tags that it alone has")
    eks_cluster: str | None = Field(
        default=None, examples=["prod-1"], description="eks-managed: the EKS cluster's name"
    )
    nodegroup: str | None = Field(
        default=None, examples=["apps"], description="eks-managed: the node group's name in EKS"
    )
    policy: Layer = Policy()

    @model_validator(mode="after")
    def _one_address(self) -> NodeGroup:
        if self.kind is Kind.EKS_MANAGED or self.eks_cluster or self.nodegroup:
            self._managed_address()
        elif bool(self.asg) == bool(self.asg_tags):
            wrong = "has both asg and asg_tags: keep one" if self.asg else "needs either asg or asg_tags"
            raise ValueError(f"node group {self.name!r} {wrong}")
        elif self.policy.strategy is Strategy.MANAGED:
            raise ValueError(f"node group {self.name!r} is of kind {self.kind}: strategy managed is for eks-managed")
        return self

    def _managed_address(self) -> None:
        wrong = self.kind is not Kind.EKS_MANAGED or not (self.eks_cluster and self.nodegroup)
        if wrong or self.asg or self.asg_tags or self.role is not Role.WORKER:
            raise ValueError(
                f"node group {self.name!r}: kind eks-managed, eks_cluster and nodegroup go together, without asg or "
                "asg_tags (EKS knows them), with role worker"
            )
        if self.policy.strategy is not Strategy.MANAGED and "strategy" in self.policy.model_fields_set:
            raise ValueError(f"node group {self.name!r} is rolled by EKS: its strategy is managed")

    @property
    def address(self) -> str:
        """How its Auto Scaling group is found: two groups with the same address would overlap."""
        if self.nodegroup:
            return f"{self.eks_cluster}/{self.nodegroup}"
        return self.asg or ", ".join(f"{key}={value}" for key, value in sorted(self.asg_tags.items()))

    def names_asg(self, asg: str, tags: Mapping[str, str]) -> bool:
        """Whether an Auto Scaling group is this one, by its name or by its tags; EKS' are known only through EKS.

        :param asg: its name.
        :param tags: what it carries.
        """
        return self.asg == asg or (bool(self.asg_tags) and self.asg_tags.items() <= dict(tags).items())


class Cluster(Value):
    """A Kubernetes cluster; clusters of an environment are taken in their order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "prod-1",
                    "aws": {"region": "eu-central-1"},
                    "groups": [{"name": "workers", "asg": "prod-workers"}],
                }
            ]
        }
    )

    name: str = Field(pattern=shapes.NAME.pattern)
    aws: AwsAccess
    kubernetes: KubernetesAccess = KubernetesAccess()
    kops: KopsCluster | None = Field(default=None, description="take the groups from kops' tags")
    groups: tuple[NodeGroup, ...] = ()
    policy: Layer = Policy()

    @model_validator(mode="after")
    def _some_groups(self) -> Cluster:
        if bool(self.groups) == bool(self.kops):
            raise ValueError(f"cluster {self.name!r} needs either groups or kops")
        return self

    @model_validator(mode="after")
    def _groups_apart(self) -> Cluster:
        no_twins("node group", [group.name for group in self.groups])
        no_twins("Auto Scaling group", [group.address for group in self.groups])
        return self


class Environment(Value):
    """A stage an image passes through; environments are in promotion order."""

    name: str = Field(pattern=shapes.ENVIRONMENT.pattern)
    clusters: tuple[Cluster, ...] = Field(min_length=1)
    policy: Layer = Policy()


def no_twins(what: str, names: Sequence[str]) -> None:
    """Refuse names that stand twice.

    :param what: they are names of.
    :raises ValueError: names them.
    """
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ValueError(f"the same {what} twice: {', '.join(twins)}")
