"""Everything the demo needs up: the proving ground, Airflow on it, and the observer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from proving_ground import airflow, lifecycle
from proving_ground.state import DIRECTORY, State

if TYPE_CHECKING:
    from collections.abc import Callable

    Progress = Callable[[str], None]

SCENARIO = "demo"
GROUND = Path(DIRECTORY)
HOME = Path(".airflow")
OUT = Path("out/demo")
FLEET = Path(__file__).parent / "fleet.yaml"
WATCHING_WITHIN_S = 60.0


def ground(progress: Progress) -> State:
    """The proving ground, started unless it runs."""
    return lifecycle.up(SCENARIO, GROUND, progress)


def publish(running: State) -> str:
    """Let a newer image come out.

    :return: its name.
    """
    name = f"base-{datetime.now(UTC):%Y-%m-%d-%H%M%S}"
    answer = requests.post(f"{running.endpoint}/_proving-ground/publish", json={"name": name}, timeout=30)
    answer.raise_for_status()
    return name


def start_airflow(running: State, progress: Progress) -> airflow.Airflow:
    """Airflow with connections to this ground, started unless it runs."""
    home = HOME.resolve()
    env = environment(running)
    if home.exists() and not _belongs(home, running):  # its runs would go on with a world that is gone
        airflow.stop(home)
        shutil.rmtree(home, ignore_errors=True)
    if found := airflow.find(home):
        progress(f"Airflow already runs: {found.url}")
        return found
    return airflow.start(home, Path("dags").resolve(), Path("plugins").resolve(), env=env, progress=progress)


def _belongs(home: Path, running: State) -> bool:
    said = home / "running.json"
    return said.exists() and json.loads(said.read_text())["env"].get("AWS_ENDPOINT_URL") == running.endpoint


def environment(running: State) -> dict[str, str]:
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
        "NODE_ROTATION_FLEET": str(FLEET),
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

    def finish(self, environment: str, run_id: str, at: float) -> tuple[dict[str, Any], int]:
        """Have it report.

        :param at: when verify ended, epoch seconds.
        :return: its figures, and its exit code: 0 if all is well.
        """
        said, _ = self.process.communicate(
            json.dumps({"environment": environment, "run_id": run_id, "at": at}) + "\n", timeout=60
        )
        return json.loads(said.strip().splitlines()[-1]), self.process.returncode

    def stop(self) -> None:
        """End it without a report."""
        self.process.kill()
        self.process.wait()


def observe(cluster: str, running: State, *, directory: Path = GROUND, out: Path = OUT) -> Observer:
    """Start the observer and wait until it watches."""
    command = ["--cluster", cluster, "--scenario", running.scenario, "--directory", str(directory), "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "proving_ground.observer", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | running.environment,
    )
    assert process.stdout is not None
    late = threading.Timer(WATCHING_WITHIN_S, process.kill)  # then its output ends, and so does the read
    late.start()
    said = process.stdout.readline().strip()
    late.cancel()
    if said != "watching":
        process.kill()
        raise RuntimeError(
            f"the observer did not watch within {WATCHING_WITHIN_S:.0f} s; it ended with {process.wait()}"
        )
    return Observer(process)
