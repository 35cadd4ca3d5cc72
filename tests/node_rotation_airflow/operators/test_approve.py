"""Approval: no question where none is needed; rejected or not answered, the run ends with nothing touched."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput

from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow.documents import Request
from node_rotation_airflow.operators.approve import ApprovePlanOperator
from node_rotation_airflow.operators.detect import DetectOperator
from node_rotation_airflow.operators.plan import PlanOperator
from node_rotation_airflow.operators.report import ReportOperator
from node_rotation_airflow.operators.verify import VerifyOperator

AT = datetime(2026, 11, 9, 2, 30, tzinfo=UTC)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Airflow was told to ask."""
    questions: list[dict[str, Any]] = []
    target = "airflow.providers.standard.operators.hitl.upsert_hitl_detail"
    monkeypatch.setattr(target, lambda **question: questions.append(question))
    return questions


def approving(airflow: Any, **approval: Any) -> tuple[Any, ApprovePlanOperator, Any]:
    run = airflow(MemoryWorld.simple(2))
    request = Request(settings=run.world.settings(approval=approval), groups=("workers",))
    run.xcoms["request", "request"] = request.dump()
    drift = run.run(DetectOperator(task_id="detect", group="workers"), 0)
    batches = run.run(PlanOperator(task_id="plan", drifts=[drift]))
    context = run.context("approve")
    context["task_instance"] = context["ti"]
    context["ti"].id = "an-id"
    return run, ApprovePlanOperator(task_id="approve", batches=batches), context


def answered(option: str, by: str | None = "Ada") -> dict[str, Any]:
    user = {"id": "1", "name": by} if by else None
    return {"chosen_options": [option], "params_input": {}, "responded_at": AT, "responded_by_user": user}


def test_where_nobody_has_to_approve_nobody_is_asked(airflow: Any, asked: list[dict[str, Any]]) -> None:
    _, approve, context = approving(airflow)

    assert approve.execute(context) is None
    assert asked == []


def test_the_question_is_the_plan_as_a_table_and_by_default_nothing_is_done(
    airflow: Any, asked: list[dict[str, Any]]
) -> None:
    _, approve, context = approving(airflow, above={"share": "10%"}, timeout="90m")

    with pytest.raises(TaskAwaitingInput) as waits:
        approve.execute(context)

    (question,) = asked
    assert question["subject"] == "Rotate 2 machines of dev.dev?"
    assert "| workers | worker | 2 of 2 |" in question["body"]
    assert "2 of 2 machines are replaced, more than 10%" in question["body"]
    assert question["defaults"] == ["Reject"]
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

    assert json.loads(Path(page).with_suffix(".json").read_text())["not_begun"] == why
    assert run.world.mutations == []
