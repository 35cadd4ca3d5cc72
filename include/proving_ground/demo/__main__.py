"""``python -m proving_ground.demo [up | down]``."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from proving_ground import lifecycle
from proving_ground.airflow import Airflow, AirflowError
from proving_ground.control_plane.build import BuildError
from proving_ground.demo import stage
from proving_ground.demo.board import Board

ENVIRONMENT, CLUSTER = "dev", "dev"
CHECK, ROTATE = "ami_drift_check", "rotate_nodes"
STARTS_WITHIN_S, ENDS_WITHIN_S = 60.0, 1200.0


class DemoError(RuntimeError):
    """The demo did not come to its end; the message says what to look at."""


def main() -> int:
    """Run the demo, or stop what it started.

    :return: 0 if the rotation succeeded and the observer found nothing wrong.
    """
    console = Console(highlight=False)
    if sys.argv[1:] == ["down"]:
        stopped = stage.down()
        console.print(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")
        return 0
    try:
        return _demo(console)
    except (DemoError, AirflowError, BuildError, lifecycle.LifecycleError) as error:
        console.print(f"[red]demo: {error}[/red]")
        return 1


def _demo(console: Console) -> int:
    began = time.monotonic()
    again = lifecycle.status(stage.GROUND)[0] is not None

    def say(line: str) -> None:
        console.print(f"{time.monotonic() - began:6.0f} s  {line}")

    running = stage.ground(say)
    if again:
        say(f"a newer image comes out: {stage.publish(running)}")
    airflow = stage.start_airflow(running, say)
    observer = stage.observe(CLUSTER, running)
    try:
        run_id = _start(airflow, say)
        say(f"watch it here: {airflow.url}/dags/{ROTATE}/runs/{run_id}")
        state = Board(airflow, ROTATE, run_id, console, ENDS_WITHIN_S).follow()
        figures, code = observer.finish(ENVIRONMENT, run_id, _verified_at(airflow, run_id))
    except BaseException:
        observer.stop()
        raise
    _summary(console, figures, state)
    console.print(f"report: {stage.OUT}/report.html   Airflow: {airflow.url}   stop everything: make down")
    return 0 if state == "success" and code == 0 else 1


def _start(airflow: Airflow, say: Any) -> str:
    """Start tonight's check of the environment; the drift it finds starts the rotation.

    :return: the rotation's run id.
    """
    known = {run["dag_run_id"] for run in airflow.runs(ROTATE)}
    partition = f"{datetime.now(UTC):%Y-%m-%d}~{ENVIRONMENT}.{CLUSTER}"
    check = airflow.trigger(CHECK, partition_key=partition)
    say(f"drift check of {ENVIRONMENT} started ({partition})")
    state = airflow.wait_run(CHECK, check, STARTS_WITHIN_S)
    if state != "success":
        raise DemoError(f"the drift check is {state}: {airflow.url}/dags/{CHECK}/runs/{check}")
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until:
        new = [run["dag_run_id"] for run in airflow.runs(ROTATE) if run["dag_run_id"] not in known]
        if new:
            say("drift found: the rotation has started by itself")
            return str(new[0])
        time.sleep(0.5)
    raise DemoError(f"the drift check found no drift, so no rotation started: {airflow.url}/dags/{CHECK}")


def _verified_at(airflow: Airflow, run_id: str) -> float:
    ended = [t["end_date"] for t in airflow.tasks(ROTATE, run_id) if t["task_id"] == "verify" and t["end_date"]]
    return datetime.fromisoformat(ended[0]).timestamp() if ended else time.time()


def _summary(console: Console, figures: dict[str, Any], state: str) -> None:
    table = Table(title=f"{figures['environment']}: {state}", title_style="bold", show_header=False)
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), str(value))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
