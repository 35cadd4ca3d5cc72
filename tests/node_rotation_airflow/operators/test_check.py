"""The check: a request from a partition, drift or none, an event or none; and the sweep."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from node_rotation.errors import TransientError
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow.documents import Request
from node_rotation_airflow.operators.admit import AdmitOperator
from node_rotation_airflow.operators.detect import DetectOperator
from node_rotation_airflow.operators.plan import PlanOperator
from node_rotation_airflow.operators.publish import DRIFT, PublishDriftOperator
from node_rotation_airflow.operators.request import RequestOperator
from node_rotation_airflow.operators.step import LaunchOperator, PrepareOperator
from node_rotation_airflow.operators.sweep import SweepOperator

TONIGHT = datetime.now(UTC).strftime("%Y-%m-%d")
ONE = [{"group": "workers", "drifted": [{}, {}]}, {"group": "masters", "drifted": []}]


@pytest.fixture
def run(airflow: Any, fleet_file: Path) -> Any:
    made = airflow(MemoryWorld.simple(machines=1))
    made.outlets = {DRIFT: SimpleNamespace(extra=None)}
    return made


def test_a_partition_becomes_a_request(run: Any) -> None:
    groups = run.run(RequestOperator(task_id="request"), partition_key=f"{TONIGHT}~dev.one")

    assert groups == ["workers", "masters"]
    assert run.xcoms["request", "request"]["settings"]["environment"] == "dev"


@pytest.mark.parametrize(
    ("dag_run", "message"),
    [
        ({}, "there is no partition key"),
        ({"partition_key": "tonight"}, "is no night and cluster"),
        ({"partition_key": f"{TONIGHT}~dev.two"}, "there is no cluster 'dev.two'"),
        ({"partition_key": f"{TONIGHT}~dev.one", "conf": {"image": "x"}}, "conf image: is no parameter of this DAG"),
    ],
)
def test_a_bad_request_fails_at_once_and_touches_nothing(run: Any, dag_run: dict[str, Any], message: str) -> None:
    with pytest.raises(AirflowFailException, match=message):
        run.run(RequestOperator(task_id="request"), **dag_run)

    assert run.world.mutations == []


def test_drift_is_published_with_environment_cluster_and_night(run: Any) -> None:
    run.run(PublishDriftOperator(task_id="publish", drifts=ONE), partition_key=f"{TONIGHT}~dev.one")

    extra = {"environment": "dev", "cluster": "dev.one", "night": TONIGHT, "drifted": {"workers": 2}}
    assert run.outlets[DRIFT].extra == extra


def test_without_drift_there_is_no_event(run: Any) -> None:
    with pytest.raises(AirflowSkipException, match=r"no drift in dev\.one"):
        run.run(PublishDriftOperator(task_id="publish", drifts=ONE[1:]), partition_key=f"{TONIGHT}~dev.one")

    assert run.outlets[DRIFT].extra is None


SWEPT = """
environments:
  - name: dev
    clusters:
      - name: dev
        aws: {region: eu-central-1}
        groups: [{name: workers, asg: dev-workers}]
"""


@pytest.fixture
def swept(run: Any, fleet_file: Path) -> Any:
    fleet_file.write_text(SWEPT)
    return run


def sweep(run: Any) -> Any:
    return run.run(SweepOperator(task_id="sweep", cluster="dev.dev"), 0)


def test_a_sweep_of_a_clean_cluster_does_nothing(swept: Any) -> None:
    assert sweep(swept) == []
    assert swept.world.mutations == []


def test_what_can_not_leave_at_once_is_swept_by_the_next_try_and_not_in_an_hour(swept: Any) -> None:
    world = swept.world
    swept.xcoms["request", "request"] = Request(settings=world.settings(), groups=("workers",)).dump()
    drift = swept.run(DetectOperator(task_id="detect", group="workers"), 0)
    (batch, *_) = swept.run(PlanOperator(task_id="plan", drifts=[drift]))
    swept.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    swept.run(AdmitOperator(task_id="batch.admit", spec=batch, gate_task_id="batch.health_gate"), 0)
    swept.run(LaunchOperator(task_id="batch.launch", spec=batch), 0)
    world.clock.wait(1000)

    with pytest.raises(TransientError, match="left in dev.dev") as left:
        sweep(swept)
    assert SweepOperator(task_id="sweep", cluster="dev.dev").retries * left.value.retry_after_s >= 600
    for _ in range(10):
        world.clock.wait(left.value.retry_after_s)
        with suppress(TransientError):
            sweep(swept)
            break

    assert world.residue() == ()
    assert world.orphans() == ()


def test_what_a_dead_run_left_is_swept_and_a_live_one_is_not_touched(swept: Any) -> None:
    world = swept.world
    swept.xcoms["request", "request"] = Request(settings=world.settings(), groups=("workers",)).dump()
    drift = swept.run(DetectOperator(task_id="detect", group="workers"), 0)
    swept.run(PlanOperator(task_id="plan", drifts=[drift]))
    swept.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    held = world.residue()

    assert sweep(swept) == []
    assert world.residue() == held != ()
    world.clock.wait(1000)
    assert sweep(swept) != []
    assert world.residue() == ()
