"""What a run's end and a look at a group are as numbers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.node_rotation.crashes import run_for

from node_rotation import engine
from node_rotation.engine import Result
from node_rotation.report import report
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow import metrics


def ended(behaviour: str = "good", **changed: Any) -> Mapping[tuple[str, ...], float]:
    """The gauges of a rotation of two machines, by name and the tags that are not the cluster's."""
    run = run_for(MemoryWorld.simple(2, behaviour=behaviour))
    result: Result = replace(engine.rotate(run), **changed)
    return {
        (
            one.name.removeprefix("node_rotation."),
            *(v for k, v in one.tags.items() if k not in ("environment", "cluster")),
        ): one.value
        for one in metrics.of_report(report(run.plan, result))
    }


def test_a_rotation_that_went_well() -> None:
    found = ended()

    assert found["run_ok",] == 1
    assert found["run_duration",] > 0
    assert found["run_batches", "passed"] == 2
    assert not any(value for name, value in found.items() if name[0] == "run_left")
    assert found["machines_drifted", "workers"] == 0


def test_one_whose_image_never_joins_leaves_the_drift_as_it_was_seen() -> None:
    found = ended("never-joins")

    assert found["run_ok",] == 0
    assert found["run_batches", "failed"] == 1
    assert found["run_left", "drift"] == 2
    assert not any(name[0] == "machines_drifted" for name in found)


def test_the_moment_of_the_end_has_its_outcome() -> None:
    (moment,) = (name for name in ended(not_begun="superseded by a newer image") if name[0] == "run_ended")

    assert moment == ("run_ended", "superseded")


def test_metrics_that_fail_are_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from airflow.sdk.observability import stats

    def broken(*_: object, **__: object) -> None:
        raise OSError("no such collector")

    monkeypatch.setattr(stats, "gauge", broken)
    metrics.send([metrics.Gauge("node_rotation.run_ok", 1)], logging.getLogger("task"))

    assert "metrics were not sent: OSError: no such collector" in caplog.text
