"""Several observers, one report."""

from __future__ import annotations

import json
from pathlib import Path

from proving_ground.observer import report
from proving_ground.observer.bound import Bound
from proving_ground.observer.figures import Figures, Refusal
from proving_ground.observer.seen import Seen

AT = 1000.0
SEEN_FROM = "2026-11-21T00:00:00+00:00"
WATCHED = {"min_available_pct": 100.0, "unready_pod_seconds": 0.0, "started_at": SEEN_FROM, "finished_at": SEEN_FROM}
ZEROS = {"orphans": 0, "residue": 0, "pdb_violations": 0}


def figures(environment: str, run_id: str) -> Figures:
    return Figures(
        environment=environment,
        cluster=environment,
        run_id=run_id,
        target_image="ami-good",
        machines_rotated=3,
        drift_before=3,
        drift_after=0,
        makespan_s=100.0,
        bound_s=80.0,
        **ZEROS,
        **WATCHED,
    )


def add(out: Path, environment: str, run_id: str = "run-1") -> None:
    report.add(out, figures(environment, run_id), Bound(), Seen(environment), [], AT)


def test_each_environment_is_one_entry_and_one_section_in_the_order_they_ended(tmp_path: Path) -> None:
    refused = Refusal(
        environment="dev",
        cluster="dev",
        run_id="run-0",
        refused_image="ami-bad",
        machines=3,
        machines_lost=0,
        machines_on_it=0,
        **ZEROS,
        **WATCHED,
    )

    report.add_refusal(tmp_path, refused, Seen("dev"), [], AT)
    for environment in ("dev", "staging", "prod"):
        add(tmp_path, environment)

    entries = json.loads((tmp_path / "report.json").read_text())["environments"]
    assert [entry["environment"] for entry in entries] == ["dev", "staging", "prod"]
    page = (tmp_path / "report.html").read_text()
    places = [page.index(text) for text in ("ami-bad is bad", "dev / dev: 3", "staging / staging", "prod / prod")]
    assert places == sorted(places)
    assert page.count("<html") == page.count("<style") == 1
    assert json.loads((tmp_path / "refused.json").read_text())["refused_image"] == "ami-bad"


def test_an_environment_that_is_rotated_again_replaces_its_entry(tmp_path: Path) -> None:
    for run_id in ("run-1", "run-2"):
        add(tmp_path, "dev", run_id)

    entries = json.loads((tmp_path / "report.json").read_text())["environments"]
    assert [entry["run_id"] for entry in entries] == ["run-2"]
    assert "run-1" not in (tmp_path / "report.html").read_text()


def test_nothing_of_an_earlier_report_is_left_and_what_others_put_there_is(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    add(tmp_path, "dev")

    report.clear(tmp_path)
    add(tmp_path, "prod")

    assert "dev / dev" not in (tmp_path / "report.html").read_text()
    assert (tmp_path / "run.json").exists()
