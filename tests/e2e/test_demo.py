"""`make demo ENVIRONMENT=dev` on a smaller world: it rotates, does so again with a newer image, and leaves nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from proving_ground import airflow, lifecycle
from proving_ground.demo import short, stage
from proving_ground.demo.teller import Teller

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


def demo() -> tuple[int, str]:
    """Its exit code, and what it said."""
    said = io.StringIO()
    return short.run(Teller(Console(file=said, width=120))), said.getvalue()


def reported(place: Path) -> dict[str, Any]:
    (figures,) = json.loads((place / "out/demo/report.json").read_text())["environments"]
    return dict(figures)


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
