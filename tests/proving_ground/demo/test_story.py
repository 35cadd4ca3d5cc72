"""The demo's story with a played Airflow and played observers: who is started when, answered, and told what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from proving_ground.demo import environments, image, stage
from proving_ground.demo.environments import Story
from proving_ground.demo.image import Image
from proving_ground.demo.rotations import DemoError, Rotations
from proving_ground.demo.teller import Teller
from proving_ground.state import State

CLUSTERS = ("dev.dev", "staging.staging", "prod.prod")
GROUND = State(phase="ready", scenario="demo-environments")
KEPT = {"machines": 7, "machines_lost": 0, "machines_on_it": 0, "orphans": 0, "residue": 0, "pdb_violations": 0}


class Played(Rotations):
    """An Airflow whose rotations go one step further with each look: they wait for each other, and prod asks.

    :param fails: the environment whose rotation fails.
    :param refuses: dev's first rotation fails, as a bad image has it do.
    """

    def __init__(self, *, fails: str = "", refuses: bool = False) -> None:
        self.fails, self.refuses = fails, refuses
        self.done: list[str] = []
        self.looks: dict[str, int] = {}
        self.said_of_frozen = "image ami-bad (base-1) is frozen since now: it never joined"

    def begin(self, *clusters: str) -> list[str]:
        runs = [f"run of {cluster.partition('.')[0]}" for cluster in clusters]
        self.done += [f"begin {cluster.partition('.')[0]}" for cluster in clusters]
        return runs

    def refusals(self, *clusters: str) -> list[str]:
        self.done += [f"check {cluster.partition('.')[0]}" for cluster in clusters]
        return [self.said_of_frozen for _ in clusters]

    def tasks(self, run_id: str) -> list[dict[str, Any]]:
        environment = run_id.removeprefix("run of ")
        self.looks[environment] = self.looks.get(environment, 0) + 1
        if environment == "prod" and "approve prod" not in self.done:
            asked = datetime.now(UTC) - timedelta(seconds=10 * self.looks["prod"] - 15)
            return [self._task("approve", "awaiting_input", start_date=asked.isoformat())]
        if not self._may_go(environment):
            return [self._task("opened", "none")]
        return [self._task("opened", "success"), self._task("report", "success")]

    def state(self, run_id: str) -> str:
        environment = run_id.removeprefix("run of ")
        if not self._may_go(environment) or self.looks.get(environment, 0) < 2:
            return "running"
        self.done += [f"end {environment}"] if f"end {environment}" not in self.done else []
        return "failed" if environment == self.fails or self.refuses else "success"

    def approve(self, run_id: str) -> None:
        self.done.append(f"approve {run_id.removeprefix('run of ')}")

    def url(self, run_id: str, dag_id: str = "") -> str:
        return f"here/{run_id}"

    def _may_go(self, environment: str) -> bool:
        before = {"staging": "end dev", "prod": "end staging"}.get(environment)
        approved = environment != "prod" or "approve prod" in self.done
        return approved and (before is None or before in self.done)

    @staticmethod
    def _task(name: str, state: str, **times: str) -> dict[str, Any]:
        known = {"task_id": name, "state": state, "start_date": None, "end_date": None}
        return {**known, "map_index": -1, "rendered_map_index": None, **times}


class Watching:
    """An observer that saw nothing wrong."""

    def __init__(self, done: list[str], cluster: str) -> None:
        self._done, self._cluster = done, cluster

    def finish(self, environment: str, run_id: str, at: float, *, refused: bool = False) -> tuple[dict[str, Any], int]:
        self._done.append(f"report {environment}")
        figures = {**KEPT, "refused_image": "ami-bad"} if refused else {"machines_rotated": 7}
        return {"environment": environment, **figures}, 0

    def stop(self) -> None:
        self._done.append(f"stop watching {self._cluster}")


@pytest.fixture(autouse=True)
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "REFRESH_S", 0.0)
    monkeypatch.setattr("proving_ground.demo.board.REFRESH_S", 0.0)
    monkeypatch.setattr("proving_ground.demo.board.WAITING_REFRESH_S", 0.0)
    monkeypatch.setattr(image, "frozen", lambda running: frozenset({"ami-bad"}))


def story(rotations: Played, monkeypatch: pytest.MonkeyPatch) -> Story:
    def publish(running: State, behaviour: str = "good") -> Image:
        rotations.done.append(f"a {'good' if behaviour == 'good' else 'bad'} image")
        return Image("ami-good" if behaviour == "good" else "ami-bad", "base")

    monkeypatch.setattr(image, "publish", publish)
    monkeypatch.setattr(stage, "observe", lambda names, running: [Watching(rotations.done, name) for name in names])
    return Story(GROUND, CLUSTERS, rotations, Teller(Console(quiet=True)))


def test_the_bad_image_is_tried_in_dev_alone_and_then_refused_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    airflow = Played(refuses=True)

    figures = story(airflow, monkeypatch).bad_image()

    assert airflow.done == [
        "a bad image",
        "begin dev",
        "end dev",
        "report dev",
        "check dev",
        "check staging",
        "check prod",
    ]
    assert figures["machines_lost"] == 0


def test_a_bad_image_that_passes_ends_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DemoError, match="ami-bad was to be refused: its rotation ended success"):
        story(Played(), monkeypatch).bad_image()


def test_an_environment_that_does_not_know_of_the_freeze_ends_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    airflow = Played(refuses=True)
    airflow.said_of_frozen = "workers: 0 of 5 machines drifted"

    with pytest.raises(DemoError, match=r"the check of dev\.dev does not say that ami-bad is frozen"):
        story(airflow, monkeypatch).bad_image()


def test_the_good_image_goes_from_environment_to_environment_and_prod_is_approved_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    airflow = Played()
    told = story(airflow, monkeypatch)

    told.good_image()

    assert airflow.done == [
        "a good image",
        "begin dev",
        "begin staging",
        "begin prod",
        "end dev",
        "report dev",
        "end staging",
        "report staging",
        "approve prod",
        "end prod",
        "report prod",
    ]
    assert told.states == dict.fromkeys(("dev", "staging", "prod"), "success")
    assert list(told.figures) == ["dev", "staging", "prod"]
    assert set(told.codes.values()) == {0}


def test_when_an_environment_fails_nobody_waits_for_those_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    airflow = Played(fails="dev")
    told = story(airflow, monkeypatch)

    with pytest.raises(DemoError, match="the rotation of dev failed: here/run of dev"):
        told.good_image()
    told.stop()

    assert "approve prod" not in airflow.done
    assert [line for line in airflow.done if line.startswith("stop")] == ["stop watching staging", "stop watching prod"]
