"""The user's fleet: environments, clusters, node groups and their policies, from one YAML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, WithJsonSchema, model_validator

from node_rotation import flow_checks
from node_rotation.complaint import explain
from node_rotation.errors import BadInputError
from node_rotation.kops import KopsCluster, settled
from node_rotation.model import Kind, Role, Strategy, Value
from node_rotation.policy import Policy, merge
from node_rotation.prices import PriceTable, RegionPrices
from node_rotation.prices import read as read_prices

Prices = Annotated[
    PriceTable | None,
    WithJsonSchema({"type": "string", "description": "a price table beside this file, e.g. prices.yaml"}),
]


class AwsAccess(Value):
    """How to reach a cluster's AWS account: an Airflow connection, or boto3's own chain for the CLI."""

    region: str = Field(pattern=r"^[a-z]{2}[a-z0-9-]*[0-9]$", description="e.g. eu-central-1")
    connection: str = Field(default="aws_default", description="Airflow connection id")
    profile: str | None = Field(default=None, description="for the CLI: a profile of the AWS config")


class KubernetesAccess(Value):
    """How to reach a cluster's API server."""

    connection: str = Field(default="kubernetes_default", description="Airflow connection id")
    kubeconfig: str | None = Field(default=None, description="for the CLI; environment variables are expanded")
    context: str | None = None
    eks_cluster: str | None = Field(
        default=None, description="an EKS cluster's name: endpoint and token come from AWS instead"
    )


class NodeGroup(Value):
    """One pool of machines: an Auto Scaling group by name, or by tags that exactly one group carries."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    kind: Kind = Kind.ASG
    role: Role = Role.WORKER
    asg: str | None = None
    asg_tags: dict[str, str] = {}
    policy: Policy = Policy()

    @model_validator(mode="after")
    def _one_address(self) -> NodeGroup:
        if bool(self.asg) == bool(self.asg_tags):
            raise ValueError(f"node group {self.name!r} needs either asg or asg_tags")
        return self

    @property
    def address(self) -> str:
        """How its Auto Scaling group is found: two groups with the same address would overlap."""
        return self.asg or ", ".join(f"{key}={value}" for key, value in sorted(self.asg_tags.items()))


class Cluster(Value):
    """A Kubernetes cluster; clusters of an environment are taken in their order."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    aws: AwsAccess
    kubernetes: KubernetesAccess = KubernetesAccess()
    kops: KopsCluster | None = Field(default=None, description="take the groups from kops' tags")
    groups: tuple[NodeGroup, ...] = ()
    policy: Policy = Policy()

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
    policy: Policy = Policy()


class Settings(Value):
    """One cluster with everything that holds for it, policies merged per group."""

    environment: str
    cluster: Cluster
    policy: Policy
    groups: dict[str, Policy]
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


class Fleet(Value):
    """Everything there is to rotate."""

    schema_version: Literal[1] = 1
    defaults: Policy = Policy()
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

    def settings(self, cluster: str, run: Mapping[str, Any] | None = None) -> Settings:
        """What holds for one cluster, run parameters on top.

        :param cluster: ``name`` or ``environment.name``.
        :param run: a partial policy, as the trigger form and the CLI give it.
        :raises BadInputError: if there is no such cluster, or the run's policy is none.
        """
        for env in self.environments:
            for candidate in env.clusters:
                if cluster in (candidate.name, f"{env.name}.{candidate.name}"):
                    return self._merged(env, candidate, run or {})
        known = ", ".join(self.names)
        raise BadInputError("cluster", f"there is no cluster {cluster!r} in the fleet.", f"Known: {known}.")

    def _merged(self, env: Environment, cluster: Cluster, run: Mapping[str, Any]) -> Settings:
        layers = (self.defaults, env.policy, cluster.policy)
        try:
            merged = Settings(
                environment=env.name,
                cluster=cluster,
                policy=merge(*layers, run),
                groups={
                    **{g.name: settled(g.kind, g.role, merge(*layers, g.policy, run)) for g in cluster.groups},
                    **{name: merge(*layers, own, run) for name, own in _kops_policies(cluster).items()},
                },
                prices=self.prices.of(cluster.aws.region) if self.prices else None,
            )
        except ValidationError as error:
            raise BadInputError("run parameters" if run else f"policy of {cluster.name}", *_said(error, run)) from error
        _some_slots(merged, run)
        flow_checks.check(merged, bool(run))
        return merged


def load(path: Path) -> Fleet:
    """Read and validate a fleet file.

    :param path: the YAML file.
    :raises BadInputError: names the file, the path in it and the remedy.
    """
    try:
        data = yaml.safe_load(path.read_text())
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
        for name in fleet.names:  # what the layers say together must be a policy as well
            fleet.settings(name)
    except BadInputError as error:
        raise BadInputError(f"{path}: {error.where}", error.problem, error.remedy) from error
    return fleet


def _said(error: ValidationError, run: Mapping[str, Any]) -> tuple[str, str]:
    where, problem, remedy = explain(error, run, Policy)
    return f"{where}: {problem}", remedy


def _some_slots(settings: Settings, run: Mapping[str, Any]) -> None:
    """Refuse a budget that lets nothing move, on the side that the group's strategy spends."""
    for name, policy in settings.groups.items():
        side = "max_unavailable" if policy.strategy is Strategy.TERMINATE_FIRST else "max_surge"
        share = getattr(policy.budget, side)
        if share in (0, "0%"):
            where = "run parameters" if run else f"node group {name} of {settings.name}"
            raise BadInputError(
                f"{where}: budget.{side}",
                f"{share} leaves 0 slots: no machine of group {name} could ever be replaced.",
                "Set it to at least 1, or take the group out of the fleet.",
            )


def _kops_policies(cluster: Cluster) -> Mapping[str, Policy]:
    return cluster.kops.policies if cluster.kops else {}


def _account(cluster: Cluster) -> str:
    """Clusters may share an account and a region; the same group name there is the same group."""
    return f"{cluster.aws.region} ({cluster.aws.profile or cluster.aws.connection})"


def _no_twins(what: str, names: list[str]) -> None:
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ValueError(f"the same {what} twice: {', '.join(twins)}")
