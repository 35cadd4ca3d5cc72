"""One cluster of an environment at a time, over worlds in memory; who waits has touched nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.node_rotation.clearance.test_look import NAMED, why
from tests.node_rotation.crashes import FAST, after

from node_rotation import detect, engine
from node_rotation.clearance import look as clearance
from node_rotation.fleet import Fleet, Settings
from node_rotation.model import StepName
from node_rotation.outcome import Done
from node_rotation.planning import make_plan
from node_rotation.run import Run
from node_rotation.steps.prepare import prepare
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld

INTAKE = {"http": {"url": "http://installer", "close": {"path": "/close"}, "open": {"path": "/open"}}}


class Environment:
    """Three clusters of one environment, each a world of its own."""

    def __init__(self, **promotion: Any) -> None:
        simple = MemoryWorld.simple(2, max_unavailable=4).seed
        self.worlds = {
            f"prod.{name}": MemoryWorld(replace(simple, cluster=name, environment="prod"))
            for name in ("one", "two", "three")
        }
        self.one, self.two, self.three = self.worlds.values()
        clusters = [
            {
                "name": name.partition(".")[2],
                "aws": {"region": "eu-central-1"},
                "groups": [{"name": "workers", "asg": world.asg("workers")}],
            }
            for name, world in self.worlds.items()
        ]
        said = {"promotion": {"clusters": "in_turn", **promotion}, "image": NAMED, "intake": INTAKE, **FAST}
        said["image_step"] = "launch_template"
        self.fleet = Fleet.model_validate({"defaults": said, "environments": [{"name": "prod", "clusters": clusters}]})

    def connect(self, settings: Settings) -> Any:
        world = self.worlds[settings.name]
        return world.cloud, world.cluster

    def run(self, name: str) -> Run:
        world, settings = self.worlds[f"prod.{name}"], self.fleet.settings(name)
        reached = (world.cloud, world.cluster, world.clock)
        snapshot = detect.observe(settings, *reached)
        drift = detect.detect(settings, "workers", *reached, snapshot=snapshot)
        plan = make_plan(settings, [drift], snapshot, world.clock.now())
        return detect.make_run(
            f"run-{name}", plan, settings, *reached, outside=world.outside.value(), others=self.connect
        )


def test_by_default_clusters_go_together() -> None:
    land = Environment(clusters="together")
    assert land.fleet.settings("two").turn is None
    assert isinstance(clearance.look(land.run("two")), Done)


def test_each_waits_until_those_ahead_run_the_image_and_touches_nothing() -> None:
    land = Environment()
    two, three = land.run("two"), land.run("three")
    assert "only once prod.one is done" in two.plan.notes
    assert isinstance(clearance.look(land.run("one")), Done)
    assert "prod.one group workers: 2 of 2 machines do not run" in why(clearance.look(two))
    assert "prod.one group workers" in why(clearance.look(three))

    assert engine.rotate(land.run("one")).ok
    land.two.clock.wait(3600.0)
    land.three.clock.wait(3600.0)
    assert isinstance(clearance.look(two), Done)
    assert why(clearance.look(three)).startswith("prod.two group workers: 2 of 2 machines do not run")
    assert engine.rotate(two).ok
    land.three.clock.wait(3600.0)
    assert isinstance(clearance.look(three), Done)
    assert land.three.mutations == []


def test_who_is_ahead_and_still_has_its_intake_closed_is_waited_for() -> None:
    """All its machines run the image, but the last gate has not passed, nor is its intake open."""
    land, said = Environment(), []
    two = land.run("two")

    def ask(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step is StepName.GATE:
            said.append(why(clearance.look(two)))

    assert engine.rotate(land.run("one"), ask).ok
    busy = "prod.one is being rotated by run-one; intake /close of node_rotation_intake is closed"
    assert all(text.startswith(busy) for text in said)
    land.two.clock.wait(3600.0)
    assert isinstance(clearance.look(two), Done)


def test_nor_does_one_begin_while_one_behind_it_is_rotated() -> None:
    """Somebody started the later one with its own say."""
    land, said = Environment(), []
    one, two = land.run("one"), land.run("two")
    alone = replace(two, settings=two.settings.model_copy(update={"turn": None}))

    def ask(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step is StepName.DRAIN:
            said.append(why(clearance.look(one)))

    assert engine.rotate(alone, ask).ok
    assert all(text.startswith("prod.two is being rotated by run-two") for text in said)
    assert said


def test_a_dead_run_ahead_is_named_with_what_to_do() -> None:
    land = Environment()
    dead = land.run("one")
    assert isinstance(prepare(dead, "workers"), Done)
    two = land.run("two")
    land.two.clock.wait(10 * dead.settings.policy.lock_duration)
    said = why(clearance.look(two))
    assert "prod.one is being rotated by run-one, which is dead: node-rotation sweep puts back its work" in said


def test_a_rotation_waits_for_its_turn_by_itself() -> None:
    land = Environment()
    assert engine.rotate(land.run("one")).ok
    assert engine.rotate(land.run("two")).ok
    assert [after(world).old for world in land.worlds.values()] == [0, 0, 2]


def test_a_group_without_machines_ahead_keeps_nobody() -> None:
    land = Environment()
    land.one.cloud.set_sizes(land.one.asg("workers"), min=0, desired=0)
    land.one.clock.wait(60.0)
    assert isinstance(clearance.look(land.run("two")), Done)


@pytest.mark.parametrize("service", ["autoscaling", "kubernetes"])
def test_one_that_cannot_be_asked_holds(service: str) -> None:
    land = Environment()
    two = land.run("two")
    land.one.journal.faults = [seeds.Fault(kind="throttle", service=service)]
    assert why(clearance.look(two)).startswith("prod.one can't be asked")
