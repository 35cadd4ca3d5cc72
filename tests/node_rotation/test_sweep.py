"""What a sweep does, and what it leaves alone."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from tests.node_rotation.crashes import after, dies, run_for

from node_rotation import lock, names
from node_rotation.fleet import Settings
from node_rotation.steps.prepare import prepare
from node_rotation.steps.undo import marked
from node_rotation.sweep import Swept, sweep
from node_rotation.testing import seeds
from node_rotation.testing.faults import Crash
from node_rotation.testing.world import MemoryWorld


def swept(world: MemoryWorld) -> Swept:
    return sweep(world.settings(), world.cloud, world.cluster, world.clock, "sweep-1")


def test_a_clean_cluster_is_not_touched() -> None:
    world = MemoryWorld.simple(2)
    assert swept(world) == Swept()
    assert not world.mutations


def test_a_live_run_is_not_touched() -> None:
    world = MemoryWorld.simple(2)
    prepare(run_for(world), "workers")
    before = len(world.mutations)
    assert swept(world).held_by == "run-1"
    assert len(world.mutations) == before


def test_a_dead_run_that_only_prepared_leaves_nothing() -> None:
    world = MemoryWorld.simple(2)
    prepare(run_for(world), "workers")
    world.clock.wait(1000.0)
    found = swept(world)
    assert found.did
    assert not found.left
    assert after(world).clean


def test_residue_without_a_lease_is_found() -> None:
    world = MemoryWorld.simple(3)
    run = run_for(world)
    prepare(run, "workers")
    lock.release(run)
    assert world.residue()
    assert not swept(world).left
    assert after(world).clean


def test_an_orphan_without_a_lease_comes_back_into_a_group_that_lacks_it() -> None:
    world = MemoryWorld.simple(3, faults=[seeds.Fault(kind="capacity")])
    asg = world.asg("workers")
    machine = world.on_image("base-old")[0]
    world.cloud.tag_instances([machine], {names.DETACHED_FROM: asg})
    world.cloud.detach(asg, [machine])
    assert swept(world).left  # AWS still shows it as Detaching
    world.clock.wait(0.5)
    assert world.orphans() == (machine,)
    assert not swept(world).left
    world.clock.wait(60.0)
    assert not world.orphans()
    assert not world.residue()


def test_an_orphan_whose_replacement_has_come_is_drained_and_goes() -> None:
    world = MemoryWorld.simple(3, replicas=6)
    asg = world.asg("workers")
    machine = world.on_image("base-old")[0]
    world.cloud.tag_instances([machine], {names.DETACHED_FROM: asg})
    world.cloud.detach(asg, [machine])
    world.clock.wait(60.0)
    for _ in range(20):
        if not swept(world).left:
            break
        world.clock.wait(5.0)
    world.clock.wait(60.0)
    assert after(world).clean
    assert machine not in world.on_image("base-old")


def test_a_sweep_that_died_is_swept_by_the_next() -> None:
    world = MemoryWorld.simple(3, replicas=6)
    run = run_for(world, budget={"max_surge": 2})
    assert dies(run, world, 30, before=True)
    for _ in range(40):
        world.clock.wait(1000.0)
        world.crash_after(2)
        with suppress(Crash):
            if not swept(world).left:
                break
    world.journal.no_crash()
    world.clock.wait(60.0)
    assert after(world).clean


def renamed(world: MemoryWorld, group: str, asg: str) -> Settings:
    """Terraform replaced an Auto Scaling group by one of another name, and the fleet file says so."""
    old = world.scaling.groups.pop(world.asg(group))
    world.scaling.groups[asg] = replace(old, name=asg)
    settings = world.settings()
    groups = tuple(g.model_copy(update={"asg": asg}) for g in settings.cluster.groups)
    return settings.model_copy(update={"cluster": settings.cluster.model_copy(update={"groups": groups})})


def test_a_dead_run_whose_group_was_deleted_meanwhile_is_swept_and_blocks_nobody() -> None:
    world = MemoryWorld.simple(3, replicas=3)
    run = run_for(world, budget={"max_surge": 2})
    assert dies(run, world, 12, before=False)
    asg = world.asg("workers")
    world.clock.wait(1000.0)
    settings = renamed(world, "workers", "dev-workers-v2")
    found = sweep(settings, world.cloud, world.cluster, world.clock, "sweep-1")
    assert any(f"asg {asg} does not exist any more" in line for line in found.did)
    assert world.cluster.lease() is None
    nodes = {node.name: marked(node) for node in world.cluster.nodes() if marked(node)}
    assert not nodes
