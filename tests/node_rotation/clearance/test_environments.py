"""What a plan says of the environments before, of each of which one group has to show the image."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from tests.node_rotation.builders import NEW

from node_rotation.clearance.environments import notes, without
from node_rotation.fleet import Fleet, Settings
from node_rotation.model import GroupPlan, ImageStep, Kind, Role, Strategy, Target

BASE, OTHER = {"ssm": "/images/base"}, {"ssm": "/images/other"}
KOPS: dict[str, Any] = {"kops": {"cluster": "staging.example.com"}}


def groups(cluster: str, image: dict[str, Any]) -> dict[str, Any]:
    return {"groups": [{"name": "workers", "asg": f"{cluster}-workers", "policy": {"image": image}}]}


def eks(cluster: str) -> dict[str, Any]:
    named = {"kind": "eks-managed", "eks_cluster": cluster, "nodegroup": "workers"}
    return {"groups": [{"name": "workers", **named, "policy": {"image": {"template": True}}}]}


def prod(*staging: dict[str, Any], eks_managed: bool = False, **promotion: Any) -> Settings:
    """A cluster after dev, whose image it takes, and after clusters of staging."""

    def cluster(name: str, groups: dict[str, Any]) -> dict[str, Any]:
        return {"name": name, "aws": {"region": "eu-central-1"}, **groups}

    ours = eks if eks_managed else partial(groups, image=BASE)
    environments = [
        {"name": "dev", "clusters": [cluster("dev", ours("dev"))]},
        {"name": "staging", "clusters": [cluster(f"s{number}", one) for number, one in enumerate(staging, 1)]},
        {
            "name": "prod",
            "clusters": [cluster("prod", ours("prod"))],
            "policy": {"promotion": {"after": ["dev", "staging"], **promotion}},
        },
    ]
    return Fleet.model_validate({"environments": environments}).settings("prod")


def group(kind: Kind = Kind.ASG) -> GroupPlan:
    return GroupPlan(
        name="workers",
        asg="prod-workers",
        role=Role.WORKER,
        kind=kind,
        strategy=Strategy.SURGE,
        image_step=ImageStep.EXTERNAL,
        needs_image_step=False,
        target=Target(image=NEW, source="ssm /images/base"),
        slots=1,
        size=1,
    )


def test_each_environment_has_one_or_is_named():
    before = prod(groups("s1", BASE), groups("s2", OTHER)).before
    assert list(without(before, ["dev.dev", "staging.s2"])) == []
    assert list(without(before, ["dev.dev"])) == ["staging.s1 and staging.s2"]
    assert list(without((), [])) == []


def test_of_clusters_of_one_environment_those_are_waited_for_that_have_such_a_group():
    settings = prod(groups("s1", BASE), groups("s2", OTHER))
    assert list(notes(settings, [group()])) == [
        "only once dev.dev has proven the image",
        "only once staging.s1 has proven the image",
    ]


@pytest.mark.parametrize("empty", ["hold", "allow"])
def test_an_environment_without_such_a_group_is_named_with_what_that_means(empty: str):
    settings = prod(groups("s1", OTHER), groups("s2", OTHER), empty=empty)
    nobody = "staging.s1 and staging.s2: no group takes its image from where group workers does"
    assert list(notes(settings, [group()])) == [
        "only once dev.dev has proven the image",
        f"{nobody} (promotion.empty: {empty})",
    ]


def test_what_only_the_cluster_can_tell_is_said_so():
    perhaps = ", if a group there takes its images from the same place"
    assert f"only once staging.s1 has proven the image{perhaps}" in notes(prod(KOPS), [group()])
    both = notes(prod(eks("s1"), eks_managed=True), [group(Kind.EKS_MANAGED)])
    assert f"only once staging.s1 has proven the image{perhaps}" in both


def test_names_that_only_the_cluster_can_tell_are_said_so():
    settings = prod(KOPS, groups=["workers"], empty="allow")
    assert "only once staging.s1 has proven the image, if a group there is called workers" in notes(settings, [group()])


def test_a_plan_that_promotes_nothing_waits_for_nobody():
    assert list(notes(prod(groups("s1", BASE)), [])) == []
