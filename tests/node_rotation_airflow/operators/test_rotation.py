"""A rotation told task by task, on a world in memory: what each operator does, defers for, and says when it fails."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred
from tests.node_rotation.crashes import dies_at_the_last, run_for
from tests.node_rotation.steps.test_image_step import bad_image

from node_rotation import detect as detecting
from node_rotation import engine, lock
from node_rotation.errors import PermanentError, TransientError
from node_rotation.model import Role, Strategy
from node_rotation.outcome import REFUSED_CALL, Blocked, Done, Waiting, too_long
from node_rotation.report import report
from node_rotation.steps.prepare import prepare
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow import deeds
from node_rotation_airflow.documents import Cause, Request, Rotation
from node_rotation_airflow.operators.admit import AdmitOperator
from node_rotation_airflow.operators.detect import DetectOperator
from node_rotation_airflow.operators.heal import HealOperator, needs_healing
from node_rotation_airflow.operators.plan import OpenOperator, PlanOperator
from node_rotation_airflow.operators.report import ReportOperator
from node_rotation_airflow.operators.step import (
    CordonOperator,
    DrainOperator,
    HealthGateOperator,
    LaunchOperator,
    PrepareOperator,
    RestoreOperator,
    TerminateOperator,
)
from node_rotation_airflow.operators.verify import VerifyOperator, bad_tasks
from node_rotation_airflow.runs import open_run

DETACH = {"strategy": "detach", "image": {"ssm": "/images/base/current"}}
STEPS = (LaunchOperator, CordonOperator, DrainOperator, TerminateOperator, HealthGateOperator)


def planned(airflow: Any, world: MemoryWorld, **policy: Any) -> tuple[Any, list[dict[str, str]]]:
    run = airflow(world)
    request = Request(settings=world.settings(**{**DETACH, **policy}), groups=("workers",))
    run.xcoms["request", "request"] = request.dump()
    drift = run.run(DetectOperator(task_id="detect", group="workers"), 0)
    return run, run.run(PlanOperator(task_id="plan", drifts=[drift]))


def test_who_detects_and_plans_has_clients_that_can_not_change_anything(
    airflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    observe = detecting.observe

    def remember(settings: Any, cloud: Any, cluster: Any, clock: Any) -> Any:
        seen.append((cloud, cluster))
        return observe(settings, cloud, cluster, clock)

    monkeypatch.setattr(detecting, "observe", remember)
    planned(airflow, MemoryWorld.simple(machines=1))

    assert len(seen) == 2
    for cloud, cluster in seen:
        with pytest.raises(PermanentError, match="read-only"):
            cloud.terminate(["i-1"])
        with pytest.raises(PermanentError, match="read-only"):
            cluster.cordon("node", "uid")


def admitted(run: Any, batch: dict[str, str], index: int) -> Any:
    operator = AdmitOperator(task_id="batch.admit", spec=batch, gate_task_id="batch.health_gate")
    return run.run(operator, index)


def test_every_machine_is_replaced_and_nothing_is_left(airflow: Any) -> None:
    world = MemoryWorld.simple(machines=3)
    run, batches = planned(airflow, world)

    assert run.run(OpenOperator(task_id="opened", batches=batches)) == ["workers"]
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    for index, batch in enumerate(batches):
        admitted(run, batch, index)
        for step in STEPS:
            run.run(step(task_id=f"batch.{step.deed}", spec=batch), index)
    run.run(RestoreOperator(task_id="restore", group="workers"), 0)
    run.run(VerifyOperator(task_id="verify"))

    assert [batch["name"] for batch in batches] == ["workers/1", "workers/2", "workers/3"]
    assert (world.on_image("base-old"), world.orphans(), world.residue()) == ((), (), ())
    assert not any(run.xcoms["verify", "verdict"].values())


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


def reported(run: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("NODE_ROTATION_REPORTS", str(folder))
    run.pulled = []
    page = run.run(ReportOperator(task_id="report"))
    return json.loads(Path(page).with_suffix(".json").read_text())


def fails(run: Any, batches: list[dict[str, str]]) -> None:
    """A first batch whose launch fails, healed."""
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    admitted(run, batches[0], 0)
    with pytest.raises(AirflowFailException):
        run.run(LaunchOperator(task_id="batch.launch", spec=batches[0]), 0)
    run.states |= {"batch.admit_0": "success", "batch.launch_0": "failed", "batch.health_gate_0": "upstream_failed"}
    run.run(HealOperator(task_id="batch.heal", spec=batches[0], step_task_ids=["batch.launch"]), 0)


def told(run: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, str]:
    """The report, and its page."""
    monkeypatch.setenv("NODE_ROTATION_REPORTS", str(folder))
    spans = {task: value for (task, key, _), value in run.mapped.items() if key == "return_value"}
    run.pulled = [value for task, value in spans.items() if task.startswith("batch.") and value]
    page = Path(run.run(ReportOperator(task_id="report")))
    return json.loads(page.with_suffix(".json").read_text()), page.read_text()


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


@pytest.mark.parametrize("waits", [True, False], ids=["in the triggerer", "in a worker"])
def test_a_call_that_was_wrong_is_the_cause_wherever_it_was_made(
    airflow: Any, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    run, batches = planned(airflow, MemoryWorld.simple(machines=1))

    def wrong(of: Any, subject: str, left_s: float) -> Any:
        raise PermanentError("AccessDenied: not you")

    deed = deeds.Deed(wrong, lambda of, subject: 60.0, lambda of, subject: waits)
    monkeypatch.setattr(deeds, "DEEDS", {"launch": deed})
    with pytest.raises(AirflowFailException, match="launch of workers/1: AccessDenied: not you"):
        run.run(LaunchOperator(task_id="batch.launch", spec=batches[0]), 0)

    cause = Cause.read(run.mapped["batch.launch", "cause", 0]).blocked()
    assert cause == Blocked("AccessDenied: not you", ("batch workers/1",), REFUSED_CALL)


def test_what_ran_out_of_time_is_said_as_on_the_command_line(airflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run, batches = planned(airflow, MemoryWorld.simple(machines=1))
    deed = deeds.Deed(lambda of, subject, left_s: Waiting(("pod shop/a",)), lambda of, subject: 60.0)
    monkeypatch.setattr(deeds, "DEEDS", {"drain": deed})
    with pytest.raises(AirflowFailException, match="ran out of time; it waited for pod shop/a .since"):
        run.run(DrainOperator(task_id="batch.drain", spec=batches[0]), 0)

    cause = Cause.read(run.mapped["batch.drain", "cause", 0]).blocked()
    assert cause == too_long("drain", "batch workers/1", ["pod shop/a"])


def test_events_of_a_triggerer_of_an_earlier_version_are_understood(airflow: Any) -> None:
    run, batches = planned(airflow, MemoryWorld.simple(machines=1))
    drain, context = DrainOperator(task_id="batch.drain", spec=batches[0]), run.context("batch.drain", 0)
    for event in (
        {"status": "failed", "reason": "a budget (pdb shop/a). Remedy: Wait.", "image_fault": True},
        {"status": "deadline", "reason": "pod shop/a (since 02:00:00 UTC)"},
    ):
        with pytest.raises(AirflowFailException, match="shop/a"):
            drain.resumed(context, event, "workers/1")
        assert "shop/a" in run.mapped["batch.drain", "cause", 0]["reason"]


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


def test_only_a_plan_touches_nothing_and_opens_nothing(airflow: Any) -> None:
    world = MemoryWorld.simple(machines=2)
    run, batches = planned(airflow, world, mode="plan")

    assert batches == []
    assert run.xcoms["plan", "rotation"]["plan"]["batches"]
    with pytest.raises(AirflowSkipException):
        run.run(OpenOperator(task_id="opened", batches=batches))
    with pytest.raises(AirflowSkipException):
        run.run(VerifyOperator(task_id="verify"))
    assert world.mutations == []


def test_what_has_to_wait_in_any_case_takes_no_worker_for_a_first_try(airflow: Any) -> None:
    world = MemoryWorld.simple(machines=1)
    run, batches = planned(airflow, world, canary=False)
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    admitted(run, batches[0], 0)
    world.journal.calls.clear()
    for step in (LaunchOperator, DrainOperator, HealthGateOperator):
        with pytest.raises(TaskDeferred):
            step(task_id=f"batch.{step.deed}", spec=batches[0]).execute(run.context(f"batch.{step.deed}", 0))
    assert not world.journal.calls


def test_a_canarys_machine_boots_before_the_triggerer_is_asked(airflow: Any) -> None:
    world = MemoryWorld.simple(machines=2, boot=30.0)
    run, batches = planned(airflow, world, canary=True)
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    admitted(run, batches[0], 0)
    before = len(world.mutations)
    with pytest.raises(TaskDeferred):
        LaunchOperator(task_id="batch.launch", spec=batches[0]).execute(run.context("batch.launch", 0))
    assert len(world.mutations) > before


def test_a_master_has_no_pods_to_wait_for_so_its_drain_is_tried_at_once(airflow: Any) -> None:
    world = MemoryWorld.simple(machines=1)
    run, _ = planned(airflow, world)
    opened = open_run("manual__1", Rotation.read(run.xcoms["plan", "rotation"]))
    master = opened.plan.groups[0].model_copy(update={"role": Role.CONTROL_PLANE, "strategy": Strategy.TERMINATE_FIRST})
    masters = replace(opened, plan=opened.plan.model_copy(update={"groups": (master,)}))
    tried = {step.deed: not deeds.DEEDS[step.deed].waits(masters, "workers/1") for step in STEPS}
    assert tried == {"launch": True, "cordon": True, "drain": True, "terminate": True, "health_gate": False}


def test_a_step_that_waits_defers_with_a_deadline_that_a_retry_does_not_extend(airflow: Any) -> None:
    world = MemoryWorld.simple(machines=2, boot=30.0)
    run, batches = planned(airflow, world, launch_timeout="5m")
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    admitted(run, batches[0], 0)
    launch = LaunchOperator(task_id="batch.launch", spec=batches[0])

    def deadline() -> float:
        with pytest.raises(TaskDeferred) as deferred:
            launch.execute(run.context("batch.launch", 0))
        return float(deferred.value.trigger.deadline)

    first = deadline()
    world.clock.wait(5)
    assert deadline() == first
    run.max_tries = 7  # as Airflow does when the task is cleared
    assert deadline() == first + 5


def test_a_machine_that_never_joins_fails_the_launch_and_heal_takes_it_back(airflow: Any) -> None:
    world = MemoryWorld.simple(machines=2, behaviour="never-joins")
    run, batches = planned(airflow, world, launch_timeout="2m")
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    admitted(run, batches[0], 0)

    with pytest.raises(AirflowFailException, match="launch of workers/1"):
        run.run(LaunchOperator(task_id="batch.launch", spec=batches[0]), 0)
    heal = HealOperator(task_id="batch.heal", spec=batches[0], step_task_ids=["batch.launch"])
    run.states |= {"batch.launch_0": "failed", "batch.drain_1": "success"}
    run.run(heal, 0)
    held = lock.held(open_run("manual__1", Rotation.read(run.xcoms["plan", "rotation"])))
    assert held
    claim = held.ledger.claim("workers/1")
    assert claim
    assert (claim.state, claim.image_fault) == ("healed", True)
    assert "has not joined the cluster" in claim.why
    run.run(RestoreOperator(task_id="restore", group="workers"), 0)

    assert len(world.on_image("base-old")) == 2
    assert (world.orphans(), world.residue()) == ((), ())
    with pytest.raises(AirflowFailException, match="drift"):
        run.run(VerifyOperator(task_id="verify"))
    assert run.xcoms["verify", "verdict"]["tasks"] == ["batch.launch_0"]


def insisting(run: Any, operator: Any, index: int = -1) -> Any:
    """Run a task as Airflow does: again, after the pause its policy asks for, as often as it may."""
    for attempt in range(1, operator.retries + 2):
        try:
            return run.run(operator, index)
        except TransientError as error:
            decision = operator.retry_policy.evaluate(error, attempt, operator.retries)
            if attempt > operator.retries:
                raise
            assert decision.action is RetryAction.RETRY
            run.world.clock.wait(decision.retry_delay.total_seconds())
    return None


def away(world: MemoryWorld, minutes: float) -> None:
    """Let the API server give no answer for a while."""
    back = world.clock.now() + 60 * minutes
    world.journal.away = lambda service: "no answer" if service == "kubernetes" and world.clock.now() < back else ""


@pytest.mark.parametrize("minutes", [1, 25])
def test_an_api_server_that_is_away_is_waited_for_as_long_as_on_the_command_line(airflow: Any, minutes: float) -> None:
    world = MemoryWorld.simple(machines=1)
    run, batches = planned(airflow, world)
    away(world, minutes)
    insisting(run, PrepareOperator(task_id="prepare", group="workers"), 0)
    admitted(run, batches[0], 0)
    for step in STEPS:
        run.run(step(task_id=f"batch.{step.deed}", spec=batches[0]), 0)
    away(world, minutes)
    insisting(run, RestoreOperator(task_id="restore", group="workers"), 0)
    away(world, minutes)
    insisting(run, VerifyOperator(task_id="verify"))

    assert (world.on_image("base-old"), world.orphans(), world.residue()) == ((), (), ())


def test_the_time_in_which_nobody_answers_is_none_of_restores(airflow: Any) -> None:
    """Else it would leave the group larger at once, because pods could not leave in time."""
    world = MemoryWorld.simple(machines=2)
    run, batches = planned(airflow, world, strategy="surge")
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    admitted(run, batches[0], 0)
    run.run(LaunchOperator(task_id="batch.launch", spec=batches[0]), 0)
    away(world, 25)

    insisting(run, RestoreOperator(task_id="restore", group="workers"), 0)

    assert (world.cloud.groups(["dev-workers"])["dev-workers"].desired, world.residue()) == (2, ())


def test_the_cause_reaches_the_ledger_also_where_the_api_server_is_away_as_healing_begins(airflow: Any) -> None:
    """Without it, restore would take the batch back without a cause, and a bad image would not be frozen."""
    world = MemoryWorld.simple(machines=2, behaviour="never-joins")
    run, batches = planned(airflow, world, launch_timeout="2m")
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    admitted(run, batches[0], 0)
    with pytest.raises(AirflowFailException):
        run.run(LaunchOperator(task_id="batch.launch", spec=batches[0]), 0)
    run.states["batch.launch_0"] = "failed"
    away(world, 10)

    insisting(run, HealOperator(task_id="batch.heal", spec=batches[0], step_task_ids=["batch.launch"]), 0)

    held = lock.held(open_run("manual__1", Rotation.read(run.xcoms["plan", "rotation"])))
    assert held
    claim = held.ledger.claim("workers/1")
    assert claim
    assert (claim.state, claim.image_fault) == ("healed", True)


@pytest.mark.parametrize("states", [["success", "success"], ["skipped", "upstream_failed"]])
def test_a_batch_that_passed_or_never_began_needs_no_healing(airflow: Any, states: list[str]) -> None:
    world = MemoryWorld.simple(machines=1)
    run, batches = planned(airflow, world)
    run.states = {"batch.admit_0": states[0], "batch.launch_0": states[1], "batch.launch_1": "failed"}

    heal = HealOperator(task_id="batch.heal", spec=batches[0], step_task_ids=["batch.admit", "batch.launch"])

    assert run.run(heal, 0) is None
    assert world.mutations == []


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


def test_restore_gives_up_waiting_once_its_time_is_nearly_up(airflow: Any) -> None:
    run, batches = planned(airflow, MemoryWorld.simple(machines=2, stops_after=600.0), strategy="surge")
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    admitted(run, batches[0], 0)
    for step in (LaunchOperator, CordonOperator):
        run.run(step(task_id=f"batch.{step.deed}", spec=batches[0]), 0)
    with pytest.raises(TaskDeferred):  # pods that take ten minutes to stop
        DrainOperator(task_id="batch.drain", spec=batches[0]).execute(run.context("batch.drain", 0))
    rotation = open_run("manual__1", Rotation.read(run.xcoms["plan", "rotation"]))

    assert isinstance(deeds.attempt("restore", rotation, "workers", 1800.0), Waiting)
    assert isinstance(deeds.attempt("restore", rotation, "workers", 30.0), Done)


def test_verify_restores_what_the_run_still_holds(airflow: Any) -> None:
    world = MemoryWorld.simple(machines=2)
    run, _ = planned(airflow, world)
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)

    with pytest.raises(AirflowFailException, match="drift"):
        run.run(VerifyOperator(task_id="verify"))

    assert world.residue() == ()


def test_verify_fails_without_a_plan_and_says_where_to_look(airflow: Any) -> None:
    run = airflow(MemoryWorld.simple(machines=1))

    with pytest.raises(AirflowFailException, match="no plan: see the log of plan"):
        run.run(VerifyOperator(task_id="verify"))


MARKED = {
    "while it asks for approval": {"approve": "failed", "wait": "skipped"},
    "before it asks": {"approve": "skipped", "wait": "skipped"},
}


@pytest.mark.parametrize("states", MARKED.values(), ids=MARKED)
def test_a_run_that_was_marked_failed_before_it_began_fails_by_name_and_touches_nothing(
    airflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, states: dict[str, str]
) -> None:
    world = MemoryWorld.simple(machines=2)
    run, _ = planned(airflow, world, approval={"required": True})
    run.states |= states

    with pytest.raises(AirflowFailException, match="not as planned. drift: "):
        run.run(VerifyOperator(task_id="verify"))

    assert run.xcoms["verify", "verdict"]["tasks"] == [name for name, state in states.items() if state == "failed"]
    assert world.mutations == []
    run.states["verify"] = "failed"
    value = reported(run, tmp_path, monkeypatch)
    assert (value["ok"], value["not_begun"], value["skipped"]) == (False, None, ["workers/1", "workers/2"])


def test_a_run_that_was_rejected_once_and_marked_failed_when_it_was_asked_again_was_not_rejected(airflow: Any) -> None:
    run, _ = planned(airflow, MemoryWorld.simple(machines=1), approval={"required": True})
    run.xcoms["wait", "ended"] = "superseded: run scheduled__2 is newer and does the same"
    run.states |= MARKED["while it asks for approval"]

    with pytest.raises(AirflowFailException, match="tasks: approve"):
        run.run(VerifyOperator(task_id="verify"))


def test_a_failed_heal_alone_is_no_bad_task() -> None:
    states = {"batch.heal_1": "failed", "batch.drain_1": "failed", "restore_0": "success", "report": None}

    assert bad_tasks(states) == ["batch.drain_1"]
