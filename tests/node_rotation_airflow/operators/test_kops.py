"""A kops cluster through Airflow's tasks: its groups found by tags, its masters replaced by the same chain of steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk.exceptions import AirflowFailException
from tests.node_rotation.crashes import FAST
from tests.node_rotation.masters import kops, probed

from node_rotation_airflow import fleet_file
from node_rotation_airflow.operators.admit import AdmitOperator
from node_rotation_airflow.operators.detect import DetectOperator
from node_rotation_airflow.operators.plan import PlanOperator
from node_rotation_airflow.operators.request import RequestOperator
from node_rotation_airflow.operators.step import (
    CordonOperator,
    DrainOperator,
    HealthGateOperator,
    LaunchOperator,
    PrepareOperator,
    RestoreOperator,
    TerminateOperator,
)
from node_rotation_airflow.operators.sweep import SweepOperator
from node_rotation_airflow.operators.verify import VerifyOperator
from node_rotation_airflow.params import rotation_params

STEPS = (LaunchOperator, CordonOperator, DrainOperator, TerminateOperator, HealthGateOperator)


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write the fleet file of a world: one kops cluster that lists no groups."""

    def write(world: Any, **policies: Any) -> None:
        source = {"cluster": "prod", "policies": policies}
        cluster = {"name": "prod", "aws": {"region": world.seed.region}, "kops": source}
        document = {
            "defaults": {**FAST, **probed(world)},
            "environments": [{"name": "prod", "clusters": [cluster]}],
        }
        path = tmp_path / "fleet.yaml"
        path.write_text(yaml.safe_dump(document))
        monkeypatch.setattr(fleet_file, "path", lambda: path)

    return write


def requested(run: Any) -> list[str]:
    form = {name: param.resolve() for name, param in rotation_params(("prod.prod",)).items()}
    conf = {"cluster": "prod.prod"}
    context = {**run.context("request", conf=conf), "params": {**form, **conf}}
    groups: list[str] = RequestOperator(task_id="request").execute(context)
    return groups


def test_masters_and_workers_go_through_the_same_tasks(airflow: Any, fleet: Any) -> None:
    world = kops(workers=1)
    fleet(world)
    run = airflow(world)

    groups = requested(run)
    assert groups == ["master-a", "master-b", "master-c", "nodes"]
    drifts = [run.run(DetectOperator(task_id="detect", group=group), n) for n, group in enumerate(groups)]
    batches = run.run(PlanOperator(task_id="plan", drifts=drifts))
    for number, group in enumerate(groups):
        run.run(PrepareOperator(task_id="prepare", group=group), number)
    for index, batch in enumerate(batches):
        run.run(AdmitOperator(task_id="batch.admit", spec=batch, gate_task_id="batch.health_gate"), index)
        for step in STEPS:
            run.run(step(task_id=f"batch.{step.deed}", spec=batch), index)
    for number, group in enumerate(groups):
        run.run(RestoreOperator(task_id="restore", group=group), number)
    run.run(VerifyOperator(task_id="verify"))

    assert [batch["name"] for batch in batches] == ["master-a/1", "master-b/1", "master-c/1", "nodes/1"]
    assert (world.on_image("base-old"), world.orphans(), world.residue()) == ((), (), ())
    assert world.etcd.lost_at == []


def test_a_sweep_finds_the_groups_as_well(airflow: Any, fleet: Any) -> None:
    world = kops(workers=1)
    fleet(world)
    run = airflow(world)

    assert run.run(SweepOperator(task_id="sweep", cluster="prod.prod")) == []


def test_a_policy_for_a_group_that_was_deleted_stops_the_next_run_and_no_sweep(airflow: Any, fleet: Any) -> None:
    world = kops(workers=1)
    fleet(world, **{"nodes-spot": {"priority": -1}})
    run = airflow(world)

    with pytest.raises(AirflowFailException, match="there is no instance group 'nodes-spot'"):
        requested(run)
    assert run.run(SweepOperator(task_id="sweep", cluster="prod.prod")) == []
