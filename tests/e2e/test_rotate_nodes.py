"""The thin path through real Airflow on a real control plane: check, rotate, verify."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proving_ground.airflow import Airflow
from proving_ground.ground import Ground

pytestmark = [pytest.mark.airflow, pytest.mark.proving_ground, pytest.mark.timeout(600)]

PARSED_S = 60.0
STARTED_S = 60.0
ROTATED_S = 400.0


def test_the_check_finds_drift_and_starts_a_rotation_that_replaces_every_machine(
    thin: Ground, thin_airflow: Airflow, tmp_path: Path
) -> None:
    unpause(thin_airflow, "rotate_nodes", "ami_drift_check")

    tonight = datetime.now(UTC).strftime("%Y-%m-%d")
    check = thin_airflow.trigger("ami_drift_check", partition_key=f"{tonight}~dev.dev")
    assert thin_airflow.wait_run("ami_drift_check", check, STARTED_S) == "success"
    rotation = first_run(thin_airflow, "rotate_nodes")
    assert thin_airflow.wait_run("rotate_nodes", rotation, ROTATED_S) == "success", log_of_failed(
        thin_airflow, rotation
    )

    batches = {t["map_index"] for t in thin_airflow.tasks("rotate_nodes", rotation) if t["task_id"] == "batch.drain"}
    assert batches == set(range(6))
    assert list((tmp_path / "reports").glob("*.json"))


def unpause(airflow: Airflow, *dag_ids: str) -> None:
    until = time.monotonic() + PARSED_S
    while airflow.api("GET", "/dags", params={"limit": 10})["total_entries"] < 3:
        assert time.monotonic() < until, airflow.api("GET", "/importErrors")
        time.sleep(0.5)
    for dag_id in dag_ids:
        airflow.api("PATCH", f"/dags/{dag_id}", json={"is_paused": False})


def first_run(airflow: Airflow, dag_id: str) -> str:
    until = time.monotonic() + STARTED_S
    while not (runs := airflow.runs(dag_id)):
        assert time.monotonic() < until, f"no run of {dag_id}"
        time.sleep(0.5)
    return str(runs[0]["dag_run_id"])


def log_of_failed(airflow: Airflow, run_id: str) -> str:
    """What the tasks that failed, or still run, said last."""
    said = []
    for task in airflow.tasks("rotate_nodes", run_id):
        name = f"{task['task_id']}[{task['map_index']}]"
        said.append(f"{name} {task['state']} {task['duration']}")
        if task["state"] in ("failed", "deferred", "up_for_retry"):
            log = airflow.log(
                "rotate_nodes", run_id, task["task_id"], map_index=task["map_index"], attempt=max(1, task["try_number"])
            )
            said.append(log[-2500:])
    return "\n".join(said)
