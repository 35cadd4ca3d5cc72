"""What a managed group should run: by AMI type, by release, by launch template, and what is refused by name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.node_rotation.crashes import plan_for, rotate
from tests.node_rotation.eks_world import BASE, NEW, NEW_RELEASE, OLD, OLD_RELEASE, world

from node_rotation import detect
from node_rotation.model import DriftReason, GroupDrift
from node_rotation.testing import seeds
from node_rotation.testing.managed_values import Nodegroup
from node_rotation.testing.world import MemoryWorld

NEWER = NEW.replace("20261108", "20261109")
CUSTOM = (
    seeds.Image("mine-1", created="2026-11-01T06:00:00Z"),
    seeds.Image("mine-2", created="2026-11-08T06:00:00Z"),
)


def drift(memory: MemoryWorld, image: str | None = None, as_of: datetime | None = None, **policy: Any) -> GroupDrift:
    settings = memory.settings(**policy)
    return detect.detect(settings, "workers", memory.cloud, memory.cluster, memory.clock, as_of, image)


def only(found: GroupDrift) -> str:
    (blocker,) = found.blockers
    return blocker.reason


def eks(memory: MemoryWorld) -> Nodegroup:
    return memory.eks.group("dev", "workers")


def custom(next_image: str | None = "mine-2") -> MemoryWorld:
    group = seeds.Group(
        "workers", image="mine-1", next_image=next_image, desired=2, max=3, kind="eks-managed", ami_type="CUSTOM"
    )
    return world(group, images=CUSTOM, replicas=2)


def test_by_ami_type_and_kubernetes_version_it_is_what_aws_recommends() -> None:
    memory = world()
    found = drift(memory)
    assert found.target is not None
    assert (found.target.image.name, found.target.release) == (NEW, NEW_RELEASE)
    assert [m.reasons for m in found.drifted] == [(DriftReason.IMAGE,)] * 3
    assert found.blockers == ()


def test_an_unknown_ami_type_is_refused_by_name() -> None:
    memory = world()
    eks(memory).ami_type = "AL2027_x86_64"
    found = drift(memory)
    assert (found.target, found.drifted) == (None, ())
    assert "AMI type AL2027_x86_64 of node group dev/workers is not known" in only(found)
    plan, _ = plan_for(memory)
    assert plan.blockers
    assert memory.mutations == []


def test_a_kubernetes_version_without_images_is_refused_by_its_parameter() -> None:
    memory = world()
    eks(memory).version = "1.39"
    assert "there is no SSM parameter /aws/service/eks/optimized-ami/1.39" in only(drift(memory))


def test_a_release_pins_its_image() -> None:
    newer = seeds.Image(NEWER, created="2026-11-08T20:00:00Z", owner="amazon", release="1.36.2-20261109")
    memory = world(images=(newer,))
    memory.account.put_parameter(seeds.Parameter(f"{BASE}/recommended/image_id", NEWER))
    memory.account.put_parameter(seeds.Parameter(f"{BASE}/recommended/release_version", NEWER))
    found = drift_with_release(memory, NEW_RELEASE)
    assert found.target is not None
    assert (found.target.image.name, found.target.release) == (NEW, NEW_RELEASE)


def drift_with_release(memory: MemoryWorld, release: str) -> GroupDrift:
    settings = memory.settings(image={"release": release})
    return detect.detect(settings, "workers", memory.cloud, memory.cluster, memory.clock)


def test_a_release_that_does_not_exist_is_refused() -> None:
    assert "for release version 1.36.9-20270101" in only(drift_with_release(world(), "1.36.9-20270101"))


def test_a_pinned_image_must_be_a_release_of_the_type() -> None:
    memory = world(images=CUSTOM)
    found = drift(memory, image=memory.image_id("mine-2"))
    assert "is no release of AMI type" in only(found)
    assert "leave the group out: --group" in found.blockers[0].remedy
    assert drift(memory, image=memory.image_id(NEW)).blockers == ()


def test_eks_takes_no_group_back_to_an_older_release() -> None:
    memory = world()
    assert rotate(memory).ok
    found = drift_with_release(memory, OLD_RELEASE)
    assert "can't take node group dev/workers back" in only(found)
    assert "leave the group out: --group" in found.blockers[0].remedy


@pytest.mark.parametrize("source", [{"ssm": "/images/base/current"}, {"owner": "self", "name": "base-*"}])
def test_other_sources_mean_nothing_to_a_group_whose_images_eks_chooses(source: dict[str, str]) -> None:
    memory = world()
    settings = memory.settings(image=source)
    found = detect.detect(settings, "workers", memory.cloud, memory.cluster, memory.clock)
    assert "EKS chooses the images of node group dev/workers" in only(found)
    assert "in the policy of this group" in found.blockers[0].remedy


def test_a_past_night_is_answered_by_names_and_dates() -> None:
    found = drift(world(), as_of=datetime(2026, 11, 5, 2, 0, tzinfo=UTC))
    assert found.target is not None
    assert (found.target.image.name, found.target.release) == (OLD, OLD_RELEASE)
    assert found.drifted == ()


def test_a_custom_group_runs_the_newest_version_of_its_launch_template() -> None:
    memory = custom()
    found = drift(memory)
    assert found.target is not None
    assert found.target.template is not None
    assert (found.target.image.name, found.target.template.version, found.target.release) == ("mine-2", "2", "")
    assert rotate(memory).ok
    assert len(memory.on_image("mine-2")) == 2
    template = eks(memory).template
    assert template is not None
    assert template.version == "2"
    assert drift(memory).drifted == ()


def test_a_custom_groups_template_version_without_a_new_image_is_drift_only_by_policy() -> None:
    memory = custom(next_image="mine-1")
    assert drift(memory).drifted == ()
    counted = detect.detect(
        memory.settings(drift={"template": True}), "workers", memory.cloud, memory.cluster, memory.clock
    )
    assert [m.reasons for m in counted.drifted] == [(DriftReason.TEMPLATE_VERSION,)] * 2


def test_a_custom_group_whose_template_launches_something_else_is_refused() -> None:
    memory = custom()
    other = memory.add_image(seeds.Image("mine-3", created="2026-11-08T12:00:00Z"))
    assert "does not launch the target" in only(drift(memory, image=other))


def test_a_release_means_nothing_to_a_custom_group() -> None:
    assert "release versions mean nothing" in only(drift_with_release(custom(), NEW_RELEASE))
