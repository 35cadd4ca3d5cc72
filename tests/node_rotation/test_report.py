"""The report says how it went, as data and as a page."""

from __future__ import annotations

import json

from tests.node_rotation.crashes import run_for

from node_rotation import engine
from node_rotation.report import page, report
from node_rotation.testing.world import MemoryWorld


def made(behaviour: str) -> dict[str, object]:
    world = MemoryWorld.simple(2, behaviour=behaviour)
    run, events = run_for(world), []
    result = engine.rotate(run, events.append)
    return report(run.plan, result, events)


def test_a_good_run() -> None:
    value = made("good")
    assert json.loads(json.dumps(value))["ok"] is True
    assert {s["step"] for s in value["timeline"]} >= {"launch", "drain", "health_gate"}
    shown = page(value)
    assert "<svg" in shown
    assert "What is not well" not in shown
    assert "http" not in shown


def test_a_bad_image_is_named() -> None:
    shown = page(made("never-joins"))
    assert "has not joined the cluster" in shown
    assert "workers/2 was not begun" in shown
