"""A step that is cleared after its run has ended finds nothing to do, and leaves nothing."""

from __future__ import annotations

from tests.node_rotation import crashes

from node_rotation import engine
from node_rotation.model import StepName
from node_rotation.outcome import Done
from node_rotation.steps import STEPS
from node_rotation.steps.restore import restore
from node_rotation.testing.world import MemoryWorld


def test_a_cleared_terminate_and_its_gate_are_done_again() -> None:
    world = MemoryWorld.simple(machines=3, boot=5.0)
    run = crashes.run_for(world)
    engine.rotate(run)
    batch = run.plan.batches[0]

    for name in (StepName.CORDON, StepName.DRAIN, StepName.TERMINATE, StepName.GATE):
        step = STEPS[name]
        for _ in range(200):
            step.act(run, batch)
            if isinstance(step.look(run, batch), Done):
                break
            world.clock.wait(1.0)
        assert isinstance(step.look(run, batch), Done), name
    restore(run, batch.group)

    assert not world.residue()
    assert not world.orphans()
