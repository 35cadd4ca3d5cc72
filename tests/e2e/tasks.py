"""A run's tasks while they run: seen all the while, marked, or killed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import psutil
from tests.e2e.land import ROTATE, Land, eventually

BEGUN = ("launch", "drain", "terminate", "health_gate")
"""What a batch waits in once it has been admitted."""
AT_WORK = ("running", "deferred")


class Watch:
    """Looks at a run's tasks all the while, in a thread of its own."""

    def __init__(self, land: Land, run_id: str) -> None:
        self.land, self.run_id = land, run_id
        self.side_by_side: set[frozenset[str]] = set()
        self.most_running = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._over.set()
        self._thread.join(timeout=60)

    def _look(self) -> None:
        while not self._over.wait(1.0):
            tasks = self.land.airflow.tasks(ROTATE, self.run_id, state=AT_WORK)
            begun = [t for t in tasks if t["task_id"].removeprefix("batch.") in BEGUN and t["state"] == "deferred"]
            waiting = {str(t["rendered_map_index"]) for t in begun}
            self.side_by_side.add(frozenset(waiting))
            self.most_running = max(self.most_running, sum(t["state"] == "running" for t in tasks))


def marked_failed(land: Land, run_id: str, *tasks: tuple[str, int]) -> None:
    """Mark instances of tasks failed, each once it is at work, as people do in the UI.

    :param tasks: name and map index, -1 for one that is not mapped.
    """
    due = set(tasks)

    def marked() -> bool:
        at_work = land.airflow.tasks(ROTATE, run_id, state=AT_WORK)
        for instance in due & {(str(t["task_id"]), int(t["map_index"])) for t in at_work}:
            land.mark(run_id, *instance, "failed")
            due.remove(instance)
        return not due

    eventually(f"at work: {sorted(due)}", marked, pause_s=0.1)


def killed(land: Land, run_id: str, task_id: str, when: Callable[[], bool] = lambda: True) -> None:
    """SIGKILL to the process that works on the first instance of a task, at a moment.

    :param when: asked while the process runs.
    """

    def hit() -> bool:
        work = {str(t["id"]) for t in land.airflow.tasks(ROTATE, run_id, task_id=task_id, state="running")}
        return any(_killed(land, ti, when) for ti in work)

    eventually(f"a process works on {task_id}", hit, pause_s=0.05)


def _killed(land: Land, ti: str, when: Callable[[], bool]) -> bool:
    process = _process(land, ti)
    while process is not None and process.is_running():
        if when():
            process.kill()
            return True
    return False


def _process(land: Land, ti: str) -> psutil.Process | None:
    """The task's own process: a child of one of LocalExecutor's workers, which are the scheduler's."""
    started = json.loads((land.airflow.home / "processes.json").read_text())
    scheduler = psutil.Process(next(one["pid"] for one in started if one["name"] == "scheduler"))
    for process in scheduler.children(recursive=True):
        try:
            if " ".join(process.cmdline()).strip() == f"airflow worker -- {ti}":
                return process
        except psutil.NoSuchProcess:
            continue
    return None
