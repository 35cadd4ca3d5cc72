"""Rotations in the terminal: one line per batch, one column per step."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from proving_ground.demo.decisions import ASKS, ENDED, has_begun

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proving_ground.demo.rotations import Rotations
    from proving_ground.demo.teller import Teller

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
    "awaiting_input": ("?", "cyan"),
    "up_for_retry": ("↻", "magenta"),
}
REFRESH_S = 2.0
WAITING_REFRESH_S = 4.0
Tasks = list[dict[str, Any]]


class Board:
    """Shows rotations side by side, as a live table on a terminal and line by line elsewhere; a context manager.

    :param rotations: where they run.
    """

    def __init__(self, rotations: Rotations, teller: Teller) -> None:
        self._rotations, self._teller = rotations, teller
        terminal = teller.console.is_terminal
        self._live = Live(console=teller.console, refresh_per_second=4, transient=False) if terminal else None
        self._said: dict[str, str] = {}
        self._seen: dict[str, tuple[float, Tasks]] = {}

    def __enter__(self) -> Board:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, runs: Mapping[str, str]) -> dict[str, Tasks]:
        """Look once, and show it. A run that waits is looked at less often: nothing happens in it.

        :param runs: label → run id.
        :return: label → its tasks.
        """
        now = time.monotonic()
        for label, run_id in runs.items():
            at, tasks = self._seen.get(label, (0.0, []))
            if now - at >= (REFRESH_S if not tasks or has_begun(tasks) else WAITING_REFRESH_S):
                self._seen[label] = now, self._rotations.tasks(run_id)
        found = {label: self._seen[label][1] for label in runs}
        if self._live:
            self._live.update(Group(*(self._picture(label, tasks) for label, tasks in found.items())))
        else:
            for label, tasks in found.items():
                self._plain(label, tasks)
        return found

    def follow(self, label: str, run_id: str, limit_s: float) -> str:
        """Show one run until it has ended.

        :param limit_s: how long to look at most, in seconds.
        :return: its state: ``success``, ``failed``, or what it was when time was up.
        """
        began = time.monotonic()
        while True:
            state = self._rotations.state(run_id)
            self.show({label: run_id})
            if state in ENDED or time.monotonic() - began > limit_s:
                return state
            time.sleep(REFRESH_S)

    def _plain(self, label: str, tasks: Tasks) -> None:
        for task in sorted(tasks, key=lambda t: t["start_date"] or "9"):
            if task["state"] in ("success", "failed", "upstream_failed", "deferred", "up_for_retry", ASKS):
                name = f"{label} {_label(task)} {task['task_id'].rsplit('.', 1)[-1]}".replace("  ", " ").strip()
                if self._said.get(name) != task["state"]:
                    self._said[name] = task["state"]
                    word = {"success": "done", "deferred": "waits", ASKS: "asks"}.get(task["state"], task["state"])
                    self._teller.say(f"{name}: {word}")

    def _picture(self, label: str, tasks: Tasks) -> Group:
        table = Table(box=None, pad_edge=False)
        table.add_column(label or "batch")
        for step in STEPS:
            table.add_column(step.replace("_", " "), justify="center")
        batches: dict[int, dict[str, dict[str, Any]]] = {}
        for task in tasks:
            if task["task_id"].startswith("batch.") and task["map_index"] >= 0:
                batches.setdefault(task["map_index"], {})[task["task_id"].rsplit(".", 1)[-1]] = task
        for _, steps in sorted(batches.items()):
            name = max((_label(task) for task in steps.values()), key=lambda name: "/" in name)
            table.add_row(name, *(_mark(steps.get(step)) for step in STEPS))
        passed = sum(1 for s in batches.values() if s.get("health_gate", {}).get("state") == "success")
        line = f"{passed} of {len(batches)} batches replaced, {self._teller.elapsed_s:.0f} s"
        busy = ("running", "deferred", ASKS)
        others = [t for t in tasks if not t["task_id"].startswith("batch.") and t["state"] in busy]
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
