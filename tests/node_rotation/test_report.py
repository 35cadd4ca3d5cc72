"""The report says how it went, as data and as a page."""

from __future__ import annotations

import json
from datetime import date

import pytest
from tests.node_rotation.crashes import dies, run_for

from node_rotation import engine
from node_rotation.engine import Result
from node_rotation.model import Blocker, Cost
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


@pytest.mark.parametrize("why", ["superseded: a newer image", "rejected by Ada", "nobody approved it in time"])
def test_a_run_that_replaced_nothing_is_not_ok_and_says_why(why: str) -> None:
    run = run_for(MemoryWorld.simple(2))
    value = report(run.plan, Result(0.0, 1.0, not_begun=why))
    assert (value["ok"], value["not_begun"]) == (False, why)
    assert f"nothing was touched: {why}" in page(value)


def test_a_bad_image_is_named() -> None:
    shown = page(made("never-joins"))
    assert "has not joined the cluster" in shown
    assert "workers/2 was not begun" in shown


def test_what_the_machines_on_top_cost_is_in_it_with_the_date_of_the_prices() -> None:
    world = MemoryWorld.simple(2)
    run = run_for(world)
    cost = Cost(amount=1.25, currency="USD", as_of=date(2026, 11, 1), unpriced=("x9.huge",))
    estimate = run.plan.estimate.model_copy(update={"cost": cost})
    value = report(run.plan.model_copy(update={"estimate": estimate}), engine.rotate(run))
    assert value["cost"] == {"amount": 1.25, "currency": "USD", "as_of": "2026-11-01", "unpriced": ["x9.huge"]}
    assert "1.25 USD by prices of 2026-11-01, without x9.huge: no price" in page(value)


def test_everything_that_blocks_a_plan_is_in_it_not_only_the_first() -> None:
    world = MemoryWorld.simple(2)
    world.cloud.suspend(world.asg("workers"), ["Launch"])
    run = run_for(world)
    blockers = (*run.plan.blockers, Blocker(reason="the moon is full", remedy="wait"))
    value = report(run.plan.model_copy(update={"blockers": blockers}), engine.rotate(run))
    assert len(value["blockers"]) == len(blockers) > 1
    shown = page(value)
    assert "Launch of dev-workers is suspended" in shown
    assert shown.count("the moon is full") == 1


def test_who_began_what_it_went_on_with() -> None:
    world = MemoryWorld.simple(2)
    dead = run_for(world, "manual__2026-11-09T01:00:00")
    dies(dead, world, 4, before=False)
    world.clock.wait(1000.0)
    run = run_for(world, "run-2")
    result = engine.rotate(run)
    assert result.ok
    value = report(run.plan, result)
    assert value["took_up"] == {"run": dead.id, "place": "Airflow", "who": dead.id}
    assert f"what {dead.id} began (Airflow" in page(value)


def test_what_a_window_closed_on_is_not_finished_rather_than_not_well() -> None:
    world = MemoryWorld.simple(4, boot=60.0)
    night = {"windows": [{"from": "00:00", "to": "02:07"}], "launch_timeout": "5m", "budget": {"max_surge": 1}}
    run = run_for(world, **night)
    value = report(run.plan, engine.rotate(run))
    assert value["ok"] is False
    assert [left["batch"] for left in value["postponed"]] == ["workers/3", "workers/4"]
    assert "not finished: the rest is left to a run to come" in page(value)
