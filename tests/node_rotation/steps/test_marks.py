"""What old and new machines bear while a rotation runs: pods don't hop, and the autoscaler keeps off."""

from __future__ import annotations

from tests.node_rotation.crashes import rotate, run_for
from tests.node_rotation.steps.test_steps import up_to

from node_rotation import names
from node_rotation.model import StepName
from node_rotation.steps.prepare import prepare
from node_rotation.testing.world import MemoryWorld


def test_every_old_node_is_avoided_from_the_start_and_none_at_the_end() -> None:
    world = MemoryWorld.simple(3)
    prepare(run_for(world), "workers")
    mark = (names.OLD_TAINT, "", "PreferNoSchedule")
    assert all(mark in node.taints for node in world.cluster.nodes())
    assert rotate(world).ok
    assert not [node for node in world.cluster.nodes() if node.taints]


def test_the_autoscaler_keeps_off_new_machines_until_the_end() -> None:
    world = MemoryWorld.simple(3)
    run = run_for(world)
    up_to(world, run, run.plan.batches[0], StepName.LAUNCH)
    new = set(world.on_image("base-new"))
    kept = {n.instance_id for n in world.cluster.nodes() if n.annotations.get(names.SCALE_DOWN_DISABLED) == "true"}
    assert kept == new != set()
    assert rotate(world).ok
    assert not [node for node in world.cluster.nodes() if names.SCALE_DOWN_DISABLED in node.annotations]
