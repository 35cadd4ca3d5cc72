"""One observation for all who wait, and how long it is good for."""

from __future__ import annotations

from collections.abc import Callable

from node_rotation import detect
from node_rotation.run import SharedLook
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.snapshot import Snapshot

POLL_S = 1.0


def looking(world: MemoryWorld, takes_s: float) -> tuple[SharedLook, Callable[[], int]]:
    """A look at a world that takes its time, and how often it was really looked."""
    settings = world.settings()
    seen: list[Snapshot] = []

    def observe() -> Snapshot:
        snapshot = detect.observe(settings, world.cloud, world.cluster, world.clock)
        world.clock.wait(takes_s)
        seen.append(snapshot)
        return snapshot

    return SharedLook(observe, world.clock, POLL_S), lambda: len(seen)


def test_an_observation_is_shared_until_its_interval_is_over() -> None:
    world = MemoryWorld.simple(2)
    look, looks = looking(world, takes_s=0.1)
    first = look()
    world.clock.wait(0.9 * POLL_S)
    assert look() is first
    world.clock.wait(0.2 * POLL_S)
    assert look() is not first
    assert looks() == 2


def test_where_looking_takes_longer_than_the_interval_it_is_not_looked_all_the_time() -> None:
    world = MemoryWorld.simple(2)
    look, looks = looking(world, takes_s=4 * POLL_S)
    first = look()
    assert look() is first
    world.clock.wait(3 * POLL_S)
    assert look() is first
    world.clock.wait(1.5 * POLL_S)
    assert look() is not first
    assert looks() == 2


def test_who_changes_the_world_looks_anew() -> None:
    world = MemoryWorld.simple(2)
    look, looks = looking(world, takes_s=0.1)
    look()
    look.forget()
    look()
    assert looks() == 2
