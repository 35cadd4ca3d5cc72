"""Whoever looks at a cluster's lock sees whose run it is, how far it got, and whether somebody is behind it."""

from __future__ import annotations

import pytest
from tests.node_rotation.crashes import dies, run_for

from node_rotation.ledger import parse
from node_rotation.names import LEDGER
from node_rotation.status import Place, Status, cli_run_id, origin, status
from node_rotation.testing.world import MemoryWorld

RUN = cli_run_id("20261121T020000Z", "a1b2c3", "alice@work-laptop")


def seen(world: MemoryWorld) -> Status:
    lease = world.cluster.lease()
    assert lease is not None
    return status("dev.dev", lease, parse(lease.annotations[LEDGER]), world.clock.now())


@pytest.fixture
def world() -> MemoryWorld:
    """A run from a laptop that died while its first batch was under way."""
    made = MemoryWorld.simple(3)
    assert dies(run_for(made, RUN), made, 12, before=False)
    return made


def test_a_run_names_who_started_it_where_and_when(world: MemoryWorld) -> None:
    found = seen(world)
    assert (found.began.place, found.began.who) == (Place.LAPTOP, "alice@work-laptop")
    assert found.holder == found.run == RUN
    assert found.since is not None
    assert found.since <= world.clock.now()
    assert found.batches == {"admitted": 1}


def test_a_silent_run_is_dead_only_once_its_lock_has_expired(world: MemoryWorld) -> None:
    alive = seen(world)
    assert not alive.dead
    assert alive.advice == "It is alive: let it finish."
    world.clock.wait(100.0)
    waiting = seen(world)
    assert not waiting.dead
    assert f"dead in {waiting.dead_in_s:.0f} s" in waiting.advice
    world.clock.wait(waiting.dead_in_s + 1)
    dead = seen(world)
    assert dead.dead
    assert "node-rotation rotate dev.dev" in dead.advice
    assert "node-rotation sweep dev.dev" in dead.advice


@pytest.mark.parametrize(
    ("run", "place", "who"),
    [
        (RUN, Place.LAPTOP, "alice@work-laptop"),
        (f"sweep {RUN}", Place.LAPTOP, "alice@work-laptop"),
        ("manual__2026-11-21T02:00:00+00:00", Place.AIRFLOW, "manual__2026-11-21T02:00:00+00:00"),
        ("sweep scheduled__2026-11-21T02:00:00", Place.AIRFLOW, "scheduled__2026-11-21T02:00:00"),
        ("upgrade-4711", Place.LIBRARY, "upgrade-4711"),
    ],
)
def test_where_a_run_began_is_in_its_id(run: str, place: Place, who: str) -> None:
    assert (origin(run).place, origin(run).who) == (place, who)
