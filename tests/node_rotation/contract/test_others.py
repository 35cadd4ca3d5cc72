"""Others change a group while it rotates, in both worlds."""

from __future__ import annotations

from tests.node_rotation.contract.conftest import WORKERS, World
from tests.node_rotation.contract.rotating import planned

from node_rotation import engine


def test_a_size_that_somebody_changes_midway_is_kept(world: World) -> None:
    (old, *_) = world.members()
    run = planned(world, [old])

    def grow(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step == "drain":
            world.cloud.set_sizes(WORKERS, desired=world.group().desired + 1)

    result = engine.rotate(run, grow)

    assert result.ok, result
    group = world.group()
    assert (group.min, group.max, group.desired) == (2, 5, 4)
    world.eventually(lambda: len(world.members()) == 4)
    assert old not in world.members()
    assert result.ledger is not None
    assert [(one.object, one.what) for one in result.ledger.others] == [(f"asg {WORKERS}", "desired 3 → 4")]
