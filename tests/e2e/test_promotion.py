"""What stands before a rotation, through a real Airflow: approval, promotion, a newer image, the maintenance window.

Two environments, dev and staging; staging comes after dev, and asks. One story after the other in one world.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.e2e.land import CHECK, NIGHTS, ROTATE, Land, eventually

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


def test_nothing_is_touched_before_the_window_opens(land: Land) -> None:
    opens = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=2)
    window = f'{{from: "{opens:%H:%M}", to: "{opens + timedelta(hours=3):%H:%M}"}}'
    fleet = FLEET.replace("  - name: dev\n", f"  - name: dev\n    policy: {{windows: [{window}]}}\n", 1)
    (land.reports.parent / "fleet.yaml").write_text(fleet)
    mutations = land.mutations()

    run = land.run({"cluster": DEV, "groups": ["batch"]})
    eventually("it waits without a worker", lambda: _state(land, run, "wait") == "deferred")
    assert land.mutations() == mutations

    assert land.ends(run) == "success"
    assert f"it opens at {opens:%Y-%m-%d %H:%M} UTC" in land.airflow.log(ROTATE, run, "wait")
    assert _time(land, run, "prepare") >= opens
    assert set(land.machines("dev-batch").values()) == {land.image("base-4")}


def _run_of(land: Land, partition_key: str) -> str:
    return next(run for run, key in land.rotations().items() if key == partition_key)


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
