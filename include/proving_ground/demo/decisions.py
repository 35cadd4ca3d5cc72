"""What the demo makes of what Airflow and the observer say: values in, a decision out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from proving_ground.observer.figures import NOTHING_LOST

Task = Mapping[str, Any]
Run = Mapping[str, Any]

READ_S = 10.0
"""Nobody reads a plan sooner, and Airflow 3.3.2 asks again if it is answered before its scheduler saw the task wait."""
ENDED = ("success", "failed")
LAST = ("success", "failed", "upstream_failed", "skipped", "removed")
"""States that a task does not leave by itself."""
ASKS = "awaiting_input"


def new_run(runs: Iterable[Run], known: Collection[str], partition_key: str) -> str | None:
    """The run that a drift check started for its partition; None as long as there is none.

    :param known: run ids that were there before.
    """
    mine = (run for run in runs if run["partition_key"] == partition_key and run["dag_run_id"] not in known)
    return next((str(run["dag_run_id"]) for run in mine), None)


def has_begun(tasks: Iterable[Task]) -> bool:
    """Whether a run is past everything that it may wait for."""
    return any(task["task_id"] == "opened" and task["state"] == "success" for task in tasks)


def may_be_over(tasks: Iterable[Task]) -> bool:
    """Whether a run's last task has ended, so that it is worth asking for the run's state."""
    return any(task["task_id"] == "report" and task["state"] in LAST for task in tasks)


def asks(tasks: Iterable[Task]) -> bool:
    """Whether a run waits for somebody to approve its plan."""
    return _asked_at(tasks) is not None


def may_answer(tasks: Iterable[Task], now: datetime) -> bool:
    """Whether a plan has been shown for long enough to be approved."""
    asked_at = _asked_at(tasks)
    return asked_at is not None and (now - asked_at).total_seconds() >= READ_S


def verified_at(tasks: Iterable[Task], now: datetime) -> float:
    """When a run's verify ended, epoch seconds; now if it never did."""
    ended = [t["end_date"] for t in tasks if t["task_id"] == "verify" and t["end_date"]]
    return (datetime.fromisoformat(ended[0]) if ended else now).timestamp()


def not_refused(state: str, image_id: str, frozen: Collection[str], figures: Mapping[str, Any]) -> list[str]:
    """What is wrong with how a bad image ended; nothing if all is well.

    :param state: of the run that tried it.
    :param frozen: ids of all frozen images.
    :param figures: the observer's of that run.
    """
    wrong = [] if state == "failed" else [f"its rotation ended {state}"]
    wrong += [] if image_id in frozen else ["it is not frozen"]
    return wrong + [f"{name.replace('_', ' ')}: {figures[name]}" for name in NOTHING_LOST if figures[name]]


def lost(states: Mapping[str, str]) -> list[str]:
    """Environments whose rotation ended otherwise than well: what waits for them waits in vain."""
    return [environment for environment, state in states.items() if state in ENDED and state != "success"]


def exit_code(states: Mapping[str, str], codes: Sequence[int]) -> int:
    """0 if every rotation ended well, and the observers say that all is well.

    :param codes: the observers' exit codes, one per environment.
    """
    well = len(codes) == len(states) and not any(codes) and all(state == "success" for state in states.values())
    return 0 if states and well else 1


def _asked_at(tasks: Iterable[Task]) -> datetime | None:
    asking = (t for t in tasks if t["task_id"] == "approve" and t["state"] == ASKS and t["start_date"])
    return next((datetime.fromisoformat(task["start_date"]) for task in asking), None)
