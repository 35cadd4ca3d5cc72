"""kops' tags become node groups; what does not fit is refused by name, before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from node_rotation.errors import BadInputError
from node_rotation.fleet import Fleet, Settings
from node_rotation.kops.discovery import discover
from node_rotation.kops.tags import KopsRole, role_of
from node_rotation.model import Kind, Role, Strategy
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld

MANAGED = {"strategy": "managed"}
INSTANCE_GROUPS = {
    "control-plane-a": {"k8s.io/role/control-plane": "1", "k8s.io/role/master": "1"},
    "apis": {"k8s.io/role/apiserver": "1"},
    "nodes": {"k8s.io/role/node": "1"},
    "bastions": {"k8s.io/role/bastion": "1"},
}


def world(groups: Mapping[str, Mapping[str, str]] = INSTANCE_GROUPS) -> MemoryWorld:
    common = {"KubernetesCluster": "prod.example.com"}
    return MemoryWorld.of(
        images=(seeds.Image("base"),),
        groups=tuple(
            seeds.Group(name, image="base", desired=0, tags={**common, "kops.k8s.io/instancegroup": name, **tags})
            for name, tags in groups.items()
        ),
    )


def settings(kops: Mapping[str, Any] | None = None, run: Mapping[str, Any] | None = None) -> Settings:
    source = {"cluster": "prod.example.com", **(kops or {})}
    cluster = {"name": "prod", "aws": {"region": "eu-central-1"}, "kops": source}
    return Fleet.model_validate({"environments": [{"name": "prod", "clusters": [cluster]}]}).settings("prod", run)


def test_every_instance_group_by_its_role_and_bastions_are_left_alone() -> None:
    found = discover(settings(), world().cloud)

    assert {g.name: g.role for g in found.cluster.groups} == {
        "control-plane-a": Role.CONTROL_PLANE,
        "apis": Role.WORKER,
        "nodes": Role.WORKER,
    }
    assert {g.kind for g in found.cluster.groups} == {Kind.KOPS}
    assert [note for note in found.notes if "bastions" in note]
    assert Settings.model_validate_json(found.model_dump_json()) == found  # it travels by XCom


def test_masters_are_terminated_first_whatever_the_run_says() -> None:
    found = discover(settings(run={"strategy": "detach"}), world().cloud)

    assert found.groups["control-plane-a"].strategy is Strategy.TERMINATE_FIRST
    assert found.groups["nodes"].strategy is Strategy.DETACH


@pytest.mark.parametrize("given", [{"run": {"strategy": "managed"}}, {"kops": {"policies": {"nodes": MANAGED}}}])
def test_eks_rolls_no_group_of_kops(given: Mapping[str, Any]) -> None:
    with pytest.raises(BadInputError, match=r"managed is for groups of kind eks-managed, and \w+ is of kind kops"):
        discover(settings(**given), world().cloud)


def test_an_instance_group_may_have_a_policy_of_its_own() -> None:
    found = discover(settings({"policies": {"nodes": {"budget": {"max_surge": 3}}}}), world().cloud)

    assert found.groups["nodes"].budget.max_surge == 3
    assert found.groups["apis"].budget.max_surge == 1


def test_a_policy_for_nobody_is_refused_with_what_there_is() -> None:
    with pytest.raises(BadInputError, match=r"no instance group 'nodez'. Correct its .* Known: .*nodes"):
        discover(settings({"policies": {"nodez": {}}}), world().cloud)


def twice(group: str) -> MemoryWorld:
    """Two Auto Scaling groups carry an instance group's tags."""
    tags = {"kops.k8s.io/instancegroup": group, **INSTANCE_GROUPS[group]}
    return world({**INSTANCE_GROUPS, "beside": tags})


def test_a_group_that_is_there_twice_is_refused_with_both() -> None:
    with pytest.raises(BadInputError, match=r"instance group nodes: is dev-nodes and dev-beside"):
        discover(settings(), twice("nodes").cloud)


def test_what_became_of_a_worker_group_is_no_matter_where_nothing_is_planned() -> None:
    deleted = {"policies": {"nodes": {"priority": 3}, "nodes-spot": {"priority": -1}}}
    found = discover(settings(deleted), world().cloud, to_plan=False)
    assert {name: policy.priority for name, policy in found.groups.items()} == {
        "control-plane-a": 0,
        "apis": 0,
        "nodes": 3,
    }
    assert set(discover(settings(), twice("nodes").cloud, to_plan=False).groups) == {"control-plane-a", "apis"}


def test_masters_have_to_be_found_always() -> None:
    with pytest.raises(BadInputError, match=r"instance group control-plane-a: is dev-control-plane-a and dev-beside"):
        discover(settings(), twice("control-plane-a").cloud, to_plan=False)


def test_a_cluster_that_kops_does_not_know_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"KubernetesCluster=nobody"):
        discover(settings({"cluster": "nobody"}), world().cloud)


def test_another_cluster_s_groups_and_groups_without_kops_tags_are_not_taken() -> None:
    groups = {"nodes": INSTANCE_GROUPS["nodes"], "other": {**INSTANCE_GROUPS["nodes"], "KubernetesCluster": "dev"}}

    assert [g.name for g in discover(settings(), world(groups).cloud).cluster.groups] == ["nodes"]


def test_mixed_roles_are_refused_by_name() -> None:
    mixed = {"odd": {"k8s.io/role/node": "1", "k8s.io/role/control-plane": "1"}}

    with pytest.raises(BadInputError, match=r"dev-odd: has the roles control-plane, node"):
        discover(settings(), world(mixed).cloud)


@pytest.mark.parametrize(
    ("tags", "role"),
    [
        ({"k8s.io/role/master": "1"}, KopsRole.CONTROL_PLANE),
        ({"k8s.io/role/control-plane": "1", "k8s.io/role/master": "1"}, KopsRole.CONTROL_PLANE),
        ({"k8s.io/role/node": "1"}, KopsRole.NODE),
        ({"k8s.io/role/apiserver": "1"}, KopsRole.API_SERVER),
        ({"k8s.io/role/bastion": "1"}, KopsRole.BASTION),
    ],
)
def test_a_role_as_kops_writes_it(tags: Mapping[str, str], role: KopsRole) -> None:
    assert role_of("prod-x", tags) is role


@pytest.mark.parametrize("tags", [{}, {"k8s.io/role/windows": "1"}])
def test_a_role_that_is_none_is_refused(tags: Mapping[str, str]) -> None:
    with pytest.raises(BadInputError, match="Auto Scaling group prod-x"):
        role_of("prod-x", tags)


@pytest.mark.parametrize("given", [{}, {"groups": [{"name": "a", "asg": "a"}], "kops": {"cluster": "x"}}])
def test_groups_are_listed_or_found_not_both_and_not_neither(given: Mapping[str, Any]) -> None:
    cluster = {"name": "prod", "aws": {"region": "eu-central-1"}, **given}
    with pytest.raises(ValueError, match="needs either groups or kops"):
        Fleet.model_validate({"environments": [{"name": "prod", "clusters": [cluster]}]})
