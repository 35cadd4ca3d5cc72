"""What a run's end and a look at a group are as numbers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.node_rotation.crashes import run_for
from tests.node_rotation_airflow.operators.rotating import planned

from node_rotation import engine
from node_rotation.engine import Result
from node_rotation.report import report
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow import metrics
from node_rotation_airflow.documents import Request
from node_rotation_airflow.operators.detect import DetectOperator
from node_rotation_airflow.operators.report import ReportOperator


def ended(behaviour: str = "good", *, tonight: bool = True, **changed: Any) -> Mapping[tuple[str, ...], float]:
    """The gauges of a rotation of two machines, by name and the tags that are not the cluster's."""
    run = run_for(MemoryWorld.simple(2, behaviour=behaviour))
    result: Result = replace(engine.rotate(run), **changed)
    return {
        (
            one.name.removeprefix("node_rotation."),
            *(v for k, v in one.tags.items() if k not in ("environment", "cluster")),
        ): one.value
        for one in metrics.of_report(report(run.plan, result), tonight=tonight)
    }


def test_a_rotation_that_went_well() -> None:
    found = ended()

    assert found["run_ok",] == 1
    assert found["run_duration",] > 0
    assert found["run_batches", "passed"] == 2
    assert not any(value for name, value in found.items() if name[0] == "run_left")
    assert found["machines_drifted", "workers"] == 0


def test_a_past_nights_image_says_nothing_about_todays_drift() -> None:
    assert not any(name[0] == "machines_drifted" for name in ended(tonight=False))


def test_one_whose_image_never_joins_leaves_the_drift_as_it_was_seen() -> None:
    found = ended("never-joins")

    assert found["run_ok",] == 0
    assert found["run_batches", "failed"] == 1
    assert found["run_left", "drift"] == 2
    assert not any(name[0] == "machines_drifted" for name in found)


def test_one_that_was_superseded_leaves_its_moment_and_no_alarm() -> None:
    found = ended(not_begun="superseded by a newer image")

    assert ("run_ended", "superseded") in found
    assert ("run_ok",) not in found


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What the tasks of a story told."""
    from airflow.sdk.observability import stats

    told: dict[str, float] = {}
    monkeypatch.setattr(stats, "gauge", lambda name, value, tags: told.update({name: value}))
    return told


def test_a_plan_alone_is_no_run_that_failed(
    airflow: Any, sent: dict[str, float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NODE_ROTATION_REPORTS", str(tmp_path))
    run, _ = planned(airflow, MemoryWorld.simple(2), mode="plan")

    run.run(ReportOperator(task_id="report"))

    assert sent == {"node_rotation.machines": 2, "node_rotation.machines_drifted": 2}


def test_a_past_nights_drift_is_no_news(airflow: Any, sent: dict[str, float]) -> None:
    world = MemoryWorld.simple(2)
    run, night = airflow(world), datetime.fromtimestamp(world.clock.now() - 86_400, UTC)
    image = {"owner": "self", "name": "base-*"}
    request = Request(settings=world.settings(image=image), groups=("workers",), as_of=night)
    run.xcoms["request", "request"] = request.dump()

    run.run(DetectOperator(task_id="detect", group="workers"), 0)

    assert sent == {}


def test_metrics_that_fail_are_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from airflow.sdk.observability import stats

    def broken(*_: object, **__: object) -> None:
        raise OSError("no such collector")

    monkeypatch.setattr(stats, "gauge", broken)
    metrics.send([metrics.Gauge("node_rotation.run_ok", 1)], logging.getLogger("task"))

    assert "metrics were not sent: OSError: no such collector" in caplog.text
