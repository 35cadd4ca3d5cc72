"""What all operators share: retries by class of error, one plain message, the documents of the run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from time import time
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from node_rotation_airflow.constants import (
    OWNER,
    PLAN_TASK,
    REQUEST_KEY,
    REQUEST_TASK,
    RETRIES,
    RETRY_DELAY,
    ROTATION_KEY,
)
from node_rotation_airflow.retry import RotationRetryPolicy, said_plainly

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

    from node_rotation.run import Run
    from node_rotation_airflow.documents import Request, Rotation


NO_TIME = timedelta(0)


class RotationOperator(BaseOperator):
    """A task of a rotation. Subclasses say what they do in :meth:`work`."""

    template_fields: Sequence[str] = ()
    ui_color = "#e8f0fe"

    def __init__(self, **kwargs: Any) -> None:
        defaults = {"owner": OWNER, "retries": RETRIES, "retry_delay": RETRY_DELAY}
        super().__init__(**{**defaults, "retry_policy": RotationRetryPolicy(), **kwargs})

    def execute(self, context: Context) -> Any:
        """Do the work; what no retry can help fails the task with one message."""
        with said_plainly():
            return self.work(context)

    def work(self, context: Context) -> Any:
        """What this task does."""
        raise NotImplementedError


def request_of(context: Context) -> Request:
    """What this run is to do."""
    from node_rotation_airflow.documents import Request

    return Request.read(context["ti"].xcom_pull(task_ids=REQUEST_TASK, key=REQUEST_KEY))


def rotation_of(context: Context) -> Rotation | None:
    """The run's plan with its settings; None if there is none (the plan task failed)."""
    from node_rotation_airflow.documents import Rotation

    data = context["ti"].xcom_pull(task_ids=PLAN_TASK, key=ROTATION_KEY)
    return Rotation.read(data) if data else None


def run_of(context: Context) -> Run:
    """The run with its clients.

    :raises BadInputError: if there is no plan.
    """
    from node_rotation.errors import BadInputError
    from node_rotation_airflow.runs import open_run

    rotation = rotation_of(context)
    run_id = str(context["ti"].run_id)
    if rotation is None:
        raise BadInputError(f"run {run_id}", "has no plan in XCom.", f"Clear its task {PLAN_TASK}.")
    return open_run(run_id, rotation)


def began_at(context: Context, now: float) -> float:
    """When this task began: fixed by its first attempt, so that retries don't extend its deadline.

    Clearing a task raises ``max_tries`` and retrying does not: a cleared one gets its full time again.

    :param now: epoch seconds.
    """
    store, key = context["task_state_store"], f"began-{context['ti'].max_tries}"
    known = store.get(key)
    if isinstance(known, int | float):
        return float(known)
    store.set(key, now)
    return now


def time_left(context: Context, whole: timedelta) -> timedelta:
    """What is left of a wait that began with the task; Airflow would give every attempt all of it.

    :param whole: how long the task may wait.
    """
    now = time()
    return whole - timedelta(seconds=now - began_at(context, now))
