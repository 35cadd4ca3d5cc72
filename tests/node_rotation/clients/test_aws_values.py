"""AWS' answers as values of ours."""

from __future__ import annotations

from typing import Any

import pytest

from node_rotation.clearance.lineage import same
from node_rotation.clients import aws_values as values
from node_rotation.model import TemplateVersion

BASE = "ami-0base"


def described(image_id: str, **said: Any) -> dict[str, Any]:
    """An image as DescribeImages has it, called after its id."""
    named = {"ImageId": image_id, "Name": f"base-{image_id}", "OwnerId": "123456789012", "Architecture": "x86_64"}
    return {**named, "CreationDate": "2026-11-08T06:00:00.000Z", **said}


def built(image_id: str) -> dict[str, Any]:
    """One that Packer or Image Builder made with CreateImage of an instance that ran the base image."""
    return described(image_id, SourceImageId=BASE, SourceImageRegion="eu-central-1", SourceInstanceId="i-0builder")


def test_two_builds_on_one_base_are_two_images_and_neither_is_its_base():
    base, monday, tuesday = map(values.image, (described(BASE), built("ami-0monday"), built("ami-0tuesday")))

    assert not same(monday, tuesday)
    assert not same(monday, base)


def test_a_copy_of_a_build_is_the_build():
    build, fixed = values.image(built("ami-0monday")), values.image(built("ami-0tuesday"))
    copied = {"OwnerId": "210987654321", "SourceImageId": build.id, "SourceImageRegion": "eu-central-1"}

    copy = values.image(described("ami-0copy", **copied))

    assert copy.copied_from == build.id
    assert same(copy, build)
    assert not same(copy, fixed)


ATTRIBUTES: dict[str, Any] = {
    "AutoScalingGroupName": "workers",
    "MinSize": 8,
    "MaxSize": 64,
    "DesiredCapacity": 32,
    "MixedInstancesPolicy": {
        "LaunchTemplate": {
            "LaunchTemplateSpecification": {"LaunchTemplateId": "lt-1", "LaunchTemplateName": "workers"},
            "Overrides": [{"InstanceRequirements": {"VCpuCount": {"Min": 4}, "MemoryMiB": {"Min": 8192}}}],
        }
    },
}


@pytest.mark.parametrize(("said", "unit"), [({"DesiredCapacityType": "vcpu"}, "vcpu"), ({}, "units")])
def test_a_group_says_what_its_sizes_count(said: dict[str, str], unit: str) -> None:
    assert values.group({**ATTRIBUTES, **said}, (), "").sized_in == unit


REQUIREMENTS = {"InstanceRequirements": {"VCpuCount": {"Min": 2}, "MemoryMiB": {"Min": 4096}}}


def mixed(*overrides: dict[str, Any]) -> dict[str, Any]:
    """A group as DescribeAutoScalingGroups shows it."""
    template = {"LaunchTemplateId": "lt-1", "LaunchTemplateName": "base", "Version": "3"}
    policy = {"LaunchTemplate": {"LaunchTemplateSpecification": template, "Overrides": list(overrides)}}
    sizes = {"MinSize": 0, "MaxSize": 1, "DesiredCapacity": 1}
    return {"AutoScalingGroupName": "dev-mixed", **sizes, "MixedInstancesPolicy": policy}


def test_a_warm_pool_says_whether_it_takes_machines_back():
    def read(**pool: Any) -> tuple[bool, bool]:
        group = values.group(mixed() | {"WarmPoolConfiguration": pool}, (), "")
        return group.warm_pool, group.warm_pool_reuses

    assert read(PoolState="Stopped") == (True, False)
    assert read(InstanceReusePolicy={"ReuseOnScaleIn": False}) == (True, False)
    assert read(InstanceReusePolicy={"ReuseOnScaleIn": True}) == (True, True)
    assert read(InstanceReusePolicy={"ReuseOnScaleIn": True}, Status="PendingDelete") == (False, False)


def test_an_override_s_own_image_is_read_and_kept_where_the_template_s_version_is_changed():
    found = mixed({"InstanceType": "m6i.large", "ImageId": "ami-old"}, {"InstanceType": "m5.large"})

    assert values.group(found, (), "").override_images == {"m6i.large": "ami-old"}
    written = values.mixed_policy_with(
        found["MixedInstancesPolicy"], TemplateVersion(name="base", id="lt-1", version="4")
    )
    assert written["LaunchTemplate"]["Overrides"] == found["MixedInstancesPolicy"]["LaunchTemplate"]["Overrides"]


def test_an_override_of_instance_requirements_has_no_type_and_an_image_only_if_it_names_one():
    plain = mixed(REQUIREMENTS)
    read = values.group(plain, (), "")
    assert (read.overrides, read.override_images, read.instance_types) == ((None,), {}, ())
    written = values.mixed_policy_with(
        plain["MixedInstancesPolicy"], TemplateVersion(name="base", id="lt-1", version="4")
    )
    assert written["LaunchTemplate"]["Overrides"] == [REQUIREMENTS]

    named = mixed(REQUIREMENTS, REQUIREMENTS | {"ImageId": "ami-old"})
    assert values.group(named, (), "").override_images == {"number 2": "ami-old"}
