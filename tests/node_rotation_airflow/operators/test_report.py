"""The report of a run: why it failed, what was put back, who began, in the words of the command line."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from tests.node_rotation.crashes import dies_at_the_last, run_for
from tests.node_rotation.steps.test_image_step import bad_image
from tests.node_rotation_airflow.operators.rotating import DETACH, STEPS, admitted, fails, planned, reported, told

from node_rotation import engine
from node_rotation.outcome import Blocked, Done
from node_rotation.report import report
from node_rotation.steps.prepare import prepare
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow import deeds
from node_rotation_airflow.documents import Cause
from node_rotation_airflow.operators.report import ReportOperator
from node_rotation_airflow.operators.step import PrepareOperator, RestoreOperator
from node_rotation_airflow.operators.verify import VerifyOperator


def test_the_report_has_the_timeline_and_a_page(airflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_ROTATION_REPORTS", str(tmp_path))
    world = MemoryWorld.simple(machines=1)
    run, batches = planned(airflow, world)
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    admitted(run, batches[0], 0)
    spans = []
    for step in STEPS:
        done = run.run(step(task_id=f"batch.{step.deed}", spec=batches[0]), 0)
        spans.append(done if isinstance(done, dict) else done.xcoms["return_value"])
    run.states["batch.health_gate_0"] = "success"
    run.pulled = spans

    page = run.run(ReportOperator(task_id="report"))
    value = json.loads(Path(page).with_suffix(".json").read_text())

    assert value["passed"] == ["workers/1"]
    assert [span["step"] for span in value["timeline"]] == [step.deed for step in STEPS]
    assert "<svg" in Path(page).read_text()


BAD_IMAGES = {
    "somebody else's template": {},
    "our template": {"image_step": "launch_template"},
}


@pytest.mark.parametrize("policy", BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_the_report_says_why_a_batch_failed_and_what_was_put_back_in_the_words_of_the_command_line(
    airflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: dict[str, str]
) -> None:
    ours = bool(policy)

    def bad() -> MemoryWorld:
        return bad_image("$Default")[0] if ours else MemoryWorld.simple(machines=2, behaviour="never-joins")

    policy = {**DETACH, "launch_timeout": "2m", **policy}
    outside = run_for(bad(), **policy)
    expected = json.loads(json.dumps(report(outside.plan, engine.rotate(outside))))
    run, batches = planned(airflow, bad(), **policy)
    fails(run, batches)

    value, page = told(run, tmp_path, monkeypatch)

    ((why,), (same,)) = value["failed"], expected["failed"]
    assert (why, value["put_back"]) == (same, expected["put_back"])
    assert "has not joined the cluster" in why["reason"]
    assert why["objects"]
    assert why["remedy"] in html.unescape(page)
    assert why["image_fault"]
    assert [line for line in value["put_back"] if " is back in group dev-workers" in line]
    assert bool([line for line in value["put_back"] if "launches its former image again" in line]) is ours


def test_each_batch_has_its_own_cause_and_one_that_never_began_was_skipped(
    airflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = planned(airflow, MemoryWorld.simple(machines=4))
    for index, step in ((0, "drain"), (1, "health_gate")):
        cause = Cause(reason=f"{step} of {index} failed", objects=(f"node {index}",), remedy="Look.")
        run.mapped[f"batch.{step}", "cause", index] = cause.dump()
        run.states |= {f"batch.{step}_{index}": "failed", f"batch.health_gate_{index}": "failed"}
    run.states |= {"batch.launch_2": "failed", "batch.health_gate_2": "upstream_failed"}
    never = ("admit", "launch", "cordon", "drain", "terminate", "health_gate")
    run.states |= {f"batch.{step}_3": "upstream_failed" for step in never}

    value, page = told(run, tmp_path, monkeypatch)

    said = [(one["batch"], one["reason"], one["objects"]) for one in value["failed"]]
    assert said == [
        ("workers/1", "drain of 0 failed", ["node 0"]),
        ("workers/2", "health_gate of 1 failed", ["node 1"]),
        ("workers/3", "its gate is upstream_failed", ["task batch.launch_2"]),
    ]
    assert "Read the log of the task that failed" in page
    assert value["skipped"] == ["workers/4"]


def test_a_group_that_could_not_be_prepared_is_why_the_run_stopped(
    airflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = planned(airflow, MemoryWorld.simple(machines=1))
    blocked = Blocked("Launch of dev-workers is suspended", ("asg dev-workers",), "Resume it.")
    deed = deeds.Deed(lambda of, group, left_s: blocked, lambda of, group: 60.0)
    monkeypatch.setattr(deeds, "DEEDS", {"prepare": deed})
    with pytest.raises(AirflowFailException):
        run.run(PrepareOperator(task_id="prepare", group="workers"), 0)

    value, page = told(run, tmp_path, monkeypatch)

    assert Cause.read(value["blocked"]).blocked() == blocked
    assert "Launch of dev-workers is suspended. Resume it." in page


def test_a_run_that_nobody_verified_is_not_reported_well(
    airflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = planned(airflow, MemoryWorld.simple(machines=1))
    run.states |= {"batch.health_gate_0": "success", "verify": "failed"}
    value = reported(run, tmp_path, monkeypatch)
    assert not value["ok"]
    assert "verify did not come to its end" in value["blocked"]["reason"]


def test_a_task_that_failed_is_a_problem_in_the_report(
    airflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = planned(airflow, MemoryWorld.simple(machines=1))
    run.states |= {"batch.health_gate_0": "success", "restore_0": "failed", "verify": "failed"}
    run.xcoms["verify", "verdict"] = {"drift": [], "orphans": [], "residue": [], "problems": [], "tasks": ["restore_0"]}
    value = reported(run, tmp_path, monkeypatch)
    assert not value["ok"]
    assert value["verdict"]["problems"] == ["task restore_0 failed"]


@pytest.mark.parametrize("state", ["removed", "running", "skipped", None])
def test_a_batch_whose_gate_did_not_end_was_skipped(
    airflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str | None
) -> None:
    run, _ = planned(airflow, MemoryWorld.simple(machines=1))
    run.states |= {"batch.health_gate_0": state, "verify": "success"}
    run.xcoms["verify", "verdict"] = {"drift": [], "orphans": [], "residue": [], "problems": [], "tasks": []}
    value = reported(run, tmp_path, monkeypatch)
    assert (value["ok"], value["skipped"]) == (False, ["workers/1"])


def test_a_batch_that_passed_before_the_run_was_marked_failed_has_passed(
    airflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow marks all batches' gates while one of them waits; what a gate that passed has left stays."""
    run, batches = planned(airflow, MemoryWorld.simple(machines=2))
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    admitted(run, batches[0], 0)
    for step in STEPS:
        run.run(step(task_id=f"batch.{step.deed}", spec=batches[0]), 0)
    for index in (0, 1):
        run.states |= {f"batch.{step.deed}_{index}": "success" for step in STEPS}
        run.states[f"batch.health_gate_{index}"] = "failed"

    value, page = told(run, tmp_path, monkeypatch)

    assert value["passed"] == ["workers/1"]
    assert [(one["batch"], one["reason"]) for one in value["failed"]] == [("workers/2", "its gate is failed")]
    assert "workers/1: its gate" not in page


def test_what_the_window_closed_on_fails_the_run_says_so_and_is_in_the_report(
    airflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE_ROTATION_REPORTS", str(tmp_path))
    run, batches = planned(airflow, MemoryWorld.simple(machines=1), windows=[{"from": "12:00", "to": "13:00"}])
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    with pytest.raises(AirflowSkipException):
        admitted(run, batches[0], 0)
    run.states |= {"batch.admit_0": "skipped", "batch.health_gate_0": "skipped"}
    run.run(RestoreOperator(task_id="restore", group="workers"), 0)

    with pytest.raises(AirflowFailException, match="not finished: the maintenance window is closed.* 1 batches are"):
        run.run(VerifyOperator(task_id="verify"))

    page = run.run(ReportOperator(task_id="report"))
    value = json.loads(Path(page).with_suffix(".json").read_text())
    assert [left["batch"] for left in value["postponed"]] == ["workers/1"]
    assert (value["skipped"], value["verdict"]["residue"]) == ([], [])
    assert "the rest is left to a run to come" in Path(page).read_text()


def test_a_dead_run_is_cleaned_up_after_and_the_report_says_who_began(
    airflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE_ROTATION_REPORTS", str(tmp_path))
    world = MemoryWorld.simple(machines=1)
    dead = run_for(world, "cli-20261109T020000-4f2a-alice@laptop")
    assert isinstance(prepare(dead, "workers"), Done)
    world.clock.wait(dead.settings.policy.lock_duration * 2)

    run, _ = planned(airflow, world)
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)

    page = run.run(ReportOperator(task_id="report"))
    value = json.loads(Path(page).with_suffix(".json").read_text())
    assert value["took_up"] == {"run": dead.id, "place": "command line", "who": "alice@laptop"}
    assert "what alice@laptop began (command line" in Path(page).read_text()


def test_a_dead_run_is_cleaned_up_after_also_where_nothing_is_left_to_rotate(
    airflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE_ROTATION_REPORTS", str(tmp_path))
    world = MemoryWorld.simple(machines=1)
    dead = run_for(world, "cli-20261109T020000-4f2a-alice@laptop")
    dies_at_the_last(dead, world)
    world.clock.wait(dead.settings.policy.lock_duration * 2)

    run, batches = planned(airflow, world)
    run.run(VerifyOperator(task_id="verify"))

    page = run.run(ReportOperator(task_id="report"))
    value = json.loads(Path(page).with_suffix(".json").read_text())
    assert (batches, world.residue()) == ([], ())
    assert value["took_up"] == {"run": dead.id, "place": "command line", "who": "alice@laptop"}
