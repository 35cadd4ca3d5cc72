"""The image step puts the target into a group's template, and takes it out again where the image is at fault."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.node_rotation.crashes import after, dies, run_for

from node_rotation import engine, names
from node_rotation.ledger import parse
from node_rotation.model import StepName
from node_rotation.outcome import Blocked, Done
from node_rotation.report import page, report
from node_rotation.run import Run
from node_rotation.steps import STEPS
from node_rotation.steps.heal import heal
from node_rotation.steps.prepare import prepare
from node_rotation.testing.faults import Fault
from node_rotation.testing.scaling_values import Override, TemplateRef
from node_rotation.testing.world import MemoryWorld

VERSIONS = ("$Latest", "$Default", "a number")


def bad_image(version: str, behaviour: str = "never-joins") -> tuple[MemoryWorld, Run]:
    """A group whose template says the old image, by a version named like this, and an image step that is ours."""
    world = MemoryWorld.simple(3, replicas=6, behaviour=behaviour)
    number = world.add_template_version("workers", "base-old")
    group = world.scaling.groups[world.asg("workers")]
    ref = group.source.template
    assert isinstance(ref, TemplateRef)
    world.ec2.template_named(ref.template_id or ref.template_name or "").default = number
    group.source = replace(group.source, template=replace(ref, version=number if version == "a number" else version))
    return world, run_for(world, image_step="launch_template", image={"ssm": "/images/base/current"})


def launches(world: MemoryWorld) -> str:
    asg = world.cloud.groups([world.asg("workers")])[world.asg("workers")]
    return world.cloud.template(asg.template).image_id


@pytest.mark.parametrize("version", VERSIONS)
def test_a_good_image_stays_in_the_template(version: str) -> None:
    world, run = bad_image(version, "good")
    assert engine.rotate(run).ok
    assert launches(world) == world.image_id("base-new")


@pytest.mark.parametrize("version", VERSIONS)
def test_an_image_at_fault_is_taken_out_of_the_template_again_and_the_report_says_so(version: str) -> None:
    world, run = bad_image(version)
    events: list[engine.Event] = []
    result = engine.rotate(run, events.append)
    assert [name for name, _ in result.failed] == ["workers/1"]
    assert launches(world) == world.image_id("base-old")
    said = [e.text for e in events if isinstance(e, engine.Note) and "launches its former image again" in e.text]
    assert len(said) == 1
    told = report(run.plan, result, events)
    assert told["put_back"]
    assert "launches its former image again" in page(json.loads(json.dumps(told)))
    world.clock.wait(60.0)
    assert after(world).clean
    assert len(world.on_image("base-old")) == 3


@pytest.mark.parametrize("version", VERSIONS)
def test_so_it_is_where_aws_made_the_version_and_its_answer_was_lost(version: str) -> None:
    world, run = bad_image(version)
    world.journal.faults.append(Fault("lost_answer", action="CreateLaunchTemplateVersion", calls=(1,)))
    assert not engine.rotate(run).ok
    assert launches(world) == world.image_id("base-old")


@pytest.mark.parametrize("version", VERSIONS)
def test_and_where_the_run_died_before_it_knew_which_version_it_had_made(version: str) -> None:
    world, run = bad_image(version)
    at = next(n for n in range(1, 20) if _dies_after(version, n) == "CreateLaunchTemplateVersion")
    assert dies(run, world, at, before=False)
    engine.rotate(run_for(world, run.id, plan=run.plan, image_step="launch_template"))
    assert launches(world) == world.image_id("base-old")


def _dies_after(version: str, at: int) -> str:
    world, run = bad_image(version)
    dies(run, world, at, before=False)
    return world.mutations[-1].action


def test_somebody_elses_template_version_is_left_as_it_is() -> None:
    world, run = bad_image("$Latest")

    def writes(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step == "heal":
            world.add_template_version("workers", "base-new")

    result = engine.rotate(run, writes)
    assert launches(world) == world.image_id("base-new")
    assert not report(run.plan, result)["put_back"]


def test_a_cleared_canary_tries_the_image_again() -> None:
    world, run = bad_image("$Default")
    seen: list[str] = []

    def hear(event: engine.Event) -> None:
        lease = world.cluster.lease()
        if isinstance(event, engine.BatchMoved) and event.failed and lease is not None:
            back = parse(lease.annotations[names.LEDGER]).groups["workers"].template_back
            seen.append(launches(world) if back else "")

    engine.rotate(run, hear)
    assert seen[-1] == world.image_id("base-old")
    run.freezes.unfreeze(run.plan.groups[0].target.image, "it was the network")
    again = engine.rotate(run_for(world, run.id, plan=run.plan, image_step="launch_template"))
    assert [name for name, _ in again.failed] == ["workers/1"]
    assert launches(world) == world.image_id("base-old")


def test_a_canary_cleared_before_restore_has_the_image_step_run_again() -> None:
    for version in VERSIONS:
        world, run = bad_image(version)
        batch = run.plan.batches[0]
        prepare(run, batch.group)
        STEPS[StepName.ADMIT].act(run, batch)
        heal(run, batch, "its image never joins", image_fault=True)
        assert launches(world) == world.image_id("base-old")
        assert "former image" in str(STEPS[StepName.HEAL].look(run, batch))
        refused = STEPS[StepName.ADMIT].look(run, batch)
        assert isinstance(refused, Blocked)
        assert "is frozen since" in refused.reason
        run.freezes.unfreeze(run.plan.groups[0].target.image, "it was the network")
        STEPS[StepName.ADMIT].act(run, batch)
        assert isinstance(STEPS[StepName.ADMIT].look(run, batch), Done)
        assert launches(world) == world.image_id("base-new"), version


@pytest.mark.parametrize("image_step", ["launch_template", "external"])
def test_an_override_that_names_its_image_since_the_plan_was_made_has_nothing_touched(image_step: str) -> None:
    world = MemoryWorld.simple(3, replicas=0)
    run = run_for(world, image_step=image_step)
    names_image(world, "base-old")

    result = engine.rotate(run)

    assert result.blocked is not None
    assert "override m6i.large of group dev-workers names" in result.blocked.reason
    assert len(world.on_image("base-old")) == 3
    assert after(world).clean


def test_one_that_names_the_target_is_no_obstacle() -> None:
    world = MemoryWorld.simple(3, replicas=0)
    names_image(world, "base-new")

    assert engine.rotate(run_for(world)).ok
    assert len(world.on_image("base-new")) == 3


def names_image(world: MemoryWorld, image: str) -> None:
    """Give the group's only override an ImageId; whatever the template says, that is launched."""
    group = world.scaling.groups[world.asg("workers")]
    override = Override("m6i.large", image_id=world.image_id(image))
    group.source = replace(group.source, mixed=True, overrides=(override,))
