"""A call that took effect and whose answer never came is not repeated blindly."""

from __future__ import annotations

import pytest
from tests.node_rotation.crashes import after, rotate, run_for

from node_rotation.errors import PermanentError
from node_rotation.model import StepName
from node_rotation.outcome import Done
from node_rotation.steps import STEPS
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld


def test_a_second_detach_finds_that_the_first_one_worked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an SDK repeats a request by itself: it hears "not in InService" of the machine that it has just detached."""
    world = MemoryWorld.simple(3, replicas=6, detach=30.0)
    run = run_for(world)
    batch = run.plan.batches[0]
    STEPS[StepName.ADMIT].act(run, batch)
    once = world.cloud.detach

    def twice(group: str, instance_ids: list[str]) -> None:
        once(group, instance_ids)
        once(group, instance_ids)

    monkeypatch.setattr(world.cloud, "detach", twice)
    with pytest.raises(PermanentError, match="not in InService"):
        twice(world.asg("workers"), [run.plan.batches[1].machines[0].instance_id])
    STEPS[StepName.LAUNCH].act(run, batch)
    world.clock.wait(10.0)
    STEPS[StepName.LAUNCH].act(run, batch)
    assert isinstance(STEPS[StepName.LAUNCH].look(run, batch), Done)


@pytest.mark.parametrize("strategy", ["detach", "surge"])
@pytest.mark.parametrize("action", ["DetachInstances", "UpdateAutoScalingGroup", "TerminateInstances", "CreateTags"])
def test_every_first_answer_lost(strategy: str, action: str) -> None:
    world = MemoryWorld.simple(
        3, replicas=6, detach=5.0, faults=[seeds.Fault("lost_answer", action=action, calls=(1,))]
    )
    assert rotate(world, strategy=strategy, budget={"max_surge": 2}).ok
    world.clock.wait(60.0)
    assert after(world).clean
