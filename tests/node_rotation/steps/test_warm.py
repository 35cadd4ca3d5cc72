"""Warm machines run the image they were warmed with: a rotation renews the pool before it draws on it."""

from __future__ import annotations

from dataclasses import replace

from tests.node_rotation.crashes import after, dies, run_for, sweep_all

from node_rotation import engine
from node_rotation.steps.prepare import prepare
from node_rotation.steps.verify import verify
from node_rotation.testing import seeds
from node_rotation.testing.scaling_values import LaunchSource
from node_rotation.testing.world import MemoryWorld

WARM = 2


def a_world(machines: int = 3, behaviour: str = "good") -> MemoryWorld:
    """A group whose pool was warmed before the newest image came out."""
    world = MemoryWorld.simple(machines, replicas=machines, boot=10.0)
    asg = world.asg("workers")
    world.scaling.put_warm_pool(asg, {"MaxGroupPreparedCapacity": machines + WARM})
    assert world.clock.run_until(lambda: len(warm(world)) == WARM, 120.0)
    world.add_image(seeds.Image("base-newest", created="2026-11-08T12:00:00Z", behaviour=behaviour))
    world.add_template_version("workers", "base-newest")
    return world


def warm(world: MemoryWorld) -> dict[str, str]:
    """Warm machines and their images."""
    pool = world.scaling.group(world.asg("workers")).pool
    return {i: world.ec2.found[i].image_id for i, m in pool.items() if m.lifecycle == "Warmed:Stopped"}


def test_warm_machines_are_no_machines_of_the_cluster() -> None:
    world = a_world()
    group = world.cloud.groups([world.asg("workers")])[world.asg("workers")]
    assert group.warm_pool
    assert len(group.members) == 3
    assert not {n.instance_id for n in world.objects.nodes.values()} & warm(world).keys()
    assert {m.instance_id for b in run_for(world).plan.batches for m in b.machines}.isdisjoint(warm(world))


def test_a_rotation_renews_the_pool_and_then_draws_on_it() -> None:
    world = a_world()
    before = set(warm(world))
    result = engine.rotate(run_for(world, canary=False))
    world.clock.wait(120.0)
    assert result.ok, result
    newest = world.image_id("base-newest")
    assert before.isdisjoint(warm(world))
    assert set(warm(world).values()) == {newest}
    members = world.scaling.group(world.asg("workers")).members
    assert {world.ec2.found[i].image_id for i in members} == {newest}
    drawn = [a for a in world.scaling.group(world.asg("workers")).activities if "from warm pool" in a.description]
    assert drawn
    assert after(world).clean


def test_what_was_warmed_on_the_image_already_is_kept() -> None:
    world = a_world()
    run = run_for(world, canary=False)
    engine.rotate(run)
    world.clock.wait(120.0)
    before = warm(world)
    prepare(run_for(world, "run-2", plan=run.plan), "workers")
    assert len(before) == WARM
    assert warm(world) == before


def test_a_group_without_a_pool_is_not_asked_for_one() -> None:
    world = MemoryWorld.simple(2)
    assert engine.rotate(run_for(world)).ok
    assert world.journal.calls["DescribeWarmPool"] == 0


def test_an_image_that_is_taken_back_is_taken_out_of_the_pool_too() -> None:
    world = a_world(behaviour="never-joins")
    newest, asg = world.image_id("base-newest"), world.asg("workers")
    world.scaling.group(asg).source = _pinned(world, asg, "2")
    run = run_for(world, image={"id": newest}, image_step="launch_template")
    result = engine.rotate(run)
    world.clock.wait(120.0)
    assert not result.ok
    assert newest not in warm(world).values()
    assert len(warm(world)) == WARM
    assert not after(world).residue


def test_a_pool_that_is_still_old_is_drift() -> None:
    world = a_world()
    run = run_for(world, canary=False)
    assert sum("warm machine" in line for line in verify(run).drift) == WARM


def test_wherever_it_dies_the_pool_is_renewed_and_nothing_else_is_lost() -> None:
    for at in range(5, 40, 5):
        world = a_world(2)
        run = run_for(world, canary=False)
        assert dies(run, world, at, before=True)
        sweep_all(world, run)
        world.clock.wait(120.0)
        assert set(warm(world).values()) == {world.image_id("base-newest")}, at
        assert after(world).clean, f"{at}: {after(world)}"


def _pinned(world: MemoryWorld, asg: str, version: str) -> LaunchSource:
    source = world.scaling.group(asg).source
    assert source.template is not None
    return replace(source, template=replace(source.template, version=version))
