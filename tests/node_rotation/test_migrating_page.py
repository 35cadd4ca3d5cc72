"""docs/migrating.md: how machines are replaced that other tools would roll, and an image is no reason to."""

from __future__ import annotations

import re
from pathlib import Path

from tests.node_rotation.crashes import run_for

from node_rotation import engine
from node_rotation.model import DriftReason
from node_rotation.testing.world import MemoryWorld

DAY_S = 86400.0
DOCS = Path(__file__).parents[2] / "docs"
SETTING = re.compile(r"`([a-z_]+(?:\.[a-z_]+)*)(?:: [^`]*)?`")


def test_what_is_here_are_settings() -> None:
    known = set(re.findall(r"^\| `([^`]+)` \|", (DOCS / "settings.md").read_text(), re.MULTILINE))
    here = re.findall(r"^\|[^|]+\|([^|]+)\|$", (DOCS / "migrating.md").read_text(), re.MULTILINE)
    named = {name for cell in here for name in SETTING.findall(cell) if "." in name or "_" in name}
    assert len(named) > 10
    assert {name for name in named if name not in known and not any(k.startswith(f"{name}.") for k in known)} == set()


def test_machines_that_are_right_are_all_replaced_by_their_age_and_the_run_ends_well() -> None:
    world = MemoryWorld.simple(3, max_unavailable=4)
    assert engine.rotate(run_for(world)).ok
    world.clock.wait(2 * DAY_S)
    assert run_for(world, "run-2").plan.batches == ()

    run = run_for(world, "run-2", drift={"max_age": "1d"})

    machines = [machine for batch in run.plan.batches for machine in batch.machines]
    assert [machine.reasons for machine in machines] == [(DriftReason.AGE,)] * 3
    assert engine.rotate(run).ok
    assert run_for(world, "run-3", drift={"max_age": "1d"}).plan.batches == ()
