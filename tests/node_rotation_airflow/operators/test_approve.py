"""Approval: no question where none is needed; rejected or not answered, the run ends with nothing touched."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskAwaitingInput

from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow.documents import Request
from node_rotation_airflow.operators.approve import ApprovePlanOperator
from node_rotation_airflow.operators.detect import DetectOperator
from node_rotation_airflow.operators.plan import PlanOperator
from node_rotation_airflow.operators.report import ReportOperator
from node_rotation_airflow.operators.verify import VerifyOperator

AT = datetime(2026, 11, 9, 2, 30, tzinfo=UTC)


@pytest.fixture
def asked(comms: Any) -> list[Any]:
    """What Airflow was told to ask; it answers with what it shows: the first question of a task, for good."""
    questions: list[Any] = []

    def put(question: Any) -> Any:
        questions.append(question)
        return questions[0]

    comms.answers["CreateHITLDetailPayload"] = put
    return questions


def approving(airflow: Any, **approval: Any) -> tuple[Any, ApprovePlanOperator, Any]:
    run = airflow(MemoryWorld.simple(2))
    batches = planned(run, approval=approval)
    context = run.context("approve")
    context["ti"].id = uuid4()
    return run, ApprovePlanOperator(task_id="approve", batches=batches), context


def planned(run: Any, **policy: Any) -> Any:
    request = Request(settings=run.world.settings(**policy), groups=("workers",))
    run.xcoms["request", "request"] = request.dump()
    drift = run.run(DetectOperator(task_id="detect", group="workers"), 0)
    return run.run(PlanOperator(task_id="plan", drifts=[drift]))


def answered(option: str, by: str | None = "Ada") -> dict[str, Any]:
    user = {"id": "1", "name": by} if by else None
    return {"chosen_options": [option], "params_input": {}, "responded_at": AT, "responded_by_user": user}


def test_where_nobody_has_to_approve_nobody_is_asked(airflow: Any, asked: list[Any]) -> None:
    _, approve, context = approving(airflow)

    assert approve.execute(context) is None
    assert asked == []


def test_the_question_is_the_plan_as_a_table_and_by_default_nothing_is_done(airflow: Any, asked: list[Any]) -> None:
    _, approve, context = approving(airflow, above={"share": "10%"}, timeout="90m")

    with pytest.raises(TaskAwaitingInput) as waits:
        approve.execute(context)

    (question,) = asked
    assert question.subject == "Rotate 2 machines of dev.dev?"
    assert "| workers | worker | 2 of 2 |" in question.body
    assert "2 of 2 machines are replaced, more than 10%" in question.body
    assert question.defaults == ["Reject"]
    assert waits.value.timeout == timedelta(minutes=90)


def test_approved_the_report_says_by_whom(airflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_ROTATION_REPORTS", str(tmp_path))
    run, approve, context = approving(airflow, required=True)

    approve.execute_complete(context, answered("Approve"))
    page = run.run(ReportOperator(task_id="report"))

    value = json.loads(Path(page).with_suffix(".json").read_text())
    assert value["approval"]["by"] == "Ada"
    assert "Approved by" in Path(page).read_text()


@pytest.mark.parametrize(("by", "why"), [("Ada", "rejected by Ada"), (None, "nobody approved it in time")])
def test_rejected_or_not_answered_nothing_is_done(
    airflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str | None, why: str
) -> None:
    monkeypatch.setenv("NODE_ROTATION_REPORTS", str(tmp_path))
    run, approve, context = approving(airflow, required=True)

    with pytest.raises(AirflowSkipException, match=why):
        approve.execute_complete(context, answered("Reject", by))
    run.states["approve"] = "skipped"
    with pytest.raises(AirflowSkipException, match=why):
        run.run(VerifyOperator(task_id="verify"))
    page = run.run(ReportOperator(task_id="report"))

    value = json.loads(Path(page).with_suffix(".json").read_text())
    assert (value["ok"], value["not_begun"]) == (False, why)
    assert run.world.mutations == []


def test_cleared_it_puts_the_same_question_again(airflow: Any, asked: list[Any]) -> None:
    _, approve, context = approving(airflow, required=True)
    with pytest.raises(TaskAwaitingInput):
        approve.execute(context)

    with pytest.raises(TaskAwaitingInput):
        approve.execute(context)

    assert asked[0] == asked[1]


def test_another_plan_is_not_approved_by_the_first_ones_question(
    airflow: Any, asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planned again in the same run: Airflow goes on showing what it was told first, and nobody would know."""
    monkeypatch.setenv("NODE_ROTATION_REPORTS", str(tmp_path))
    run, approve, context = approving(airflow, required=True)
    with pytest.raises(TaskAwaitingInput):
        approve.execute(context)

    planned(run, approval={"required": True}, strategy="detach")
    with pytest.raises(AirflowFailException, match="still shows this run's first question.*Start a new run of rotate_"):
        approve.execute(context)

    run.states["approve"] = "failed"
    page = run.run(ReportOperator(task_id="report"))
    value = json.loads(Path(page).with_suffix(".json").read_text())
    assert value["blocked"]["reason"].startswith("Airflow still shows this run's first question")
    assert run.world.mutations == []
