"""The user's fleet: environments, clusters, node groups and their policies, from one YAML file."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from node_rotation.clearance.lineage import Origin, alike
from node_rotation.clearance.promotion_order import Told, all_known, named_there, no_circles, promoted_from, told_apart
from node_rotation.configuration import document, flow_checks, of_clusters, safeguards
from node_rotation.configuration.access import Account as Account
from node_rotation.configuration.access import AwsAccess as AwsAccess
from node_rotation.configuration.access import KubernetesAccess as KubernetesAccess
from node_rotation.configuration.clusters import Cluster as Cluster
from node_rotation.configuration.clusters import Environment as Environment
from node_rotation.configuration.clusters import Layer, no_twins
from node_rotation.configuration.clusters import NodeGroup as NodeGroup
from node_rotation.configuration.complaint import ContradictionError, explain
from node_rotation.configuration.night import Night
from node_rotation.configuration.words import said
from node_rotation.errors import BadInputError
from node_rotation.kops.tags import settled
from node_rotation.model import Kind, Role, Strategy, Value
from node_rotation.policy import Clusters, ImageSource, Policy, PromotionPolicy, merge
from node_rotation.prices import PriceTable, RegionPrices
from node_rotation.prices import read as read_prices


def _price_table(value: Any) -> Any:
    """It was read by now, if it is the name of a file."""
    if value is None or isinstance(value, PriceTable | Mapping):
        return value
    raise ValueError(f"{said(value)} is not the name of a file: write that of a price table beside this one")


Prices = Annotated[
    PriceTable | None,
    BeforeValidator(_price_table),
    WithJsonSchema({"type": "string", "description": "a price table beside this file", "examples": ["prices.yaml"]}),
]


class Settings(Value):
    """One cluster with everything that holds for it, policies merged per group.

    ``beside`` are masters' groups that are not rotated but count for the quorum, ``before`` the clusters that an image
    must have proven itself in first, ``turn`` those that it is rotated in turn with, ``accounts`` those of the whole
    fleet.
    """

    environment: str
    cluster: Cluster
    policy: Policy
    groups: dict[str, Policy]
    beside: tuple[NodeGroup, ...] = ()
    before: tuple[Before, ...] = ()
    turn: Turn | None = None
    accounts: tuple[Account, ...] = ()
    prices: RegionPrices | None = None
    run: Mapping[str, Any] = Field(default={}, description="what the run says on top of the fleet file")
    notes: tuple[str, ...] = Field(default=(), description="groups that are named and left alone")

    @property
    def name(self) -> str:
        """``environment.cluster``, as partition keys and log lines say it."""
        return f"{self.environment}.{self.cluster.name}"

    @property
    def watched(self) -> tuple[NodeGroup, ...]:
        """The groups that are looked at: those that may be rotated, and those that are beside them."""
        return (*self.cluster.groups, *self.beside)

    def origins(self, eks: Mapping[str, str] | None = None) -> tuple[Origin, ...]:
        """Where each group's images come from, as far as it is known.

        :param eks: managed group → what EKS chooses its images by.
        """
        return tuple(
            Origin(g.name, g.kind, g.role, self.groups[g.name].image, (eks or {}).get(g.name, ""))
            for g in self.cluster.groups
        )

    def only(self, groups: Sequence[str] = (), roles: Sequence[Role] = ()) -> Settings:
        """The same cluster with some of its groups: those named, of these roles; nothing given means all.

        Where some of the masters stay, the others do beside them: a quorum is counted over all of them.

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
        masters = any(group.role is Role.CONTROL_PLANE for group in kept)
        beside = tuple(g for g in self.watched if masters and g.role is Role.CONTROL_PLANE and g not in kept)
        return self.model_copy(update={"cluster": cluster, "groups": policies, "beside": beside})


class Before(Value):
    """A cluster of an environment before, and which of its groups count for a group of ours.

    ``image`` and ``images`` (by group) are our sources by the fleet file, whatever is pinned for a run; ``named`` are
    the groups that count whatever their source.
    """

    settings: Settings
    named: tuple[str, ...] = ()
    image: ImageSource
    images: dict[str, ImageSource]

    def origin(self, group: str, kind: Kind, role: Role, eks: str = "") -> Origin:
        """Where the images of a group of ours come from.

        :param group: one that kops' tags name takes its image from where the cluster does.
        :param eks: what EKS chooses its images by.
        """
        return Origin(group, kind, role, self.images.get(group, self.image), eks)

    def looked_at(self, ours: Sequence[Origin], theirs: Settings) -> tuple[str, ...]:
        """The groups there that may have to prove an image of ours first.

        :param theirs: ``settings``, with the groups that kops' tags name.
        """
        if self.named:
            return tuple(name for name in theirs.groups if name in self.named)
        return tuple(o.group for o in theirs.origins() if any(alike(one, o) for one in ours))


class Turn(Value):
    """The other clusters of an environment of which one is rotated at a time, in the fleet file's order."""

    ahead: tuple[Before, ...]
    behind: tuple[Settings, ...]


class Fleet(Value):
    """Everything there is to rotate."""

    schema_version: Literal[1] = 1
    night: Night = Field(default=Night(), description="when Airflow checks every cluster for drift")
    defaults: Layer = Policy()
    prices: Prices = None
    environments: tuple[Environment, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_apart(self) -> Fleet:
        no_twins("environment", [env.name for env in self.environments])
        clusters = [c for env in self.environments for c in env.clusters]
        _called_once(self.names)
        places = [f"{g.address} in {_account(c)}" for c in clusters for g in c.groups]
        no_twins("Auto Scaling group", places)
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Every ``environment.cluster``, in promotion order."""
        return tuple(f"{env.name}.{c.name}" for env in self.environments for c in env.clusters)

    @property
    def accounts(self) -> tuple[Account, ...]:
        """Every account and region, in promotion order."""
        found: dict[AwsAccess, list[str]] = {}
        for env in self.environments:
            for cluster in env.clusters:
                found.setdefault(cluster.aws, []).append(f"{env.name}.{cluster.name}")
        return tuple(Account(aws=aws, clusters=tuple(names)) for aws, names in found.items())

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
                    where = "run parameters" if run else f"policy of {merged.name}"
                    ahead = {b.settings.name: [g.name for g in b.settings.cluster.groups] for b in before}
                    named_there(where, merged.policy.promoted.groups, ahead)
                    turn = self._turn(env, candidate, merged.policy.promoted)
                    found = {"before": before, "turn": turn, "accounts": self.accounts, "run": run or {}}
                    return merged.model_copy(update=found)
        raise BadInputError("cluster", *self._no_such(cluster))

    def _no_such(self, cluster: str) -> tuple[str, str]:
        """What is wrong with a cluster's name, and which there are."""
        for env in self.environments:
            if env.name == cluster:
                clusters = ", ".join(f"{env.name}.{c.name}" for c in env.clusters)
                return f"{cluster!r} is an environment.", f"Name one of its clusters: {clusters}."
        short = [c.name for env in self.environments for c in env.clusters]
        close = difflib.get_close_matches(str(cluster), (*short, *self.names), n=1)
        meant = f"Did you mean {close[0]!r}? " if close else ""
        return f"there is no cluster {cluster!r} in the fleet.", f"{meant}Known: {', '.join(self.names)}."

    def each(self) -> Iterator[Settings]:
        """Every cluster by itself: without who comes before it.

        :raises BadInputError: if what its layers say together is no policy.
        """
        return (self._merged(env, cluster, {}) for env in self.environments for cluster in env.clusters)

    def _merged(self, env: Environment, cluster: Cluster, run: Mapping[str, Any]) -> Settings:
        safeguards.for_the_file(run)
        of_clusters.check(cluster, f"{env.name}.{cluster.name}")
        merged = self._laid(env, cluster, run)
        self._keep(self._laid(env, cluster, {}), merged)
        flow_checks.some_slots(merged, run)
        not_managed(merged, run)
        flow_checks.for_one_run(merged, run)
        flow_checks.some_hours(merged, run)
        flow_checks.looks_in_time(merged, run)
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
        remedy = "Give its path: --fleet PATH, or NODE_ROTATION_FLEET."
        raise BadInputError(str(path), f"can't be read: {error.strerror}.", remedy) from error
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
        each = fleet.each()  # what the layers say together must be a policy as well
        told = {s.name: Told(s.environment, s.policy.promotion, s.origins()) for s in each}
        environments = [e.name for e in fleet.environments]
        no_circles(told, environments)
        all_known(told, environments)
        told_apart(told, environments)
    except BadInputError as error:
        raise BadInputError(f"{path}: {error.where}", error.problem, error.remedy) from error
    return fleet


def _said(error: ValidationError, run: Mapping[str, Any]) -> tuple[str, str]:
    where, problem, remedy = explain(error, run, Policy, assigned=bool(run))
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


def _called_once(clusters: Sequence[str]) -> None:
    """Refuse clusters of one name: commands and runs know a cluster by its name alone.

    :param clusters: every ``environment.cluster``.
    """
    for name in clusters:
        called = [other for other in clusters if other.partition(".")[2] == name.partition(".")[2]]
        if len(called) > 1:
            raise ContradictionError(
                f"clusters {' and '.join(called)} have one name",
                "Cluster names are unique over all environments: rename one of them.",
            )


def _account(cluster: Cluster) -> str:
    """Clusters may share an account and a region; the same group name there is the same group."""
    return str(cluster.aws)
