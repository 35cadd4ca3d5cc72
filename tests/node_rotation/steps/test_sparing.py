"""A machine goes without a replacement only where somebody else made the group smaller, and as long as that is so."""

from __future__ import annotations

import pytest
from tests.node_rotation.crashes import after, run_for
from tests.node_rotation.lagging import sizes_lag

from node_rotation import engine, lock
from node_rotation.model import StepName
from node_rotation.outcome import Done, Waiting
from node_rotation.run import Run
from node_rotation.steps import STEPS
from node_rotation.steps.sizing import PATIENCE_S
from node_rotation.testing.world import MemoryWorld


def in_service(world: MemoryWorld) -> int:
    members = world.scaling.group(world.asg("workers")).members.values()
    return sum(member.lifecycle == "InService" for member in members)


@pytest.mark.parametrize("late_s", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("slots", [1, 2])
def test_nobody_drains_before_a_replacement_is_there_although_aws_shows_the_raise_late(
    monkeypatch: pytest.MonkeyPatch, late_s: float, slots: int
) -> None:
    world = MemoryWorld.simple(3, replicas=0)
    sizes_lag(monkeypatch, world, late_s)
    early: list[str] = []

    def listen(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step is StepName.DRAIN and in_service(world) <= 3:
            early.append(event.batch)

    run = run_for(world, strategy="surge", canary=False, budget={"max_surge": slots})
    result = engine.rotate(run, listen)
    world.clock.wait(60.0)
    assert result.ok, result
    assert early == []
    assert result.ledger is not None
    assert result.ledger.others == ()
    assert after(world).clean
    assert world.monitor.max_unavailable[world.asg("workers")] == 0


def launching(world: MemoryWorld) -> Run:
    """Two batches that wait for the machines they have asked for."""
    run = run_for(world, strategy="surge", canary=False, budget={"max_surge": 2})
    for batch in run.plan.batches[:2]:
        STEPS[StepName.ADMIT].act(run, batch)
        assert isinstance(STEPS[StepName.ADMIT].look(run, batch), Done)
    return run


def acts(run: Run) -> None:
    """Both batches take their turn, and some time passes."""
    for batch in run.plan.batches[:2]:
        STEPS[StepName.LAUNCH].act(run, batch)
    run.clock.wait(run.settings.policy.poll)


def spared(run: Run) -> list[str]:
    ledger = lock.require(run).ledger
    return [claim.batch for claim in ledger.claims if claim.spared]


def scaled_in(world: MemoryWorld) -> None:
    """As the cluster-autoscaler does: the newest machine goes, and the group shrinks with it."""
    world.scaling.terminate(world.on_image("base-new")[-1], decrement=True)


def scaled_out(world: MemoryWorld) -> None:
    group = world.scaling.group(world.asg("workers"))
    world.scaling.set_desired(group.name, group.desired + 1)


def test_one_of_two_is_spared_once_a_smaller_size_has_stood_for_a_while() -> None:
    world = MemoryWorld.simple(3, replicas=0, boot=60.0)
    run = launching(world)
    acts(run)
    world.clock.wait(PATIENCE_S)
    scaled_in(world)
    acts(run)
    acts(run)
    assert spared(run) == []
    world.clock.wait(PATIENCE_S)
    acts(run)
    assert spared(run) == ["workers/2"]


def test_who_was_spared_waits_for_a_replacement_again_once_others_want_more() -> None:
    world = MemoryWorld.simple(3, replicas=0, boot=60.0)
    run = launching(world)
    second = run.plan.batches[1]
    acts(run)
    world.clock.wait(PATIENCE_S)
    scaled_in(world)
    acts(run)
    world.clock.wait(PATIENCE_S)
    acts(run)
    assert spared(run) == ["workers/2"]
    scaled_out(world)
    acts(run)
    assert spared(run) == []
    assert isinstance(STEPS[StepName.LAUNCH].look(run, second), Waiting)
    world.clock.wait(90.0)
    acts(run)
    assert isinstance(STEPS[StepName.LAUNCH].look(run, second), Done)
    claim = lock.require(run).ledger.claim(second.name)
    assert claim is not None
    assert len(claim.replacements) == 1
