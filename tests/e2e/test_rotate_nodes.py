"""Rotations through a real Airflow on a real control plane, one story after the other in one world.

Four machines in one group and one in another start on ``base-1``; each story leaves the world to the next.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from kubernetes import client
from tests.e2e.browser import Browser, browser
from tests.e2e.land import CHECK, NIGHTS, ROTATE, Land, eventually
from tests.e2e.landing import ROOT
from tests.e2e.tasks import Watch, killed, marked_failed

from proving_ground.airflow import AirflowError
from proving_ground.observer import residue

pytestmark = [pytest.mark.airflow, pytest.mark.proving_ground, pytest.mark.timeout(1500)]

SWEEP = "sweep_residue"
STEPS = ("admit", "launch", "cordon", "drain", "terminate", "health_gate", "heal")
SECTIONS = ["Image", "Windows", "Promotion", "Budget", "Strategy", "Drain", "Gates"]
STUCK = {
    "metadata": {"name": "dns"},
    "spec": {"nodeSelector": {"nowhere": "true"}, "containers": [{"name": "dns", "image": "dns"}]},
}
"""A pod of the system that no node takes."""
CHAIN = ("prepare", *(f"batch.{step}" for step in STEPS), "restore", "verify", "report")
WORKERS = [f"workers/{n}" for n in range(1, 5)]


@pytest.fixture(scope="module")
def before(land: Land) -> residue.Aws:
    """The world as it was before any story."""
    return land.aws()


@pytest.fixture(scope="module")
def person(land: Land, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(land.airflow.url, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def test_a_backfill_over_two_nights_starts_the_rotation_of_the_night_that_had_drift(land: Land) -> None:
    """Between the nights a new image came out; the cluster ``staging`` stays on the old one by policy."""
    first, last = (night.isoformat() for night in NIGHTS)
    land.airflow.cli(
        "backfill", "create", "--dag-id", CHECK, "--from-date", first, "--to-date", last, "--max-active-runs", "1"
    )
    eventually("four checks ended", lambda: _ended(land) == 4)

    checks = {r["partition_key"]: r["state"] for r in land.airflow.runs(CHECK)}
    assert checks == {f"{night}~{c}": "success" for night in (first, last) for c in ("dev.dev", "staging.staging")}
    eventually("a rotation", land.rotations)
    assert list(land.rotations().values()) == [f"{last}~dev.dev"]


def test_it_replaces_every_machine_and_leaves_nothing(land: Land, before: residue.Aws) -> None:
    (run,) = land.rotations()
    with Watch(land, run) as watch:
        assert land.ends(run) == "success"

    assert set(land.machines("dev-workers").values()) == {land.image("base-2")}
    assert set(land.machines("dev-batch").values()) == {land.image("base-2")}
    assert set(land.machines("staging-workers").values()) == {land.image("base-1")}
    assert land.left(before) == []
    assert watch.most_running <= 1
    most = max(watch.side_by_side, key=len)
    assert len(most) >= 4, f"with one worker slot, at most {sorted(most)} waited side by side"


def test_every_task_of_it_has_its_name_and_its_say(land: Land) -> None:
    (run,) = land.rotations()
    tasks = land.airflow.tasks(ROTATE, run)

    assert {t["state"] for t in tasks} == {"success"}
    for step in STEPS:
        named = {t["rendered_map_index"] for t in tasks if t["task_id"] == f"batch.{step}"}
        assert named == {*WORKERS, "batch/1"}, step
    for task in ("detect", "prepare", "restore"):
        assert {t["rendered_map_index"] for t in tasks if t["task_id"] == task} == {"workers", "batch"}
    report = json.loads(next(land.reports.glob("*.json")).read_text())
    assert sorted(report["passed"]) == ["batch/1", *WORKERS]
    assert next(land.reports.glob("*.html")).exists()
    assert "waits: " in land.airflow.log(ROTATE, run, "batch.launch", map_index=0)


def test_the_form_plans_and_then_rotates_the_group_that_was_chosen(
    land: Land, before: residue.Aws, person: Browser
) -> None:
    land.publish("base-3")
    workers, known, mutations = land.machines("dev-workers"), set(land.rotations()), land.mutations()
    person.open_form(ROTATE)
    person.shoot("form-1-opened")
    assert person.sections()[1:-1] == SECTIONS  # between Airflow's own two
    _fill_in(person, "plan only", "batch")
    person.shoot("form-2-plan")
    for section in SECTIONS:
        person.unfold(section)
        person.shoot(f"form-3-{section.lower()}")
    person.submit()
    plan = _new(land, known)
    assert land.ends(plan) == "success"
    assert _batches(land, plan) == ["batch/1"]
    assert land.mutations() == mutations

    person.open_form(ROTATE)
    _fill_in(person, "rotate", "batch")
    person.unfold("Budget")
    person.write("max_surge", "1")
    person.shoot("form-4-rotate")
    person.submit()
    run = _new(land, {*known, plan})
    assert land.ends(run) == "success"
    person.show_run(ROTATE, run, "run-1-rotated")
    assert "Rotation of dev.dev" in person.show_rotation("run-2-report")
    person.leave()

    assert set(land.machines("dev-batch").values()) == {land.image("base-3")}
    assert land.machines("dev-workers") == workers
    assert land.left(before) == []


@pytest.mark.parametrize("first", [0, 1])
def test_tasks_cleared_after_their_run_has_ended_touch_nothing(land: Land, first: int) -> None:
    """The run that the form started, its every machine replaced; each second task, without what comes after it."""
    run, mutations = list(land.rotations())[-1], land.mutations()

    land.clear(run, *CHAIN[first::2], downstream=False)

    assert land.ends(run) == "success"
    assert {t["task_id"]: t["state"] for t in land.airflow.tasks(ROTATE, run) if t["state"] != "success"} == {}
    assert land.mutations() == mutations


def test_so_does_everything_from_its_plan_on(land: Land) -> None:
    """A new plan is made of what was found before: each step sees that there is nothing left to do."""
    run, mutations = list(land.rotations())[-1], land.mutations()

    land.clear(run, "plan")

    assert land.ends(run) == "success"
    states = {t["task_id"]: t["state"] for t in land.airflow.tasks(ROTATE, run)}
    assert set(states.values()) == {"success"}, states
    assert land.mutations() == mutations


def test_cleared_as_a_whole_it_finds_that_there_is_nothing_to_do(land: Land) -> None:
    run, mutations = list(land.rotations())[-1], land.mutations()

    land.airflow.api("POST", f"/dags/{ROTATE}/dagRuns/{run}/clear", json={"dry_run": False})

    assert land.ends(run) == "success"
    states = {f"{t['task_id']} {t['map_index']}": t["state"] for t in land.airflow.tasks(ROTATE, run)}
    assert set(states.values()) <= {"success", "skipped", "removed"}, states
    assert land.mutations() == mutations


def test_a_launch_marked_success_while_it_waits_ends_well(land: Land, before: residue.Aws) -> None:
    run = _launching(land, "base-3-1")

    land.mark(run, "batch.launch", 0, "success")

    assert land.ends(run) == "success"
    assert set(land.machines("dev-batch").values()) == {land.newest()}
    assert land.left(before) == []


def test_a_launch_marked_failed_while_it_waits_is_taken_back(land: Land, before: residue.Aws) -> None:
    machines = land.machines("dev-batch")
    run = _launching(land, "base-3-2")

    land.mark(run, "batch.launch", 0, "failed")

    assert land.airflow.wait_run(ROTATE, run, 400) == "failed"
    assert land.machines("dev-batch") == machines
    assert land.left(before) == []


def test_task_processes_that_are_killed_midway_are_tried_again(land: Land, before: residue.Aws) -> None:
    """The batch that was taken back is cleared: its admission prepares the group again, and dies with the lock."""
    run = list(land.rotations())[-1]

    land.clear(run, "batch.admit")
    killed(land, run, "batch.admit", lambda: land.lease() is not None)
    killed(land, run, "batch.terminate")

    assert land.ends(run) == "success"
    for task in ("batch.admit", "batch.terminate"):
        tried = [t["try_number"] for t in land.airflow.tasks(ROTATE, run) if t["task_id"] == task]
        assert tried == [3 if task == "batch.admit" else 2], task
    assert set(land.machines("dev-batch").values()) == {land.newest()}
    assert land.left(before) == []


def test_a_run_marked_failed_while_it_drains_is_healed_and_restored(land: Land, before: residue.Aws) -> None:
    run = land.run({"cluster": "dev.dev", "groups": ["workers"], "mode": "rotate", "max_surge": "1"})
    eventually("a drain has begun", lambda: _has(land, run, "batch.drain", "deferred", "running"))
    assert land.left(before) != []

    land.airflow.api("PATCH", f"/dags/{ROTATE}/dagRuns/{run}", json={"state": "failed"})

    eventually("its report is written", lambda: _has(land, run, "report", "success", "failed"))
    assert land.left(before) == []
    assert len(land.machines("dev-workers")) == 4
    assert not any(node.spec.unschedulable for node in land.core.list_node().items)
    assert land.airflow.wait_run(ROTATE, run, 60) == "failed"


def test_failed_gates_hold_later_batches_until_they_are_cleared(
    land: Land, before: residue.Aws, person: Browser
) -> None:
    """The next run finishes what the last one left, two batches at a time, though something breaks meanwhile."""
    conf = {"cluster": "dev.dev", "groups": ["workers"], "mode": "rotate", "max_surge": "2", "gate_timeout": "3s"}
    run = land.run(conf)
    eventually("the first batch begins", lambda: _has(land, run, "batch.launch", "running", "deferred", "success"))
    land.core.create_namespaced_pod("kube-system", STUCK)
    eventually("both gates fail", lambda: len(_has(land, run, "batch.health_gate", "failed")) == 2)
    failed = _has(land, run, "batch.health_gate", "failed")
    eventually("both are healed", lambda: set(failed) <= set(_has(land, run, "batch.heal", "success")))

    later = {index: state for index, state in land.states(run, "batch.admit").items() if index not in failed}
    assert set(later.values()) == {"deferred"}
    person.show_run(ROTATE, run, "run-3-held")
    assert "workers/1" in person.show_rotation("run-4-board")
    person.leave()
    for index in failed:
        said = land.airflow.log(ROTATE, run, "batch.health_gate", map_index=index)
        assert "pod kube-system/dns, not scheduled, is not Ready" in said
        assert "clear this gate" in said

    land.core.delete_namespaced_pod("dns", "kube-system", grace_period_seconds=0)
    land.clear(run, *(("batch.health_gate", index) for index in failed))

    assert land.ends(run) == "success"
    assert set(land.machines("dev-workers").values()) == {land.newest()}
    assert land.left(before) == []


def test_steps_marked_failed_are_taken_back_or_to_their_end_and_go_on_once_they_are_cleared(
    land: Land, before: residue.Aws
) -> None:
    """Four batches side by side, each of them marked at another step."""
    land.publish("base-3-3")
    run = land.run({"cluster": "dev.dev", "groups": ["workers"], "mode": "rotate", "max_surge": "4"})

    marked_failed(land, run, *((f"batch.{step}", index) for index, step in enumerate(STEPS[2:6])))

    assert land.airflow.wait_run(ROTATE, run, 400) == "failed"
    assert len(land.machines("dev-workers")) == 4
    assert land.left(before) == []
    land.clear(run, "batch.admit")
    assert land.ends(run) == "success"
    assert set(land.machines("dev-workers").values()) == {land.newest()}
    assert land.left(before) == []


def test_what_prepares_heals_restores_and_verifies_is_marked_failed_and_cleared(
    land: Land, before: residue.Aws
) -> None:
    machines = land.machines("dev-batch")
    run = land.run({"cluster": "dev.dev", "groups": ["batch"], "mode": "rotate"})
    marked_failed(land, run, ("prepare", 0))
    assert land.airflow.wait_run(ROTATE, run, 400) == "failed"
    assert land.machines("dev-batch") == machines
    assert land.left(before) == []

    land.clear(run, "prepare")
    marked_failed(land, run, ("batch.drain", 0), ("batch.heal", 0), ("restore", 0), ("verify", -1))
    assert land.airflow.wait_run(ROTATE, run, 400) == "failed"
    land.clear(run, "batch.heal")
    assert land.airflow.wait_run(ROTATE, run, 400) == "failed"
    assert land.states(run, "batch.heal") | land.states(run, "restore") == {0: "success"}
    assert len(land.machines("dev-batch")) == 1
    assert land.left(before) == []

    land.clear(run, "batch.admit")
    assert land.ends(run) == "success"
    assert set(land.machines("dev-batch").values()) == {land.newest()}
    assert land.left(before) == []


def test_a_malformed_partition_key_is_refused_with_an_example_and_nothing_is_touched(land: Land) -> None:
    """By Airflow's API where the DAG's timetable knows its keys, else by the run's first task."""
    mutations, refusal = land.mutations(), "partition key 'tonight': is no night and cluster. Write one like 20"

    with pytest.raises(AirflowError, match=refusal):
        land.airflow.trigger(CHECK, partition_key="tonight")
    run = land.airflow.trigger(ROTATE, partition_key="tonight")

    assert land.airflow.wait_run(ROTATE, run, 120) == "failed"
    assert refusal in land.airflow.log(ROTATE, run, "request")
    assert land.mutations() == mutations


def test_the_sweep_cleans_up_after_a_laptop_that_died(land: Land, before: residue.Aws) -> None:
    land.publish("base-4")
    env = {
        **land.ground.env,
        "HOME": str(land.reports.parent),
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT / "include"),
        "KUBECONFIG": str(land.ground.kubeconfig("dev")),
        "NODE_ROTATION_FLEET": str(land.reports.parent / "fleet.yaml"),
    }
    rotate = ["rotate", "dev.dev", "--group", "batch", "--set", "lock_duration=6s"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    laptop = subprocess.Popen([sys.executable, "-m", "node_rotation.cli", *rotate], env=env, **quiet)
    try:
        eventually("a machine is on its way", lambda: any("orphan" in left for left in land.left(before)))
    finally:
        laptop.kill()
        laptop.wait(timeout=30)
    leases = client.CoordinationV1Api(land.core.api_client)

    def silent_s() -> float:
        renewed = leases.read_namespaced_lease("node-rotation", "kube-system").spec.renew_time
        return (datetime.now(UTC) - renewed).total_seconds()

    eventually("its lock has expired", lambda: silent_s() > 2 * 6)
    assert land.left(before) != []

    land.airflow.api("PATCH", f"/dags/{SWEEP}", json={"is_paused": False})  # the last full hour's run begins by itself

    eventually("it has swept", lambda: any(r["state"] == "success" for r in land.airflow.runs(SWEEP)))
    assert {r["state"] for r in land.airflow.runs(SWEEP)} == {"success"}
    assert land.left(before) == []
    assert len(land.machines("dev-batch")) == 1


def _ended(land: Land) -> int:
    runs: list[dict[str, Any]] = land.airflow.runs(CHECK)
    return sum(r["state"] in ("success", "failed") for r in runs)


def _fill_in(person: Browser, mode: str, group: str) -> None:
    person.choose("cluster", "dev.dev")
    person.choose("groups", group)
    person.choose("mode", mode)


def _launching(land: Land, image: str) -> str:
    """A run towards a new image that waits for its first machine to boot."""
    land.publish(image)
    run = land.run({"cluster": "dev.dev", "groups": ["batch"], "mode": "rotate"})
    eventually("a launch waits", lambda: _has(land, run, "batch.launch", "deferred"))
    return run


def _new(land: Land, known: set[str]) -> str:
    eventually("a new run", lambda: set(land.rotations()) - known)
    (run,) = set(land.rotations()) - known
    return run


def _batches(land: Land, run: str) -> list[str]:
    path = f"/dags/{ROTATE}/dagRuns/{run}/taskInstances/plan/xcomEntries/rotation"
    value = land.airflow.api("GET", path, params={"deserialize": "true"})["value"]
    return [batch["name"] for batch in value["plan"]["batches"]]


def _has(land: Land, run: str, task: str, *states: str) -> list[int]:
    """The instances of a task that are in one of these states."""
    return [index for index, state in land.states(run, task).items() if state in states]
