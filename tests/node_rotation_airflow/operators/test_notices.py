"""Who the policy names is told when it happens, once, by tasks that no receiver can fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput
from tests.node_rotation.clients.silent import silent_server
from tests.node_rotation.receiver import SECRET, Receiver, receiving
from tests.node_rotation_airflow.conftest import new_process
from tests.node_rotation_airflow.operators.rotating import fails, planned
from tests.node_rotation_airflow.operators.test_approve import answered, asked

from node_rotation.errors import BlockedError
from node_rotation.outcome import Blocked
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow import runs
from node_rotation_airflow.documents import Cause
from node_rotation_airflow.operators.admit import AdmitOperator
from node_rotation_airflow.operators.approve import ApprovePlanOperator
from node_rotation_airflow.operators.heal import HealOperator
from node_rotation_airflow.operators.report import ReportOperator
from node_rotation_airflow.operators.step import PrepareOperator

__all__ = ["asked"]
OUTSIDE = runs.outside
NOTIFY = [{"http": {"connection": "chat", "request_timeout": "2s"}}]
PAGE = "https://airflow.example/dags/rotate_nodes/runs/manual__1"
Planned = Callable[..., tuple[Any, list[dict[str, str]]]]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as told:
        monkeypatch.setenv("AIRFLOW_CONN_CHAT", json.dumps({"conn_type": "http", "host": told.url}))
        yield told


@pytest.fixture
def run_of(airflow: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Planned:
    """A planned run on a world in memory; its messages go over HTTP."""
    monkeypatch.setenv("NODE_ROTATION_REPORTS", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example/")

    def make(world: MemoryWorld, **policy: Any) -> tuple[Any, list[dict[str, str]]]:
        made = planned(airflow, world, **{"notify": NOTIFY, "launch_timeout": "2m", **policy})
        monkeypatch.setattr(runs, "outside", OUTSIDE)
        return made

    return make


def approve(run: Any, batches: list[dict[str, str]]) -> None:
    context = run.context("approve")
    context["ti"].id = uuid4()
    with pytest.raises(TaskAwaitingInput):
        ApprovePlanOperator(task_id="approve", batches=batches).execute(context)


def report(run: Any) -> tuple[Any, str]:
    """What the report says, and its page."""
    page = Path(run.run(ReportOperator(task_id="report")))
    return json.loads(page.with_suffix(".json").read_text()), page.read_text()


def refuse_the_role(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on STS gives no role to who opens the run."""

    def connect(settings: Any) -> Any:
        raise BlockedError(Blocked("not allowed: sts:AssumeRole", ("connection aws_dev",), "Allow it."))

    new_process(monkeypatch)
    monkeypatch.setattr(runs, "connect", connect)


@pytest.mark.usefixtures("asked")
def test_a_plan_that_waits_is_told_once_with_the_runs_page_however_often_its_task_begins(
    run_of: Planned, receiver: Receiver
) -> None:
    run, batches = run_of(MemoryWorld.simple(2), approval={"required": True})

    approve(run, batches)
    approve(run, batches)  # retried
    run.max_tries += 4
    approve(run, batches)  # cleared

    ((path, body),) = receiver.got
    assert path == SECRET
    assert (body["kind"], body["cluster"], body["run"], body["url"]) == ("approval", "dev.dev", "manual__1", PAGE)
    assert body["text"].endswith(PAGE)
    assert "2 machines wait for approval" in body["text"]


@pytest.mark.usefixtures("asked")
def test_a_message_that_is_refused_keeps_nobody_from_being_asked_and_is_in_the_report(
    run_of: Planned, receiver: Receiver
) -> None:
    run, batches = run_of(MemoryWorld.simple(2), approval={"required": True})
    receiver.status = 503

    approve(run, batches)
    value, page = report(run)

    kinds = [line.split()[1] for line in value["unsent"]]
    assert kinds == ["approval", "failed"]
    assert all("to chat was not sent: POST http://127.0.0.1:" in line for line in value["unsent"])
    assert all(line.split(": ", 1)[0] in page for line in value["unsent"])
    assert "hidden" not in page


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("connection", [None, {"conn_type": "http"}])
def test_a_connection_that_is_not_there_or_says_nothing_is_in_the_report(
    run_of: Planned, comms: Any, monkeypatch: pytest.MonkeyPatch, connection: dict[str, str] | None
) -> None:
    from airflow.sdk.exceptions import ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse

    comms.answers["GetConnection"] = lambda _: ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND)
    if connection:
        monkeypatch.setenv("AIRFLOW_CONN_CHAT", json.dumps(connection))
    run, batches = run_of(MemoryWorld.simple(2), approval={"required": True})

    approve(run, batches)

    said = run.xcoms["approve", "unsent_approval"]["lines"][0]
    assert ("has no host" if connection else "there is no connection chat") in said


@pytest.mark.parametrize("detach", [0.3, 200.0], ids=["healed in the worker", "healed in the triggerer"])
def test_a_failed_batch_and_its_frozen_image_are_told_by_its_heal_and_not_again(
    run_of: Planned, receiver: Receiver, detach: float
) -> None:
    run, batches = run_of(MemoryWorld.simple(2, behaviour="never-joins", detach=detach))

    fails(run, batches)

    assert receiver.kinds == ["batch_failed", "frozen"]
    failed, frozen = receiver.bodies
    assert "has not joined the cluster" in failed["text"]
    assert "batch workers/1" in failed["objects"]
    assert run.world.image_id("base-new") in frozen["text"]
    assert run.mapped["batch.heal", "return_value", 0]["deed"] == "heal"

    run.max_tries += 4
    run.run(HealOperator(task_id="batch.heal", spec=batches[0], step_task_ids=["batch.launch"]), 0)
    assert len(receiver.got) == 2

    report(run)
    _, page = report(run)
    assert receiver.kinds == ["batch_failed", "frozen", "failed"]
    end = receiver.bodies[-1]
    assert Path(end["report"]).read_text() == page
    assert "is frozen" in str(end["what"])
    assert end["remedy"]


def test_a_role_that_is_refused_keeps_nobody_from_the_report_and_its_notice(
    run_of: Planned, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = run_of(MemoryWorld.simple(2))
    unseen = "what run manual__1 has left can't be seen: not allowed: sts:AssumeRole"
    run.xcoms["verify", "verdict"] = {"drift": [], "orphans": [], "residue": [], "problems": [unseen], "tasks": []}
    refuse_the_role(monkeypatch)

    value, page = report(run)

    assert value["verdict"]["problems"] == [unseen]
    assert "sts:AssumeRole" in page
    assert receiver.kinds == ["failed"]


def test_a_batch_that_is_healed_stays_so_where_the_role_is_refused_just_then(
    run_of: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, batches = run_of(MemoryWorld.simple(2))
    run.mapped["batch.launch", "cause", 0] = {"reason": "it never joined", "objects": [], "remedy": ""}
    span = {"subject": "workers/1", "deed": "heal", "began": 1.0, "ended": 2.0, "put_back": ["asg dev-workers"]}
    refuse_the_role(monkeypatch)

    heal = HealOperator(task_id="batch.heal", spec=batches[0], step_task_ids=["batch.launch"])
    ended = heal.resumed(run.context("batch.heal", 0), {"status": "done", "span": span}, "workers/1")

    assert ended == span


STEPS = ("launch", "cordon", "drain", "terminate", "health_gate")
ENDS = {
    "the run was marked failed": (None, "skipped"),
    "on_failure is fail": (Cause(reason="workers/1 did not pass its gate"), "upstream_failed"),
}


@pytest.mark.parametrize(("cause", "others"), ENDS.values(), ids=ENDS)
def test_a_batch_that_never_began_did_not_fail_and_nobody_is_told_that_it_did(
    run_of: Planned, receiver: Receiver, cause: Cause | None, others: str
) -> None:
    run, batches = run_of(MemoryWorld.simple(2))
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    run.run(AdmitOperator(task_id="batch.admit", spec=batches[0], gate_task_id="batch.health_gate"), 0)
    run.states |= {"batch.admit_0": "success", "batch.launch_0": "failed"}
    run.states |= {"batch.admit_1": "failed", **{f"batch.{step}_1": others for step in STEPS}}
    if cause:
        run.mapped["batch.admit", "cause", 1] = cause.dump()

    for index, batch in enumerate(batches):
        steps = [f"batch.{step}" for step in ("admit", *STEPS)]
        run.run(HealOperator(task_id="batch.heal", spec=batch, step_task_ids=steps), index)

    assert [body["objects"] for body in receiver.bodies] == [["batch workers/1"]]


def test_a_batch_fails_and_heals_as_well_with_a_receiver_that_never_answers(
    run_of: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    with silent_server() as (url, callers):
        monkeypatch.setenv("AIRFLOW_CONN_CHAT", json.dumps({"conn_type": "http", "host": url}))
        notify = [{"http": {"connection": "chat", "request_timeout": "0.2s"}}]
        run, batches = run_of(MemoryWorld.simple(2, behaviour="never-joins"), notify=notify)
        fails(run, batches)
        value, _ = report(run)
        assert callers() == 3
    assert [line.split()[1] for line in value["unsent"]] == ["batch_failed", "frozen", "failed"]
    assert all("no answer" in line for line in value["unsent"])
    assert run.world.orphans() == ()


def test_a_batch_that_passed_tells_nothing_and_a_good_end_is_told_once(run_of: Planned, receiver: Receiver) -> None:
    run, batches = run_of(MemoryWorld.simple(1))
    steps = ["admit", "launch", "cordon", "drain", "terminate", "health_gate"]
    run.states |= {f"batch.{step}_0": "success" for step in steps}
    run.xcoms["verify", "verdict"] = {"drift": [], "orphans": [], "residue": [], "problems": [], "tasks": []}

    run.run(HealOperator(task_id="batch.heal", spec=batches[0], step_task_ids=["batch.launch"]), 0)
    value, _ = report(run)
    report(run)

    (body,) = receiver.bodies
    assert (value["ok"], body["kind"], body["what"]) == (True, "ok", ["1 machines replaced"])


def test_the_end_is_told_and_measured_also_where_its_report_can_not_be_written(
    run_of: Planned, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder lies in a checkout that workers may only read, say."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("NODE_ROTATION_REPORTS", str(tmp_path / "file" / "runs"))
    measured: list[Any] = []
    monkeypatch.setattr("node_rotation_airflow.metrics.send", lambda figures, log: measured.append(figures))
    run, _ = run_of(MemoryWorld.simple(1))
    measured.clear()  # the drift

    for _ in range(2):  # retried
        with pytest.raises(RuntimeError, match=r"could not be written: .*NODE_ROTATION_REPORTS, then clear this task"):
            run.run(ReportOperator(task_id="report"))

    (body,) = receiver.bodies
    assert (body["kind"], body["report"]) == ("failed", None)
    assert len(measured) == 2


def test_who_rejects_a_plan_has_that_told(run_of: Planned, receiver: Receiver) -> None:
    run, batches = run_of(MemoryWorld.simple(2), approval={"required": True})
    context = run.context("approve")
    with pytest.raises(AirflowSkipException):
        ApprovePlanOperator(task_id="approve", batches=batches).execute_complete(context, answered("Reject"))
    run.states["approve"] = "skipped"

    report(run)

    (body,) = receiver.bodies
    assert (body["kind"], body["what"]) == ("not_begun", ["rejected by Ada"])


def test_a_run_without_a_plan_is_told_and_one_that_only_plans_is_not(run_of: Planned, receiver: Receiver) -> None:
    run, _ = run_of(MemoryWorld.simple(2), mode="plan")
    report(run)
    assert receiver.got == []

    del run.xcoms["plan", "rotation"]
    assert run.run(ReportOperator(task_id="report")) is None
    assert receiver.kinds == ["failed"]
    assert "there is no plan" in receiver.bodies[0]["text"]
