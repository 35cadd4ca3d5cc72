"""What the demo does next, by what Airflow and the observers say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from proving_ground.demo import decisions

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
KEPT = {"machines_lost": 0, "machines_on_it": 0, "orphans": 0, "residue": 0, "pdb_violations": 0}


def task(name: str, state: str, **times: str) -> dict[str, Any]:
    return {"task_id": name, "state": state, "start_date": None, "end_date": None, **times}


def asking(for_s: float) -> dict[str, Any]:
    return task("approve", "awaiting_input", start_date=(NOW - timedelta(seconds=for_s)).isoformat())


def test_a_plan_is_answered_only_once_somebody_could_have_read_it() -> None:
    assert not decisions.may_answer([asking(for_s=9.0)], NOW)
    assert decisions.may_answer([asking(for_s=10.0)], NOW)


def test_nobody_answers_what_does_not_ask() -> None:
    assert not decisions.may_answer([], NOW)
    assert not decisions.may_answer([task("approve", "success", start_date=NOW.isoformat())], NOW + timedelta(hours=1))
    assert not decisions.may_answer([task("wait", "awaiting_input", start_date="2026-01-01T00:00:00+00:00")], NOW)
    assert not decisions.asks([task("approve", "awaiting_input")])


def test_the_rotation_of_a_check_is_the_new_run_of_its_partition() -> None:
    runs = [
        {"dag_run_id": "yesterdays", "partition_key": "n~dev.dev"},
        {"dag_run_id": "by hand", "partition_key": None},
        {"dag_run_id": "stagings", "partition_key": "n~staging.staging"},
        {"dag_run_id": "devs", "partition_key": "n~dev.dev"},
    ]

    assert decisions.new_run(runs, {"yesterdays"}, "n~dev.dev") == "devs"
    assert decisions.new_run(runs, {"yesterdays", "devs"}, "n~dev.dev") is None


def test_a_run_has_begun_once_it_is_past_all_it_may_wait_for() -> None:
    assert not decisions.has_begun([task("plan", "success"), task("wait", "deferred")])
    assert not decisions.has_begun([task("opened", "skipped")])
    assert decisions.has_begun([task("opened", "success")])


@pytest.mark.parametrize("state", ["success", "failed", "upstream_failed", "skipped"])
def test_a_run_whose_report_is_written_or_never_will_be_may_be_over(state: str) -> None:
    assert decisions.may_be_over([task("verify", "failed"), task("report", state)])


@pytest.mark.parametrize("state", ["running", "scheduled", "up_for_retry"])
def test_a_run_that_still_reports_is_not_over(state: str) -> None:
    assert not decisions.may_be_over([task("verify", "success"), task("report", state)])


def test_a_bad_image_that_failed_is_frozen_and_cost_nothing_was_refused() -> None:
    assert not decisions.not_refused("failed", "ami-bad", {"ami-bad"}, KEPT)


@pytest.mark.parametrize(
    ("state", "frozen", "figures", "wrong"),
    [
        ("success", {"ami-bad"}, KEPT, "its rotation ended success"),
        ("failed", {"ami-other"}, KEPT, "it is not frozen"),
        ("failed", {"ami-bad"}, {**KEPT, "machines_lost": 1}, "machines lost: 1"),
        ("failed", {"ami-bad"}, {**KEPT, "residue": 2}, "residue: 2"),
    ],
)
def test_each_thing_that_goes_wrong_with_a_bad_image_is_told(
    state: str, frozen: set[str], figures: dict[str, int], wrong: str
) -> None:
    assert decisions.not_refused(state, "ami-bad", frozen, figures) == [wrong]


def test_whoever_waits_for_a_failed_environment_waits_in_vain() -> None:
    assert not decisions.lost({"dev": "success", "staging": "running", "prod": "queued"})
    assert decisions.lost({"dev": "failed", "staging": "running"}) == ["dev"]


@pytest.mark.parametrize(
    ("states", "codes", "code"),
    [
        ({"dev": "success", "prod": "success"}, [0, 0], 0),
        ({"dev": "success", "prod": "failed"}, [0, 0], 1),
        ({"dev": "success", "prod": "success"}, [0, 1], 1),
        ({"dev": "success", "prod": "success"}, [0], 1),
        ({}, [], 1),
    ],
)
def test_the_demo_is_well_only_if_all_of_it_is(states: dict[str, str], codes: list[int], code: int) -> None:
    assert decisions.exit_code(states, codes) == code


def test_a_run_is_over_when_verify_ended() -> None:
    tasks = [task("verify", "success", end_date="2026-11-21T11:59:30+00:00"), task("report", "running")]

    assert decisions.verified_at(tasks, NOW) == NOW.timestamp() - 30
    assert decisions.verified_at([task("verify", "running")], NOW) == NOW.timestamp()
