"""What stands before a rotation, through a real Airflow: approval, promotion, what is newer, windows, frozen images.

Two environments, dev and staging; staging comes after dev, and asks. One story after the other in one world.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from tests.e2e.land import BETWEEN, CHECK, NIGHTS, ROTATE, TODAY, Land, eventually

from node_rotation.cli import main

pytestmark = [pytest.mark.airflow, pytest.mark.proving_ground, pytest.mark.timeout(1500)]

READ_S = 10.0
"""Nobody answers sooner. Airflow 3.3.2 takes a task that is answered before its scheduler has seen it pause for one
that was killed (state queued, executor says success), and asks again."""
DEV, STAGING = "dev.dev", "staging.staging"
FLEET = """
defaults:
  strategy: detach
  image: {owner: self, name: "base-*"}
  image_step: launch_template
  budget: {max_surge: 4}
  canary: false
  gate: {settle: 1s}
  poll: 1s
environments:
  - name: dev
    clusters:
      - name: dev
        aws: {region: eu-central-1}
        kubernetes: {connection: kubernetes_dev}
        groups:
          - {name: workers, asg: dev-workers}
          - {name: batch, asg: dev-batch}
  - name: staging
    policy:
      promotion: {after: previous, soak: 5s}
      approval: {required: true, timeout: 1h}
    clusters:
      - name: staging
        aws: {region: eu-central-1}
        kubernetes: {connection: kubernetes_staging}
        groups: [{name: workers, asg: staging-workers}]
"""
NAMED = '{owner: self, name: "base-*"}'
SMALL = (
    FLEET.replace("          - {name: workers, asg: dev-workers}\n", "")
    .replace("timeout: 1h", "timeout: 15s")
    .replace("canary: false", "canary: false\n  launch_timeout: 20s")
)
"""Dev with the group of one machine only, an approver who is away, and machines that join quickly or never."""


@pytest.fixture(scope="module")
def opens() -> datetime:
    """When dev's maintenance window opens: late enough for two runs to come before it."""
    return (datetime.now(UTC) + timedelta(seconds=150)).replace(second=0, microsecond=0)


def test_a_backfill_brings_both_environments_to_the_nights_image_in_order(land: Land) -> None:
    """Somebody approves staging at once; it still waits until dev has proven the image."""
    first, last = (night.isoformat() for night in NIGHTS)
    land.airflow.cli(
        "backfill", "create", "--dag-id", CHECK, "--from-date", first, "--to-date", last, "--max-active-runs", "1"
    )
    eventually("both environments rotate", lambda: len(land.rotations()) == 2, 300)
    dev, staging = (_run_of(land, f"{last}~{cluster}") for cluster in (DEV, STAGING))
    _answer(land, staging, "Approve")

    assert land.ends(dev) == "success"
    assert land.ends(staging) == "success"
    assert set(land.machines("dev-workers").values()) == {land.image("base-2")}
    assert set(land.machines("staging-workers").values()) == {land.image("base-2")}
    assert _time(land, staging, "opened") > max(_times(land, dev, "batch.drain", "end_date"))
    assert _report(land, staging)["approval"]["by"]


def test_rejected_it_ends_with_nothing_touched(land: Land) -> None:
    land.publish("base-3")
    mutations = land.mutations()
    run = land.run({"cluster": STAGING})
    _answer(land, run, "Reject")

    assert land.ends(run) == "success"
    assert _skipped(land, run) >= {"approve", "wait", "opened", "verify"}
    assert _report(land, run)["not_begun"].startswith("rejected by ")
    assert land.mutations() == mutations


def test_what_a_newer_image_overtakes_while_it_waits_ends_superseded(land: Land) -> None:
    """Approved, staging waits for dev, which is not on the third image; then a fourth comes out."""
    mutations = land.mutations()
    run = land.run({"cluster": STAGING})
    _answer(land, run, "Approve")
    eventually("it waits without a worker", lambda: _state(land, run, "wait") == "deferred")
    land.publish("base-4")

    assert land.ends(run) == "success"
    assert _skipped(land, run) >= {"wait", "opened", "verify"}
    said = land.airflow.log(ROTATE, run, "wait")
    assert "waits: dev.dev group workers: 4 of 4 machines do not run" in said
    assert "(base-4) by now, newer than" in _report(land, run)["not_begun"]
    assert land.mutations() == mutations


def test_a_past_night_that_a_newer_image_has_overtaken_changes_nothing(land: Land) -> None:
    """An image of that night turns up; staging is asked for approval as well, and nobody is there to give it."""
    land.publish("base-2b", created=f"{BETWEEN + timedelta(hours=3):%Y-%m-%dT%H:%M:%S}.000Z", parameter=None)
    _fleet(land, SMALL)
    known, mutations = set(land.rotations()), land.mutations()
    _backfill(land, NIGHTS[1], "--reprocess-behavior", "completed")
    eventually("both environments have a run", lambda: len(set(land.rotations()) - known) == 2, 300)
    dev, staging = (_run_of(land, f"{NIGHTS[1]}~{cluster}", known) for cluster in (DEV, STAGING))

    assert land.ends(dev) == "success"
    assert _report(land, dev)["not_begun"].startswith("superseded: group batch is to run ")
    assert land.ends(staging) == "success"
    assert _report(land, staging)["not_begun"] == "nobody approved it in time"
    assert _skipped(land, staging) >= {"approve", "wait", "opened", "verify"}
    assert land.mutations() == mutations


def test_told_to_pin_it_rolls_the_nights_image_though_there_is_a_newer_one(land: Land) -> None:
    known = set(land.rotations())
    _backfill(land, NIGHTS[1], "--reprocess-behavior", "completed", "--dag-run-conf", '{"pin": true}')
    eventually("dev has a run", lambda: f"{NIGHTS[1]}~{DEV}" in _since(land, known).values(), 300)
    run = _run_of(land, f"{NIGHTS[1]}~{DEV}", known)

    assert land.ends(run) == "success"
    assert set(land.machines("dev-batch").values()) == {land.image("base-2b")}


def test_a_template_that_terraform_changed_is_found_by_the_check_and_waits_for_its_window(
    land: Land, opens: datetime
) -> None:
    _fleet(land, SMALL.replace(NAMED, "{template: true}").replace(*_window(opens)))
    ec2: Any = boto3.client("ec2")
    template = _template(land, "dev-batch")
    ec2.create_launch_template_version(
        LaunchTemplateId=template, SourceVersion="$Latest", LaunchTemplateData={"ImageId": land.image("base-4")}
    )
    known, mutations = set(land.rotations()), land.mutations()

    land.airflow.trigger(CHECK, partition_key=f"{TODAY}~{DEV}")

    eventually("its rotation", lambda: f"{TODAY}~{DEV}" in _since(land, known).values(), 300)
    run = _run_of(land, f"{TODAY}~{DEV}", known)
    eventually("it waits without a worker", lambda: _state(land, run, "wait") == "deferred")
    assert f"it opens at {opens:%Y-%m-%d %H:%M} UTC" in land.airflow.log(ROTATE, run, "wait")
    assert land.mutations() == mutations


def test_a_newer_run_takes_its_place_and_nothing_is_touched_before_the_window_opens(
    land: Land, opens: datetime
) -> None:
    mutations = land.mutations()
    older = _run_of(land, f"{TODAY}~{DEV}")
    run = land.run({"cluster": DEV})
    eventually("it waits without a worker", lambda: _state(land, run, "wait") == "deferred")
    assert land.mutations() == mutations

    assert land.ends(older) == "success"
    assert _report(land, older)["not_begun"] == f"superseded: run {run} is newer and does the same"
    assert land.ends(run) == "success"
    assert _time(land, run, "prepare") >= opens
    assert set(land.machines("dev-batch").values()) == {land.image("base-4")}


def test_an_image_that_never_joins_is_frozen_for_everybody_until_somebody_lifts_it(land: Land) -> None:
    """It was urgent: dev is rotated outside its window, and the report says why."""
    closed = datetime.now(UTC) + timedelta(hours=3)
    _fleet(land, SMALL.replace(NAMED, '{ssm: "/images/base/current"}').replace(*_window(closed)))
    bad, before, machines = land.publish("base-5", behaviour="never-joins"), land.aws(), land.machines("dev-batch")
    run = land.run({"cluster": DEV, "outside_windows": "CVE-2026-1234"})

    assert land.ends(run).startswith("failed")
    assert "don't count for this run: CVE-2026-1234" in " ".join(_report(land, run)["notes"])
    assert f"image {bad} (base-5) is frozen since" in " ".join(_report(land, run)["frozen"])
    assert bad in _frozen()
    assert land.machines("dev-batch") == machines
    assert land.left(before) == []
    assert not any(node.spec.unschedulable for node in land.core.list_node().items)

    check = land.airflow.trigger(CHECK, partition_key=f"{TODAY}~{STAGING}")
    assert land.ends(check, dag_id=CHECK) == "success"
    assert f"image {bad} (base-5) is frozen since" in land.airflow.log(CHECK, check, "publish")
    assert {t["state"] for t in land.airflow.tasks(CHECK, check) if t["task_id"] == "publish"} == {"skipped"}

    assert main(["--fleet", str(_file(land)), "unfreeze", bad, "--reason", "the network was at fault"]) == 0
    plan = land.run({"cluster": STAGING, "mode": "plan"})
    assert land.ends(plan) == "success"
    assert "for staging.staging: 1 machines in 1 batches" in land.airflow.log(ROTATE, plan, "plan")


def _backfill(land: Land, night: date, *more: str) -> None:
    said = ("--from-date", night.isoformat(), "--to-date", night.isoformat())
    land.airflow.cli("backfill", "create", "--dag-id", CHECK, *said, *more)


def _file(land: Land) -> Path:
    return land.reports.parent / "fleet.yaml"


def _fleet(land: Land, text: str) -> None:
    """From the next run on."""
    _file(land).write_text(text)


def _window(opens: datetime) -> tuple[str, str, int]:
    """Dev may be touched from then on; as arguments of ``replace``."""
    window = f'{{from: "{opens:%H:%M}", to: "{opens + timedelta(hours=3):%H:%M}"}}'
    return "  - name: dev\n", f"  - name: dev\n    policy: {{windows: [{window}]}}\n", 1


def _template(land: Land, group: str) -> str:
    scaling: Any = boto3.client("autoscaling")
    (found,) = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"]
    return str(found["LaunchTemplate"]["LaunchTemplateId"])


def _frozen() -> str:
    ssm: Any = boto3.client("ssm")
    return str(ssm.get_parameters_by_path(Path="/node-rotation/frozen")["Parameters"])


def _since(land: Land, known: Collection[str]) -> dict[str, str]:
    """Rotations that were not known yet, run id → partition key."""
    return {run: key for run, key in land.rotations().items() if run not in known}


def _run_of(land: Land, partition_key: str, known: Collection[str] = ()) -> str:
    return next(run for run, key in _since(land, known).items() if key == partition_key)


def _answer(land: Land, run: str, option: str) -> None:
    """As a person does in Airflow, or a script over its API."""
    eventually(f"{run} asks", lambda: _asks_since(land, run) > READ_S)
    path = f"/dags/{ROTATE}/dagRuns/{run}/taskInstances/approve/-1/hitlDetails"
    land.airflow.api("PATCH", path, json={"chosen_options": [option], "params_input": {}})


def _asks_since(land: Land, run: str) -> float:
    """For how many seconds the run has been asking; 0 while it doesn't."""
    asking = (t for t in _tasks(land, run) if t["task_id"] == "approve" and t["state"] == "awaiting_input")
    began = next((datetime.fromisoformat(t["start_date"]) for t in asking), None)
    return (datetime.now(UTC) - began).total_seconds() if began else 0.0


def _tasks(land: Land, run: str) -> list[dict[str, Any]]:
    return list(land.airflow.tasks(ROTATE, run))


def _state(land: Land, run: str, task: str) -> str:
    return next((str(t["state"]) for t in _tasks(land, run) if t["task_id"] == task), "")


def _skipped(land: Land, run: str) -> set[str]:
    return {str(t["task_id"]) for t in _tasks(land, run) if t["state"] == "skipped"}


def _time(land: Land, run: str, task: str) -> datetime:
    """When the first instance of a task began."""
    return min(_times(land, run, task, "start_date"))


def _times(land: Land, run: str, task: str, which: str) -> list[datetime]:
    return [datetime.fromisoformat(t[which]) for t in _tasks(land, run) if t["task_id"] == task and t[which]]


def _report(land: Land, run: str) -> dict[str, Any]:
    found = [json.loads(file.read_text()) for file in land.reports.glob("*.json")]
    return next(dict(report) for report in found if report["run_id"] == run)
