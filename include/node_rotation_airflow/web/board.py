"""A rotation while it goes on, as a page: which step each batch is at. Pure."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from node_rotation.model import StepName
from node_rotation_airflow.constants import BATCH_GROUP, ROTATE_NODES

AGAIN_S = 5
COLOURS: Mapping[str, str] = {
    "success": "#bfe8cb",
    "failed": "#f1b3b0",
    "upstream_failed": "#f5d3b8",
    "running": "#cfe3fa",
    "deferred": "#f6e3b4",
    "awaiting_input": "#f6e3b4",
    "skipped": "#e6e6ea",
}
WORDS: Mapping[str, str] = {"deferred": "waits", "awaiting_input": "waits for you", "success": "done", "": "–"}
STEPS = tuple(StepName)


@dataclass(frozen=True, slots=True)
class Task:
    """A task of a run.

    :param index: its map index, -1 if it is not mapped.
    :param label: its map index by name, e.g. ``workers/1``.
    """

    id: str
    index: int
    state: str
    label: str = ""


def board(run_id: str, tasks: Iterable[Task], *, goes_on: bool, root: str = "") -> str:
    """The page; while the run goes on it reloads itself.

    :param tasks: of the run.
    :param root: the path that Airflow is served below, e.g. ``/airflow``.
    """
    run = f"{root}/dags/{ROTATE_NODES}/runs/{quote(run_id)}"
    known = list(tasks)
    batches = [task for task in known if task.id.startswith(f"{BATCH_GROUP}.") and task.index >= 0]
    again = f'<meta http-equiv="refresh" content="{AGAIN_S}">' if goes_on else ""
    ends = (
        "The report takes this page's place when the run has ended." if goes_on else "There is no report of this run."
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8>{again}<title>Rotation</title>"
        "<style>body{font:15px system-ui,sans-serif;margin:1.5rem;color-scheme:light;background:#fff}"
        "td,th{padding:.3rem .8rem;text-align:left;border-bottom:1px solid #eee}a{color:inherit}</style>"
        f"<p>{ends} A step that waits says on what in its log: click on it.</p>"
        f"<p>{_others(run, known)}</p>{_table(run, batches)}</html>"
    )


def note(text: str) -> str:
    """A page that says one thing."""
    return f"<!doctype html><html lang=en><meta charset=utf-8><title>Rotation</title><p>{html.escape(text)}</p></html>"


def _others(run: str, tasks: Iterable[Task]) -> str:
    """The steps of the run that are no batch's, in the order in which they began to matter."""
    others = [t for t in tasks if not t.id.startswith(f"{BATCH_GROUP}.") and t.state not in ("", "success")]
    return " · ".join(f"{html.escape(t.label or t.id)} {_link(run, t)}" for t in others)


def _table(run: str, batches: Iterable[Task]) -> str:
    rows: dict[int, dict[str, Task]] = {}
    for task in batches:
        rows.setdefault(task.index, {})[task.id.partition(".")[2]] = task
    if not rows:
        return ""
    head = "".join(f"<th>{step.value.replace('_', ' ')}</th>" for step in STEPS)
    body = "".join(f"<tr><th>{_name(row)}</th>{_cells(run, row)}</tr>" for _, row in sorted(rows.items()))
    return f"<table><tr><th>batch</th>{head}</tr>{body}</table>"


def _name(row: Mapping[str, Task]) -> str:
    index = next(iter(row.values())).index
    return html.escape(next((task.label for task in row.values() if task.label), str(index)))


def _cells(run: str, row: Mapping[str, Task]) -> str:
    return "".join(_cell(run, row.get(step.value)) for step in STEPS)


def _cell(run: str, task: Task | None) -> str:
    if task is None:
        return "<td></td>"
    colour = COLOURS.get(task.state, "#fff")
    return f'<td style="background:{colour}">{_link(run, task)}</td>'


def _link(run: str, task: Task) -> str:
    mapped = f"/mapped/{task.index}" if task.index >= 0 else ""
    where = html.escape(f"{run}/tasks/{quote(task.id)}{mapped}")
    said = html.escape(WORDS.get(task.state, task.state.replace("_", " ")))
    return f'<a target="_top" href="{where}">{said}</a>'
