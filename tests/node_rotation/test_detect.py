"""What the drift check gathers from the cloud before it decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tests.node_rotation.crashes import run_for

from node_rotation import detect, engine
from node_rotation.model import GroupDrift
from node_rotation.testing import seeds
from node_rotation.testing.scaling_values import Override, TemplateRef
from node_rotation.testing.world import MemoryWorld

OWNER = "self"


def drift(world: MemoryWorld, image: Mapping[str, Any] | None = None) -> GroupDrift:
    settings = world.settings(**({"image": image} if image else {}))
    return detect.detect(settings, "workers", world.cloud, world.cluster, world.clock)


def test_a_parameter_may_name_an_image_that_its_name_filter_does_not_match() -> None:
    world = MemoryWorld.simple(3)
    found = drift(world, {"ssm": "/images/base/current", "owner": OWNER, "name": "other-*", "soak": "0s"})
    assert not found.blockers
    assert found.target is not None
    assert found.target.image.id == world.image_id("base-new")


def test_a_name_that_matches_nothing_does_not_fall_back_to_the_template() -> None:
    world = MemoryWorld.simple(3)
    found = drift(world, {"owner": OWNER, "name": "other-*", "soak": "0s"})
    assert found.target is None
    assert found.blockers


def test_an_override_whose_template_is_gone_is_a_blocker_that_names_template_and_group() -> None:
    world = MemoryWorld.simple(3)
    group = world.scaling.groups[world.asg("workers")]
    lost = Override(instance_type="m6i.large", template=TemplateRef(None, "lost", "3"))
    group.source = replace(group.source, overrides=(lost,))
    (blocker,) = drift(world).blockers
    assert blocker.objects == ("asg dev-workers", "template lost version 3")
    assert "lost" in blocker.reason
    assert "override" in blocker.remedy


def test_activities_are_read_for_groups_that_are_short_only() -> None:
    world = MemoryWorld.simple(3)
    world.journal.faults = [seeds.Fault(kind="capacity")]
    parts = (world.settings(), world.cloud, world.cluster, world.clock)
    assert detect.observe(*parts).activities == {}
    world.cloud.detach(world.asg("workers"), [world.on_image("base-old")[0]])
    world.clock.wait(5.0)
    assert "capacity" in detect.observe(*parts).activities[world.asg("workers")][0].message


def test_a_template_that_terraform_changed_outside_is_found_the_next_night_and_rolled() -> None:
    """Nobody tells: the image source is the template itself, so the next look finds the machines behind it."""
    world = MemoryWorld.simple(2)
    assert engine.rotate(run_for(world)).ok
    newer = world.add_image(seeds.Image("base-newer", created="2026-11-08T12:00:00Z"))
    assert not drift(world).drifted

    world.add_template_version("workers", "base-newer")
    world.clock.wait(24 * 3600.0)

    found = drift(world)
    assert found.target is not None
    assert (found.target.image.id, len(found.drifted)) == (newer, 2)
    run = run_for(world, "the-next-night")
    assert not any(group.needs_image_step for group in run.plan.groups)
    assert engine.rotate(run).ok
    assert len(world.on_image("base-newer")) == 2
