"""Heal: what was begun and did not pass is taken back, with its cause in the ledger."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from tests.node_rotation_airflow.operators.rotating import admitted, away, insisting, planned

from node_rotation import lock
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow.documents import Rotation
from node_rotation_airflow.operators.heal import HealOperator, needs_healing
from node_rotation_airflow.operators.step import LaunchOperator, PrepareOperator, RestoreOperator
from node_rotation_airflow.operators.verify import VerifyOperator
from node_rotation_airflow.runs import open_run


def test_a_machine_that_never_joins_fails_the_launch_and_heal_takes_it_back(airflow: Any) -> None:
    world = MemoryWorld.simple(machines=2, behaviour="never-joins")
    run, batches = planned(airflow, world, launch_timeout="2m")
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    admitted(run, batches[0], 0)

    with pytest.raises(AirflowFailException, match="launch of workers/1"):
        run.run(LaunchOperator(task_id="batch.launch", spec=batches[0]), 0)
    heal = HealOperator(task_id="batch.heal", spec=batches[0], step_task_ids=["batch.launch"])
    run.states |= {"batch.launch_0": "failed", "batch.drain_1": "success"}
    run.run(heal, 0)
    held = lock.held(open_run("manual__1", Rotation.read(run.xcoms["plan", "rotation"])))
    assert held
    claim = held.ledger.claim("workers/1")
    assert claim
    assert (claim.state, claim.image_fault) == ("healed", True)
    assert "has not joined the cluster" in claim.why
    run.run(RestoreOperator(task_id="restore", group="workers"), 0)

    assert len(world.on_image("base-old")) == 2
    assert (world.orphans(), world.residue()) == ((), ())
    with pytest.raises(AirflowFailException, match="drift"):
        run.run(VerifyOperator(task_id="verify"))
    assert run.xcoms["verify", "verdict"]["tasks"] == ["batch.launch_0"]


def test_the_cause_reaches_the_ledger_also_where_the_api_server_is_away_as_healing_begins(airflow: Any) -> None:
    """Without it, restore would take the batch back without a cause, and a bad image would not be frozen."""
    world = MemoryWorld.simple(machines=2, behaviour="never-joins")
    run, batches = planned(airflow, world, launch_timeout="2m")
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    admitted(run, batches[0], 0)
    with pytest.raises(AirflowFailException):
        run.run(LaunchOperator(task_id="batch.launch", spec=batches[0]), 0)
    run.states["batch.launch_0"] = "failed"
    away(world, 10)

    insisting(run, HealOperator(task_id="batch.heal", spec=batches[0], step_task_ids=["batch.launch"]), 0)

    held = lock.held(open_run("manual__1", Rotation.read(run.xcoms["plan", "rotation"])))
    assert held
    claim = held.ledger.claim("workers/1")
    assert claim
    assert (claim.state, claim.image_fault) == ("healed", True)


@pytest.mark.parametrize("states", [["success", "success"], ["skipped", "upstream_failed"]])
def test_a_batch_that_passed_or_never_began_needs_no_healing(airflow: Any, states: list[str]) -> None:
    world = MemoryWorld.simple(machines=1)
    run, batches = planned(airflow, world)
    run.states = {"batch.admit_0": states[0], "batch.launch_0": states[1], "batch.launch_1": "failed"}

    heal = HealOperator(task_id="batch.heal", spec=batches[0], step_task_ids=["batch.admit", "batch.launch"])

    assert run.run(heal, 0) is None
    assert world.mutations == []


@pytest.mark.parametrize(
    ("states", "needed"),
    [
        (["success", "success"], False),
        (["skipped", "skipped"], False),
        (["failed", "upstream_failed"], True),
        (["upstream_failed", "upstream_failed"], False),
        (["success", "failed"], True),
        (["success", None], True),
    ],
)
def test_only_a_batch_that_was_begun_and_did_not_pass(states: list[str | None], needed: bool) -> None:
    assert needs_healing(states) is needed
