"""A machine that is too many takes no new pods before it goes, whoever sends it away."""

from __future__ import annotations

import pytest
from tests.node_rotation.crashes import after, by, gone_uncordoned, run_for, sweep_all
from tests.node_rotation.steps.test_steps import up_to

from node_rotation import names
from node_rotation.model import StepName
from node_rotation.outcome import Done
from node_rotation.run import Run
from node_rotation.steps import STEPS
from node_rotation.steps.heal import heal
from node_rotation.steps.restore import restore, restored
from node_rotation.steps.verify import verify
from node_rotation.testing import seeds
from node_rotation.testing.faults import Mutation
from node_rotation.testing.world import MemoryWorld


def launched(strategy: str) -> tuple[MemoryWorld, Run]:
    """The canary's replacement is there, Ready and empty."""
    world = MemoryWorld.simple(3, replicas=3)
    run = run_for(world, **by(strategy, 1))
    up_to(world, run, run.plan.batches[0], StepName.LAUNCH)
    return world, run


def healed(world: MemoryWorld, run: Run) -> None:
    batch = run.plan.batches[0]
    for _ in range(100):
        heal(run, batch, "its pods may not leave")
        if isinstance(STEPS[StepName.HEAL].look(run, batch), Done):
            return
        world.clock.wait(1.0)
    raise AssertionError(STEPS[StepName.HEAL].look(run, batch))


@pytest.mark.parametrize("strategy", ["surge", "detach"])
def test_heal_cordons_a_replacement_before_it_goes(strategy: str) -> None:
    world, run = launched(strategy)
    uncordoned = gone_uncordoned(world)
    healed(world, run)
    assert uncordoned == []
    assert world.on_image("base-new") == ()


def test_a_pod_that_comes_after_the_look_leaves_within_its_budget() -> None:
    world, run = launched("surge")
    late = seeds.Workload("late", replicas=2, ready_after=0.0, budget=seeds.DisruptionBudget(max_unavailable=1))
    (new,) = world.on_image("base-new")
    node = next(n.name for n in world.cluster.nodes() if n.instance_id == new)

    def arrives(mutation: Mutation) -> None:
        if mutation.action == "untaint":
            world.journal.on_mutation = None
            world.add_workload(late)

    world.journal.on_mutation = arrives
    healed(world, run)
    assert [m for m in world.mutations if m.action == "evict" and m.args["node"] == node], "the pods came there"
    assert not world.monitor.violations


def test_a_sweep_cordons_an_empty_orphan_before_it_goes() -> None:
    world = MemoryWorld.simple(3, replicas=0)
    asg, machine = world.asg("workers"), world.on_image("base-old")[0]
    world.cloud.tag_instances([machine], {names.DETACHED_FROM: asg})
    world.cloud.detach(asg, [machine])
    world.clock.wait(60.0)
    uncordoned = gone_uncordoned(world)
    assert not sweep_all(world, run_for(world)).left
    assert uncordoned == []
    assert machine not in world.ec2.alive
    assert after(world).clean


def test_restore_cordons_what_is_too_many_before_it_goes() -> None:
    world = MemoryWorld.simple(3, replicas=0)
    run = run_for(world, **by("surge", 1))
    batch = run.plan.batches[0]
    up_to(world, run, batch, StepName.LAUNCH)
    (new,) = world.on_image("base-new")
    uncordoned = gone_uncordoned(world)
    for _ in range(100):
        restore(run, "workers")
        if isinstance(restored(run, "workers"), Done):
            break
        world.clock.wait(2.0)
    assert uncordoned == []
    assert new not in world.ec2.alive
    assert after(world).clean


def test_the_marks_of_a_machine_that_is_terminated_are_no_residue_while_its_node_lasts() -> None:
    world = MemoryWorld.simple(3, replicas=0, node_removal=900.0)
    run, node = run_for(world), world.cluster.nodes()[0]
    world.cluster.annotate(node.name, node.uid, {names.CORDONED_BY: "run-1"})
    assert verify(run).residue
    world.cloud.terminate(node.instance_id)
    world.clock.wait(120.0)
    assert world.ec2.state(node.instance_id) == "terminated"
    assert node.name in world.objects.nodes
    assert not verify(run).residue
