"""A group that a run left uneven over its zones is evened out before AZRebalance runs again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tests.node_rotation.crashes import after, run_for

from node_rotation import engine, lock
from node_rotation.run import Run
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld

SURGE = {"strategy": "surge", "budget": {"max_surge": 2}}


def zones(world: MemoryWorld) -> list[int]:
    """How many machines its zones have, the poorest first."""
    group = world.cloud.groups([world.asg("workers")])[world.asg("workers")]
    counts = Counter({zone: 0 for zone in group.zones})
    counts.update(m.zone for m in group.members)
    return sorted(counts.values())


def rotated(
    world: MemoryWorld, when: Callable[[engine.Event, Run], None] = lambda event, run: None
) -> tuple[engine.Result, list[str]]:
    """Rotate by surge, and what was noted on the way."""
    run = run_for(world, **SURGE)
    notes: list[str] = []

    def hear(event: engine.Event) -> None:
        when(event, run)
        if isinstance(event, engine.Note):
            notes.append(event.text)

    return engine.rotate(run, hear), notes


def test_surge_ends_even_and_az_rebalance_finds_nothing_to_do() -> None:
    world = MemoryWorld.simple(3, replicas=6)
    result, notes = rotated(world)
    assert result.ok
    begun = next(i for i, note in enumerate(notes) if "are uneven, so instance" in note)
    passed, resumed = (
        notes.index("batch workers/balance-1 passed"),
        notes.index("group dev-workers: resumed AZRebalance"),
    )
    assert begun < passed < resumed
    assert zones(world) == [1, 1, 1]
    machines = set(world.on_image("base-new"))
    world.clock.wait(600.0)
    assert set(world.on_image("base-new")) == machines
    assert after(world).clean


def test_a_group_that_was_as_uneven_before_is_left_alone() -> None:
    world = MemoryWorld.simple(3, replicas=6)

    def uneven_before(event: engine.Event, run: Run) -> None:
        if isinstance(event, engine.BatchMoved) and event.step == "launch":
            lock.change(
                run,
                lambda now: now.with_group("workers", now.groups["workers"].model_copy(update={"uneven": 2})),
            )

    result, notes = rotated(world, uneven_before)
    assert result.ok
    assert any("stay uneven (they were before the run)" in note for note in notes)
    assert not any("balance-" in note for note in notes)


def test_without_capacity_it_is_given_up_said_and_resumed_all_the_same() -> None:
    world = MemoryWorld.simple(3, replicas=6)

    def dries_up(event: engine.Event, run: Run) -> None:
        if isinstance(event, engine.BatchMoved) and event.batch == "workers/3" and event.step is None:
            world.journal.faults.append(seeds.Fault(kind="capacity"))

    result, notes = rotated(world, dries_up)
    given_up = [note for note in notes if "stay uneven" in note]
    assert len(given_up) == 1
    assert "capacity" in given_up[0]
    assert "AZRebalance may terminate a machine undrained" in given_up[0]
    assert result.ok
    assert not world.residue()
    assert len(world.on_image("base-new")) == 3


def test_where_the_poor_zone_has_no_capacity_machines_are_not_sent_back_and_forth() -> None:
    world = MemoryWorld.simple(6, replicas=12)
    poor: list[str] = []

    def dries_up(event: engine.Event, run: Run) -> None:
        if isinstance(event, engine.Note) and "are uneven, so instance" in event.text and not poor:
            counts = world.cloud.groups([world.asg("workers")])[world.asg("workers")]
            found = Counter({zone: 0 for zone in counts.zones})
            found.update(member.zone for member in counts.members)
            poor.append(min(found, key=lambda zone: found[zone]))
            world.journal.faults.append(seeds.Fault(kind="capacity", zone=poor[0]))

    result, notes = rotated(world, dries_up)
    assert result.ok
    assert sum("are uneven, so instance" in note for note in notes) == 1
    assert any("a replacement came in the zone that has too many" in note for note in notes)
    assert not world.residue()
