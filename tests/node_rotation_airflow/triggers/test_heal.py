"""Heal takes a worker only if something of its batch failed."""

from __future__ import annotations

from typing import Any

import pytest

from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow.triggers.heal import HealTrigger, needs_healing

TASKS = ["batch.admit", "batch.launch"]


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


def test_it_is_made_again_from_what_it_says() -> None:
    assert HealTrigger(TASKS).serialize() == (
        "node_rotation_airflow.triggers.heal.HealTrigger",
        {"task_ids": TASKS},
    )


@pytest.mark.parametrize(("last", "kind"), [("success", "TaskSuccessEvent"), ("failed", "TriggerEvent")])
def test_a_passed_batch_ends_in_the_triggerer_a_failed_one_goes_to_a_worker(airflow: Any, last: str, kind: str) -> None:
    run = airflow(MemoryWorld.simple(machines=1))
    run.states = {"batch.admit_0": "success", "batch.launch_0": last}

    event = run.fire(HealTrigger(TASKS), run.context("batch.heal", 0)["ti"])

    assert type(event).__name__ == kind
    if kind == "TriggerEvent":
        assert event.payload == {"failed": ["batch.launch_0"]}
