"""Both forms of `make demo` on smaller worlds: they rotate, and leave nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from proving_ground import airflow, lifecycle
from proving_ground.demo import environments, fleet_file, short, stage
from proving_ground.demo.teller import Teller
from proving_ground.observer.figures import NOTHING_LOST, ZERO
from proving_ground.scenario import SCENARIOS

pytestmark = [pytest.mark.proving_ground, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
SCENARIO = """
name: small
timing: {boot: 2s, shutdown: 1s, node_removal: 1s}
images:
  - {name: base-2026-11-01, created: "2026-11-01T06:00:00.000Z"}
  - {name: base-2026-11-08, created: "2026-11-08T06:00:00.000Z"}
parameters:
  - {name: /images/base/current, image: base-2026-11-08}
clusters:
  - name: dev
    environment: dev
    groups: [{name: workers, image: base-2026-11-01, min: 1, max: 5, desired: 2}]
    workloads:
      - {name: web, replicas: 2, ready_after: 1s, stops_after: 1s, spread: hostname, budget: {max_unavailable: 1}}
observer: {boot: 2, drain: 1, gate: 10, slots: 2}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory as the demo finds it on a fresh clone, whatever it starts stopped at the end."""
    for name in ("dags", "plugins"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "small.yaml").write_text(SCENARIO)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "include"))  # make's own is relative to the clone
    monkeypatch.setattr(stage, "SHORT", stage.Form(str(tmp_path / "small.yaml"), stage.SHORT.fleet))
    yield tmp_path
    stage.down()


def hurried(place: Path) -> None:
    """The whole form's world and fleet with less to wait for: machines, pods, EKS and gates take seconds."""
    world = yaml.safe_load((SCENARIOS / "demo-environments.yaml").read_text())
    world["timing"] |= {"boot": "2s", "shutdown": "1s", "node_removal": "1s", "eks_pause": "1s"}
    for cluster in world["clusters"]:
        cluster["workloads"] = [{**w, "stops_after": "1s"} for w in cluster["workloads"] if w.get("kind") != "Job"]
        for group in cluster["groups"]:
            group["desired"] = group["min"]
    (place / "hurried.yaml").write_text(yaml.safe_dump(world))
    fleet = fleet_file.TEMPLATE.read_text()
    for slow, quick in (("settle: 10s", "settle: 1s"), ("settle: 30s", "settle: 2s"), ("soak: 10s", "soak: 1s")):
        assert slow in fleet
        fleet = fleet.replace(slow, quick)
    (place / "environments.yaml").write_text(fleet)


def demo(run: Callable[[Teller], int] = short.run) -> tuple[int, str]:
    """Its exit code, and what it said."""
    said = io.StringIO()
    return run(Teller(Console(file=said, width=120))), said.getvalue()


def reports(place: Path) -> list[dict[str, Any]]:
    return list(json.loads((place / "out/demo/report.json").read_text())["environments"])


def reported(place: Path) -> dict[str, Any]:
    (figures,) = reports(place)
    return figures


def test_it_rotates_and_again_with_a_newer_image_and_down_stops_all_of_it(place: Path) -> None:
    code, said = demo()
    assert code == 0, said
    assert "drift found: the rotation has started by itself" in said
    first = reported(place)
    assert (first["drift_before"], first["machines_rotated"], first["drift_after"]) == (2, 2, 0)
    assert (place / "out/demo/report.html").exists()

    code, said = demo()
    assert code == 0, said
    assert "Airflow already runs" in said
    again = reported(place)
    assert again["machines_rotated"] == 2
    assert again["target_image"] != first["target_image"]

    assert {"scheduler", "triggerer", "daemon", "dev/kube-apiserver"} <= set(stage.down())
    assert airflow.find(stage.HOME.resolve()) is None
    assert lifecycle.status(stage.GROUND)[0] is None
    assert stage.down() == []


def test_a_bad_image_is_frozen_in_dev_and_a_good_one_goes_from_dev_to_prod(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried(place)
    monkeypatch.setattr(stage, "ENVIRONMENTS", stage.Form(str(place / "hurried.yaml"), place / "fleet.yaml"))
    monkeypatch.setattr(fleet_file, "TEMPLATE", place / "environments.yaml")

    code, said = demo(environments.run)

    assert code == 0, said
    refused, *rotated = reports(place)
    assert "no environment takes it: dev, staging, prod say that it is frozen" in said
    assert not any(refused[name] for name in NOTHING_LOST), refused
    assert [(one["environment"], one["machines_rotated"]) for one in rotated] == [
        ("dev", 4),
        ("staging", 3),
        ("prod", 5),
    ]
    assert not any(one[name] for one in rotated for name in ZERO), rotated
    assert len({one["target_image"] for one in rotated} | {refused["refused_image"]}) == 2
    begun = [one["started_at"] for one in rotated]
    assert begun == sorted(begun)
    assert "prod asked: approved" in said
