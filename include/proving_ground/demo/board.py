"""The rotation in the terminal: one line per batch, one column per step."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

    from proving_ground.airflow import Airflow

STEPS = ("admit", "launch", "cordon", "drain", "terminate", "health_gate")
MARKS = {
    "success": ("✔", "green"),
    "failed": ("✘", "red"),
    "upstream_failed": ("✘", "red"),
    "skipped": ("–", "dim"),
    "running": ("●", "yellow"),
    "queued": ("●", "yellow"),
    "scheduled": ("·", "dim"),
    "deferred": ("◔", "cyan"),
    "up_for_retry": ("↻", "magenta"),
}
REFRESH_S = 2.0


class Board:
    """Shows a run until it has ended.

    :param limit_s: how long to look at most, in seconds.
    """

    def __init__(self, airflow: Airflow, dag_id: str, run_id: str, console: Console, limit_s: float) -> None:
        self._airflow, self._dag_id, self._run_id = airflow, dag_id, run_id
        self._console, self._limit_s = console, limit_s
        self._said: dict[str, str] = {}
        self._began = time.monotonic()

    def follow(self) -> str:
        """Show the run.

        :return: its state: ``success``, ``failed``, or what it was when time was up.
        """
        if not self._console.is_terminal:
            return self._loop(self._plain)
        with Live(console=self._console, refresh_per_second=4, transient=False) as live:
            return self._loop(lambda tasks: live.update(self._picture(tasks)))

    def _loop(self, show: Any) -> str:
        while True:
            state = str(self._airflow.api("GET", f"/dags/{self._dag_id}/dagRuns/{self._run_id}")["state"])
            show(self._airflow.tasks(self._dag_id, self._run_id))
            if state in ("success", "failed") or time.monotonic() - self._began > self._limit_s:
                return state
            time.sleep(REFRESH_S)

    def _plain(self, tasks: list[dict[str, Any]]) -> None:
        for task in sorted(tasks, key=lambda t: t["start_date"] or "9"):
            if task["state"] in ("success", "failed", "upstream_failed", "deferred", "up_for_retry"):
                name = f"{_label(task)} {task['task_id'].rsplit('.', 1)[-1]}".strip()
                if self._said.get(name) != task["state"]:
                    self._said[name] = task["state"]
                    word = {"success": "done", "deferred": "waits"}.get(task["state"], task["state"])
                    self._console.print(f"{time.monotonic() - self._began:6.0f} s  {name}: {word}", highlight=False)

    def _picture(self, tasks: list[dict[str, Any]]) -> Group:
        table = Table(box=None, pad_edge=False)
        table.add_column("batch")
        for step in STEPS:
            table.add_column(step.replace("_", " "), justify="center")
        batches: dict[int, dict[str, dict[str, Any]]] = {}
        for task in tasks:
            if task["task_id"].startswith("batch.") and task["map_index"] >= 0:
                batches.setdefault(task["map_index"], {})[task["task_id"].rsplit(".", 1)[-1]] = task
        for _, steps in sorted(batches.items()):
            label = max((_label(task) for task in steps.values()), key=lambda name: "/" in name)
            table.add_row(label, *(_mark(steps.get(step)) for step in STEPS))
        passed = sum(1 for s in batches.values() if s.get("health_gate", {}).get("state") == "success")
        line = f"{passed} of {len(batches)} batches replaced, {time.monotonic() - self._began:.0f} s"
        others = [t for t in tasks if not t["task_id"].startswith("batch.") and t["state"] in ("running", "deferred")]
        now = ", ".join(sorted({t["task_id"] for t in others}))
        return Group(table, Text(line + (f"; {now}" if now else ""), style="bold"))


def _label(task: dict[str, Any]) -> str:
    """``group/batch``; its number until Airflow has rendered the name; nothing if the task isn't mapped."""
    rendered = task.get("rendered_map_index") or ""
    if rendered and not rendered.isdigit():
        return str(rendered)
    return f"batch {task['map_index'] + 1}" if task["map_index"] >= 0 else ""


def _mark(task: dict[str, Any] | None) -> Text:
    mark, style = MARKS.get(task["state"] if task else "", (" ", ""))
    return Text(mark, style=style)
