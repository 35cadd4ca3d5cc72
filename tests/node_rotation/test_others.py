"""Others change a group while it rotates: seen and handled, not fought."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.node_rotation.crashes import after, run_for

from node_rotation import engine
from node_rotation.testing.world import MemoryWorld

STRATEGIES = pytest.mark.parametrize("strategy", ["surge", "detach"])


class Heard:
    """A rotation during which somebody acts once, when a batch begins a step."""

    def __init__(self, world: MemoryWorld, at: tuple[str, str], act: Callable[[], None], **policy: Any) -> None:
        self._at, self._act = at, act
        self.said: list[str] = []
        self.result = engine.rotate(run_for(world, canary=False, **policy), self._listen)
        world.clock.wait(60.0)

    def _listen(self, event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step is not None and (event.batch, event.step) == self._at:
            self._at = ("", "")
            self._act()
        elif isinstance(event, engine.BatchWaits):
            self.said.extend(event.reasons)
        elif isinstance(event, engine.Note):
            self.said.append(event.text)


@STRATEGIES
def test_a_replacement_that_spot_reclaims_is_launched_again(strategy: str) -> None:
    world = MemoryWorld.simple(3, replicas=3, boot=10.0)

    def reclaim() -> None:
        (new,) = world.on_image("base-new")
        world.clock.after(1.0, lambda: world.cloud.terminate(new))

    world.clock.after(5.0, reclaim)
    heard = Heard(world, ("", ""), lambda: None, strategy=strategy)
    assert heard.result.ok
    assert after(world).clean
    assert (after(world).old, len(world.on_image("base-new"))) == (0, 3)


@STRATEGIES
def test_an_old_machine_that_spot_reclaims_counts_as_done(strategy: str) -> None:
    world = MemoryWorld.simple(3, replicas=3)
    run = run_for(world)
    last = run.plan.batches[-1].machines[0].instance_id
    heard = Heard(world, ("workers/1", "drain"), lambda: world.cloud.terminate(last), strategy=strategy)
    assert heard.result.ok
    assert after(world).orphans == ()
    assert after(world).residue == ()
    assert (after(world).old, len(world.on_image("base-new"))) == (0, 3)


def test_a_size_that_a_person_or_the_autoscaler_raises_while_machines_are_detached_is_kept() -> None:
    world = MemoryWorld.simple(3, replicas=3)
    asg = world.asg("workers")

    def grow() -> None:
        desired = world.cloud.groups([asg])[asg].desired
        world.cloud.set_sizes(asg, desired=desired + 2)

    heard = Heard(world, ("workers/2", "drain"), grow, strategy="detach")
    assert heard.result.ok
    assert after(world).old == 0
    assert world.cloud.groups([asg])[asg].desired == 5
    assert len(world.on_image("base-new")) == 5


def test_an_old_machine_that_the_autoscaler_removes_while_others_are_detached_is_not_replaced() -> None:
    world = MemoryWorld.simple(4, replicas=4)
    run = run_for(world)
    last = run.plan.batches[-1].machines[0].instance_id

    def shrink() -> None:
        world.cloud.terminate_in_group(last, decrement=True)

    heard = Heard(world, ("workers/1", "drain"), shrink, strategy="detach")
    assert heard.result.ok
    assert (after(world).old, len(world.on_image("base-new"))) == (0, 3)
    assert world.orphans() == ()


def test_an_instance_refresh_that_begins_midway_is_waited_for() -> None:
    world = MemoryWorld.simple(3, replicas=3)
    asg = world.asg("workers")
    begun: list[str] = []

    def begin() -> None:
        begun.append(world.scaling.start_refresh(asg, {}))
        (refresh,) = world.scaling.group(asg).refreshes
        world.clock.after(120.0, lambda: refresh.update(Status="Successful"))

    heard = Heard(world, ("workers/1", "terminate"), begin)
    assert heard.result.ok
    assert heard.result.ended_at - heard.result.started_at > 120.0
    assert f"instance refresh {begun[0]} is replacing the machines of dev-workers" in heard.said
    assert after(world).clean
