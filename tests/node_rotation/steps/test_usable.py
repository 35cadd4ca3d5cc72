"""DaemonSets and new machines: what is waited for, and what is held against the image."""

from __future__ import annotations

from typing import Any

import pytest
from tests.node_rotation.crashes import STRATEGIES, after, run_for

from node_rotation import engine
from node_rotation.model import StepName
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld

NEVER = 9e9


def with_daemon(ready_after: float, **more: Any) -> MemoryWorld:
    """Three machines, pods of ``web``, and one more DaemonSet."""
    world = MemoryWorld.simple(3, replicas=3)
    world.add_workload(seeds.Workload("probe", "DaemonSet", "monitoring", ready_after=ready_after, **more))
    world.clock.wait(60.0)
    return world


def breaks(world: MemoryWorld, name: str, *, everywhere: bool) -> None:
    """From now on new pods of a DaemonSet do not become Ready; everywhere: those that run are not either."""
    state = world.objects.workloads["DaemonSet", "monitoring", name]
    state.seed = seeds.Workload(name, "DaemonSet", "monitoring", ready_after=NEVER)
    for pod in state.active() if everywhere else ():
        world.objects.change_pod(pod.uid, "crashes", ready=False)


def rotate_and_break(world: MemoryWorld, *, everywhere: bool, **policy: Any) -> engine.Result:
    """Rotate, and have the DaemonSet break once the run has written down what was broken before."""
    broken = False

    def hear(event: engine.Event) -> None:
        nonlocal broken
        if isinstance(event, engine.BatchMoved) and event.step is StepName.LAUNCH and not broken:
            broken = True
            breaks(world, "probe", everywhere=everywhere)

    return engine.rotate(run_for(world, **policy), hear)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_daemon_set_that_was_broken_before_keeps_no_machine_from_being_replaced(strategy: str) -> None:
    world = with_daemon(NEVER)
    result = engine.rotate(run_for(world, strategy=strategy))
    assert result.ok, result
    assert result.frozen == ()
    assert after(world).old == 0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_daemon_set_that_breaks_everywhere_meanwhile_holds_the_rotation_and_freezes_no_image(strategy: str) -> None:
    world = with_daemon(0.0)
    result = rotate_and_break(world, everywhere=True, strategy=strategy)
    ((name, why),) = result.failed
    assert (name, why.image_fault, result.frozen) == ("workers/1", False, ())
    assert "monitoring/probe" in why.reason


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_daemon_set_that_only_the_new_machine_does_not_run_freezes_its_image(strategy: str) -> None:
    world = with_daemon(0.0)
    result = rotate_and_break(world, everywhere=False, strategy=strategy)
    ((name, why),) = result.failed
    assert (name, why.image_fault) == ("workers/1", True)
    assert "monitoring/probe" in why.reason
    assert world.image_id("base-new") in result.frozen[0]
