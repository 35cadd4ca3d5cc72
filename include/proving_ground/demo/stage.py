"""Everything the demo needs up: the proving ground, Airflow on it, and the observer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from proving_ground import airflow, airflow_database, lifecycle
from proving_ground.state import DIRECTORY, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Progress = Callable[[str], None]

GROUND = Path(DIRECTORY)
HOME = Path(".airflow")
OUT = Path("out/demo")
WATCHING_WITHIN_S = 60.0


@dataclass(frozen=True)
class Form:
    """A form of the demo: its world, and the fleet file that Airflow reads."""

    scenario: str
    fleet: Path


SHORT = Form("demo", Path(__file__).parent / "fleet.yaml")
"""One environment."""
ENVIRONMENTS = Form("demo-environments", GROUND.resolve() / "fleet.yaml")
"""All three; the fleet file is written once the ground runs (``fleet_file``)."""


def ground(form: Form, progress: Progress) -> State:
    """The proving ground, started unless it runs; Airflow's database is made meanwhile where there never was one."""
    with ThreadPoolExecutor(1) as meanwhile:
        migrated = meanwhile.submit(airflow_database.template)
        running = lifecycle.up(form.scenario, GROUND, progress)
        migrated.result()
    return running


def publish(running: State, behaviour: str = "good") -> tuple[str, str]:
    """Let a newer image come out.

    :param behaviour: of the machines that boot from it.
    :return: its id and its name.
    """
    name = f"base-{datetime.now(UTC):%Y-%m-%d-%H%M%S}"
    body = {"name": name, "behaviour": behaviour}
    answer = requests.post(f"{running.endpoint}/_proving-ground/publish", json=body, timeout=30)
    answer.raise_for_status()
    return str(answer.json()["image_id"]), name


def start_airflow(form: Form, running: State, progress: Progress) -> airflow.Airflow:
    """Airflow with connections to this ground, started unless it runs."""
    home = HOME.resolve()
    env = environment(form, running)
    if home.exists() and not _belongs(home, running):  # its runs would go on with a world that is gone
        airflow.stop(home)
        shutil.rmtree(home, ignore_errors=True)
    if found := airflow.find(home):
        progress(f"Airflow already runs: {found.url}")
        return found
    airflow.stop(home)  # a part of it that still runs would work on the same database
    return airflow.start(home, Path("dags").resolve(), Path("plugins").resolve(), env=env, progress=progress)


def _belongs(home: Path, running: State) -> bool:
    said = home / "running.json"
    return said.exists() and json.loads(said.read_text())["env"].get("AWS_ENDPOINT_URL") == running.endpoint


def environment(form: Form, running: State) -> dict[str, str]:
    """What Airflow's processes get: AWS access, one connection per cluster, the demo's fleet."""
    connections = {
        f"AIRFLOW_CONN_KUBERNETES_{name.upper()}": json.dumps(
            {
                "conn_type": "kubernetes",
                "extra": {"kube_config_path": str((GROUND / name / "kubeconfig").resolve())},
            }
        )
        for name in running.clusters
    }
    aws = {"conn_type": "aws", "extra": {"region_name": running.environment["AWS_REGION"]}}
    return {
        **running.environment,
        **connections,
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(aws),
        "AIRFLOW_CONN_INSTALLER": json.dumps({"conn_type": "http", "host": running.endpoint}),
        "NODE_ROTATION_FLEET": str(form.fleet),
        "NODE_ROTATION_UNPAUSED": "1",
        "NODE_ROTATION_REPORTS": str(OUT.resolve()),
    }


def down() -> list[str]:
    """Stop exactly what the demo or `make proving-ground` started, also after a crash.

    :return: names of what was stopped.
    """
    stopped = airflow.stop(HOME.resolve()) if HOME.exists() else []
    return stopped + [one.name for one in lifecycle.down(GROUND)]


@dataclass(frozen=True)
class Observer:
    """The observer's process: it watches from outside, and ends when told that the run has ended."""

    process: subprocess.Popen[str]

    def finish(self, environment: str, run_id: str, at: float, *, refused: bool = False) -> tuple[dict[str, Any], int]:
        """Have it report.

        :param at: when verify ended, epoch seconds.
        :param refused: the image was bad: the rotation was to end where it began.
        :return: its figures, and its exit code: 0 if all is well.
        """
        told = {"environment": environment, "run_id": run_id, "at": at, "refused": refused}
        said, _ = self.process.communicate(json.dumps(told) + "\n", timeout=60)
        return json.loads(said.strip().splitlines()[-1]), self.process.returncode

    def stop(self) -> None:
        """End it without a report."""
        self.process.kill()
        self.process.wait()


def observe(clusters: Sequence[str], running: State, *, directory: Path = GROUND, out: Path = OUT) -> list[Observer]:
    """Start an observer for each cluster and wait until all of them watch."""
    options = ["--scenario", running.scenario, "--directory", str(directory), "--out", str(out)]
    observers = [Observer(_observer(cluster, options, running)) for cluster in clusters]
    late = threading.Timer(WATCHING_WITHIN_S, _stop, [observers])  # then their output ends, and so does the reading
    late.start()
    try:
        for observer in observers:
            assert observer.process.stdout is not None
            if observer.process.stdout.readline().strip() != "watching":
                _stop(observers)
                code = observer.process.returncode
                raise RuntimeError(f"an observer did not watch within {WATCHING_WITHIN_S:.0f} s; it ended with {code}")
    finally:
        late.cancel()
    return observers


def _stop(observers: Sequence[Observer]) -> None:
    for observer in observers:
        observer.stop()


def _observer(cluster: str, options: Sequence[str], running: State) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "proving_ground.observer", "--cluster", cluster, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | running.environment,
    )
