"""What holds for every DAG of the project."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from node_rotation.errors import TransientError
from node_rotation_airflow.constants import RETRIES, SWEEP_AGAIN_S, SWEEP_RETRIES

ROOT = Path(__file__).parents[2]
DAGS = sorted((ROOT / "dags").glob("*.py"))
MAX_LINES = 120
STEPS = ["admit", "launch", "cordon", "drain", "terminate", "health_gate", "heal"]


@pytest.fixture
def bag(fleet_file: Path) -> Any:
    from airflow.dag_processing.dagbag import DagBag

    found = DagBag(str(ROOT / "dags"))
    assert not found.import_errors
    return found


def tasks(bag: Any) -> list[Any]:
    return [task for dag in bag.dags.values() for task in dag.tasks]


def test_there_are_three(bag: Any) -> None:
    assert sorted(bag.dags) == ["ami_drift_check", "rotate_nodes", "sweep_residue"]


@pytest.mark.parametrize("file", DAGS, ids=lambda file: file.name)
def test_a_dag_file_is_a_table_of_contents(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= MAX_LINES


def test_every_dag_is_documented_tagged_limited_and_starts_paused(bag: Any) -> None:
    for dag in bag.dags.values():
        assert dag.doc_md
        assert dag.tags == {"node-rotation"}
        assert dag.is_paused_upon_creation is True
        assert dag.max_active_runs <= 8  # rotate_nodes: and two per cluster of a larger fleet
        assert not dag.catchup


def test_every_task_has_an_owner_and_retries_by_class_of_error(bag: Any) -> None:
    for task in tasks(bag):
        assert task.owner == "node-rotation", task.task_id
        assert type(task.retry_policy).__name__ == "RotationRetryPolicy", task.task_id
        assert task.retries == task.retry_policy.retries, task.task_id
        assert task.retries == (SWEEP_RETRIES if task.task_id == "sweep" else RETRIES), task.task_id


def test_what_is_left_of_a_sweep_is_tried_every_20_seconds_for_ten_minutes(bag: Any) -> None:
    """Pods leave as budgets allow at that moment: whoever comes rarely moves few, and gives up too soon."""
    task = bag.dags["sweep_residue"].get_task("sweep")
    policy = type(task.retry_policy).deserialize(task.retry_policy.serialize())
    left = TransientError("left in dev.dev: a pod", SWEEP_AGAIN_S)
    pauses = [policy.evaluate(left, attempt, task.retries).retry_delay for attempt in range(1, task.retries + 1)]
    assert pauses == [timedelta(seconds=20)] * 30


def test_every_mapped_task_is_named(bag: Any) -> None:
    for task in tasks(bag):
        if task.is_mapped or task.task_id.startswith("batch."):
            assert getattr(task, "map_index_template", None) or task.task_id == "sweep", task.task_id


def test_every_dag_survives_serialization(bag: Any) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    for dag in bag.dags.values():
        again = DagSerialization.from_dict(DagSerialization.to_dict(dag))
        assert sorted(again.task_ids) == sorted(dag.task_ids)


def test_the_demo_starts_unpaused(fleet_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("NODE_ROTATION_UNPAUSED", "1")

    assert all(not dag.is_paused_upon_creation for dag in DagBag(str(ROOT / "dags")).dags.values())


def test_the_check_runs_when_the_fleet_file_says(fleet_file: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    fleet_file.write_text(fleet_file.read_text() + 'night: {at: "22:30", zone: Europe/Berlin}\n')

    check = DagBag(str(ROOT / "dags")).dags["ami_drift_check"]
    assert check.timetable.summary == "22:30 Europe/Berlin, 2 clusters"


def test_a_fleet_file_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("NODE_ROTATION_FLEET", str(tmp_path / "none.yaml"))

    errors = DagBag(str(ROOT / "dags")).import_errors

    assert len(errors) == 3
    assert all("none.yaml is no fleet file" in error for error in errors.values())


def test_the_wiring_of_a_rotation(bag: Any) -> None:
    """Setups, teardowns and their order: with others, failed gates end green and groups stay unrestored."""
    dag = bag.dags["rotate_nodes"]

    assert [t.task_id for t in dag.tasks if t.is_setup] == ["opened"]
    teardowns = ["batch.heal", "restore", "verify", "report"]
    assert [t.task_id for t in dag.tasks if t.is_teardown] == teardowns
    assert [t for t in teardowns if dag.get_task(t).on_failure_fail_dagrun] == ["verify"]
    assert dag.get_task("approve").upstream_task_ids == {"plan"}
    assert dag.get_task("wait").upstream_task_ids == {"plan", "approve"}
    assert dag.get_task("opened").upstream_task_ids == {"plan", "wait"}
    for before, after in zip(STEPS, STEPS[1:], strict=False):
        assert f"batch.{before}" in dag.get_task(f"batch.{after}").upstream_task_ids
    assert dag.get_task("batch.heal").upstream_task_ids >= {"opened"}
    assert "batch.admit" not in dag.get_task("batch.heal").upstream_task_ids
    assert dag.get_task("restore").upstream_task_ids == {"opened", "prepare", "batch.heal", "batch.health_gate"}
    assert dag.get_task("verify").upstream_task_ids == {"restore", "batch.heal", "batch.health_gate"}


def test_every_task_starts_in_a_worker_for_only_there_it_gets_its_name(bag: Any) -> None:
    assert not [t.task_id for t in tasks(bag) if getattr(t, "start_from_trigger", False)]


def test_batches_under_way_go_before_new_ones_when_workers_are_short(bag: Any) -> None:
    dag = bag.dags["rotate_nodes"]
    weights = [dag.get_task(f"batch.{step}").weight_rule for step in STEPS]

    assert set(weights) == {"upstream"}
