"""The user's fleet: environments, clusters, node groups and their policies, from one YAML file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, PlainSerializer, SerializationInfo, ValidationError, WithJsonSchema, model_validator

from node_rotation.clearance.lineage import alike
from node_rotation.clearance.promotion_order import no_circles, promoted_from
from node_rotation.configuration import document, flow_checks, safeguards
from node_rotation.configuration.complaint import explain
from node_rotation.errors import BadInputError
from node_rotation.kops.tags import KopsCluster, settled
from node_rotation.model import Kind, Role, Strategy, Value
from node_rotation.policy import Clusters, ImageSource, Policy, PromotionPolicy, merge
from node_rotation.prices import PriceTable, RegionPrices
from node_rotation.prices import read as read_prices


def _as_said(policy: Policy, info: SerializationInfo) -> dict[str, Any]:
    return policy.model_dump(mode=info.mode, exclude_unset=True)


Layer = Annotated[Policy, PlainSerializer(_as_said)]
"""A policy as one level of the file says it: written down and read back, what it leaves open stays open."""
Prices = Annotated[
    PriceTable | None,
    WithJsonSchema({"type": "string", "description": "a price table beside this file, e.g. prices.yaml"}),
]


class AwsAccess(Value):
    """How to reach a cluster's AWS account: an Airflow connection, or boto3's own chain for the CLI."""

    region: str = Field(pattern=r"^[a-z]{2}[a-z0-9-]*[0-9]$", description="e.g. eu-central-1")
    connection: str = Field(default="aws_default", description="Airflow connection id")
    profile: str | None = Field(default=None, description="for the CLI: a profile of the AWS config")

    def __str__(self) -> str:
        """As messages call it."""
        return f"{self.region} ({self.profile or self.connection})"


class KubernetesAccess(Value):
    """How to reach a cluster's API server."""

    connection: str = Field(default="kubernetes_default", description="Airflow connection id")
    kubeconfig: str | None = Field(default=None, description="for the CLI; environment variables are expanded")
    context: str | None = None
    eks_cluster: str | None = Field(
        default=None, description="an EKS cluster's name: endpoint and token come from AWS instead"
    )


class NodeGroup(Value):
    """One pool of machines: an Auto Scaling group by name or tags, or a managed node group by EKS' names."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    kind: Kind = Kind.ASG
    role: Role = Role.WORKER
    asg: str | None = None
    asg_tags: dict[str, str] = {}
    eks_cluster: str | None = Field(default=None, description="eks-managed: the EKS cluster's name")
    nodegroup: str | None = Field(default=None, description="eks-managed: the node group's name in EKS")
    policy: Layer = Policy()

    @model_validator(mode="after")
    def _one_address(self) -> NodeGroup:
        if self.kind is Kind.EKS_MANAGED or self.eks_cluster or self.nodegroup:
            self._managed_address()
        elif bool(self.asg) == bool(self.asg_tags):
            raise ValueError(f"node group {self.name!r} needs either asg or asg_tags")
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

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
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
        _no_twins("node group", [group.name for group in self.groups])
        _no_twins("Auto Scaling group", [group.address for group in self.groups])
        return self


class Environment(Value):
    """A stage an image passes through; environments are in promotion order."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    clusters: tuple[Cluster, ...] = Field(min_length=1)
    policy: Layer = Policy()


class Settings(Value):
    """One cluster with everything that holds for it, policies merged per group.

    ``before`` are the clusters that an image must have proven itself in first, ``turn`` those that it is rotated in
    turn with, ``accounts`` those of the whole fleet.
    """

    environment: str
    cluster: Cluster
    policy: Policy
    groups: dict[str, Policy]
    before: tuple[Before, ...] = ()
    turn: Turn | None = None
    accounts: tuple[AwsAccess, ...] = ()
    prices: RegionPrices | None = None
    notes: tuple[str, ...] = Field(default=(), description="groups that are named and left alone")

    @property
    def name(self) -> str:
        """``environment.cluster``, as partition keys and log lines say it."""
        return f"{self.environment}.{self.cluster.name}"

    def only(self, groups: Sequence[str] = (), roles: Sequence[Role] = ()) -> Settings:
        """The same cluster with some of its groups: those named, of these roles; nothing given means all.

        :raises BadInputError: if there is no such group, or none is left.
        """
        unknown = [name for name in groups if name not in self.groups]
        known = f"Groups of {self.name}: {', '.join(self.groups)}."
        if unknown:
            raise BadInputError("groups", f"cluster {self.name} has no node group {unknown[0]!r}.", known)
        kept = tuple(
            group
            for group in self.cluster.groups
            if (not groups or group.name in groups) and (not roles or group.role in roles)
        )
        if not kept:
            wanted = ", ".join(role.value for role in roles)
            raise BadInputError("roles", f"cluster {self.name} has no node group of role {wanted}.", known)
        cluster = self.cluster.model_copy(update={"groups": kept})
        policies = {group.name: self.groups[group.name] for group in kept}
        return self.model_copy(update={"cluster": cluster, "groups": policies})


class Before(Value):
    """A cluster of an environment before, and which of its groups count for a group of ours.

    ``image`` and ``images`` (by group) are our sources by the fleet file, whatever is pinned for a run; ``named`` are
    the groups that count whatever their source.
    """

    settings: Settings
    named: tuple[str, ...] = ()
    image: ImageSource
    images: dict[str, ImageSource]

    def required(self, group: str, theirs: Settings) -> tuple[str, ...]:
        """The groups there that have to prove an image first.

        :param group: of ours; one that kops' tags name takes its image from where the cluster does.
        :param theirs: ``settings``, with the groups that kops' tags name.
        """
        if self.named:
            return tuple(name for name in theirs.groups if name in self.named)
        source = self.images.get(group, self.image)
        return tuple(name for name, policy in theirs.groups.items() if alike(source, policy.image))


class Turn(Value):
    """The other clusters of an environment of which one is rotated at a time, in the fleet file's order."""

    ahead: tuple[Before, ...]
    behind: tuple[Settings, ...]


class Fleet(Value):
    """Everything there is to rotate."""

    schema_version: Literal[1] = 1
    defaults: Layer = Policy()
    prices: Prices = None
    environments: tuple[Environment, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_apart(self) -> Fleet:
        _no_twins("environment", [env.name for env in self.environments])
        clusters = [c for env in self.environments for c in env.clusters]
        _no_twins("cluster", [c.name for c in clusters])
        places = [f"{g.address} in {_account(c)}" for c in clusters for g in c.groups]
        _no_twins("Auto Scaling group", places)
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Every ``environment.cluster``, in promotion order."""
        return tuple(f"{env.name}.{c.name}" for env in self.environments for c in env.clusters)

    @property
    def accounts(self) -> tuple[AwsAccess, ...]:
        """Every account and region, in promotion order."""
        return tuple(dict.fromkeys(c.aws for env in self.environments for c in env.clusters))

    def settings(self, cluster: str, run: Mapping[str, Any] | None = None) -> Settings:
        """What holds for one cluster, run parameters on top.

        :param cluster: ``name`` or ``environment.name``.
        :param run: a partial policy, as the trigger form and the CLI give it.
        :raises BadInputError: if there is no such cluster, or the run's policy is none.
        """
        for env in self.environments:
            for candidate in env.clusters:
                if cluster in (candidate.name, f"{env.name}.{candidate.name}"):
                    merged = self._merged(env, candidate, run or {})
                    before = tuple(self._before(env, candidate, merged.policy.promoted))
                    turn = self._turn(env, candidate, merged.policy.promoted)
                    return merged.model_copy(update={"before": before, "turn": turn, "accounts": self.accounts})
        known = ", ".join(self.names)
        raise BadInputError("cluster", f"there is no cluster {cluster!r} in the fleet.", f"Known: {known}.")

    def each(self) -> Iterator[Settings]:
        """Every cluster by itself: without who comes before it.

        :raises BadInputError: if what its layers say together is no policy.
        """
        return (self._merged(env, cluster, {}) for env in self.environments for cluster in env.clusters)

    def _merged(self, env: Environment, cluster: Cluster, run: Mapping[str, Any]) -> Settings:
        safeguards.for_the_file(run)
        merged = self._laid(env, cluster, run)
        self._keep(self._laid(env, cluster, {}), merged)
        flow_checks.some_slots(merged, run)
        not_managed(merged, run)
        flow_checks.for_one_run(merged, run)
        flow_checks.some_hours(merged, run)
        flow_checks.check(merged, bool(run))
        return merged

    def _keep(self, own: Settings, merged: Settings) -> None:
        """Refuse a run that asks for less than the fleet file does, of the cluster or of any of its groups."""
        environments = [env.name for env in self.environments]
        safeguards.keep(own.name, environments, own.policy, merged.policy)
        for name, policy in own.groups.items():
            safeguards.keep(f"{own.name} group {name}", environments, policy, merged.groups[name])

    def _laid(self, env: Environment, cluster: Cluster, run: Mapping[str, Any]) -> Settings:
        """One cluster by itself: its layers over each other."""
        layers = (self.defaults, env.policy, cluster.policy)
        try:
            return Settings(
                environment=env.name,
                cluster=cluster,
                policy=merge(*layers, run),
                groups={
                    **{
                        g.name: settled(g.kind, g.role, merge(*layers, g.policy, run, rolled_by(g)))
                        for g in cluster.groups
                    },
                    **{name: merge(*layers, own, run) for name, own in _kops_policies(cluster).items()},
                },
                prices=self.prices.of(cluster.aws.region) if self.prices else None,
            )
        except ValidationError as error:
            raise BadInputError("run parameters" if run else f"policy of {cluster.name}", *_said(error, run)) from error

    def _before(self, env: Environment, cluster: Cluster, promotion: PromotionPolicy) -> Iterator[Before]:
        """The clusters to be promoted from."""
        for other in promoted_from(env.name, promotion, [e.name for e in self.environments]):
            there = next(e for e in self.environments if e.name == other)
            for candidate in there.clusters:
                yield self._ahead(env, cluster, there, candidate, promotion.groups)

    def _turn(self, env: Environment, cluster: Cluster, promotion: PromotionPolicy) -> Turn | None:
        """The other clusters of the environment, if they are rotated in turn."""
        if promotion.clusters is Clusters.TOGETHER:
            return None
        place = env.clusters.index(cluster)
        ahead = tuple(self._ahead(env, cluster, env, other) for other in env.clusters[:place])
        return Turn(ahead=ahead, behind=tuple(self._laid(env, other, {}) for other in env.clusters[place + 1 :]))

    def _ahead(
        self, env: Environment, cluster: Cluster, there: Environment, other: Cluster, named: tuple[str, ...] = ()
    ) -> Before:
        own = self._laid(env, cluster, {})
        images = {name: policy.image for name, policy in own.groups.items()}
        return Before(settings=self._laid(there, other, {}), named=named, image=own.policy.image, images=images)


Settings.model_rebuild()


def load(path: Path) -> Fleet:
    """Read and validate a fleet file.

    :param path: the YAML file.
    :raises BadInputError: names the file, the path in it and the remedy.
    """
    try:
        data = document.read(path.read_text())
    except OSError as error:
        raise BadInputError(str(path), f"can't be read: {error.strerror}.", "Give the fleet file's path.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())
        raise BadInputError(str(path), f"is not YAML: {said}.", "Correct it there.") from error
    if isinstance(data, dict) and isinstance(data.get("prices"), str):
        data["prices"] = read_prices(path.parent / data["prices"])
    try:
        fleet = Fleet.model_validate(data)
    except ValidationError as error:
        where, problem, remedy = explain(error, data, Fleet)
        raise BadInputError(f"{path}: {where}", problem, remedy) from error
    try:
        told = list(fleet.each())  # what the layers say together must be a policy as well
        no_circles({s.name: (s.environment, s.policy.promotion) for s in told}, [e.name for e in fleet.environments])
    except BadInputError as error:
        raise BadInputError(f"{path}: {error.where}", error.problem, error.remedy) from error
    return fleet


def _said(error: ValidationError, run: Mapping[str, Any]) -> tuple[str, str]:
    where, problem, remedy = explain(error, run, Policy)
    return f"{where}: {problem}", remedy


def _kops_policies(cluster: Cluster) -> Mapping[str, Policy]:
    return cluster.kops.policies if cluster.kops else {}


def rolled_by(group: NodeGroup) -> Mapping[str, Any]:
    """EKS rolls its managed groups whatever strategy the fleet, or a run, says for the others."""
    return {"strategy": Strategy.MANAGED} if group.kind is Kind.EKS_MANAGED else {}


def not_managed(settings: Settings, run: Mapping[str, Any]) -> None:
    """Refuse strategy managed for groups that EKS does not roll.

    :raises BadInputError: names the group.
    """
    for group in settings.cluster.groups:
        if settings.groups[group.name].strategy is Strategy.MANAGED and group.kind is not Kind.EKS_MANAGED:
            where = "run parameters" if run else f"node group {group.name} of {settings.name}"
            raise BadInputError(
                f"{where}: strategy",
                f"managed is for groups of kind eks-managed, and {group.name} is of kind {group.kind}.",
                "Use surge, detach or terminate_first; eks-managed groups have strategy managed by themselves.",
            )


def _account(cluster: Cluster) -> str:
    """Clusters may share an account and a region; the same group name there is the same group."""
    return str(cluster.aws)


def _no_twins(what: str, names: list[str]) -> None:
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ValueError(f"the same {what} twice: {', '.join(twins)}")
