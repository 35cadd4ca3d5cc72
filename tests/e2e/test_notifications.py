"""Messages from a real Airflow, its connection in its database: each thing once, whoever clears what."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.land import FLEET as PLAIN
from tests.e2e.land import ROTATE, Land, eventually
from tests.node_rotation.receiver import Receiver, receiving

pytestmark = [pytest.mark.proving_ground, pytest.mark.timeout(1500)]

FLEET = PLAIN.replace(
    "  poll: 1s\n", "  poll: 1s\n  approval: {required: true}\n  notify: [{http: {connection: chat}}]\n"
)


@pytest.fixture
def receiver(land: Land) -> Iterator[Receiver]:
    with receiving() as told:
        chat = {"connection_id": "chat", "conn_type": "http", "host": told.url}
        land.airflow.api("POST", "/connections", json=chat)
        yield told


def waiting(land: Land, run: str) -> bool:
    return land.states(run, "approve").get(-1) == "awaiting_input"


def attempt(land: Land, run: str, task: str) -> int:
    """How often it began: a state may come and go between two looks."""
    return next(int(t["try_number"]) for t in land.airflow.tasks(ROTATE, run) if t["task_id"] == task)


def answer(land: Land, run: str, option: str) -> None:
    path = f"/dags/{ROTATE}/dagRuns/{run}/taskInstances/approve/-1/hitlDetails"
    land.airflow.api("PATCH", path, json={"chosen_options": [option], "params_input": {}})


def clear(land: Land, run: str, task: str) -> None:
    body = {"dry_run": False, "dag_run_id": run, "task_ids": [task], "only_failed": False, "reset_dag_runs": True}
    land.airflow.api("POST", f"/dags/{ROTATE}/clearTaskInstances", json=body)


def test_an_approval_and_the_end_are_told_once_also_after_their_tasks_are_cleared(
    land: Land, receiver: Receiver
) -> None:
    run = land.run({"cluster": "dev.dev", "groups": ["batch"]})
    eventually("it asks", lambda: waiting(land, run))
    assert receiver.kinds == ["approval"]

    clear(land, run, "approve")
    eventually("it asks again", lambda: attempt(land, run, "approve") > 1 and waiting(land, run))
    answer(land, run, "Approve")
    assert land.ends(run) == "success"
    clear(land, run, "report")
    eventually("the report is written again", lambda: attempt(land, run, "report") > 1)
    assert land.ends(run) == "success"

    assert receiver.kinds == ["approval", "ok"]
    asked, done = receiver.bodies
    assert asked["url"].startswith(f"{land.airflow.url}/dags/{ROTATE}/runs/manual__")
    assert "1 machines replaced" in done["text"]
    assert land.reports.name in done["report"]
