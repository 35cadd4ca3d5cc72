"""What triggers ask Airflow for, asked once for all that wait in one triggerer."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import GetTaskStates, GetXCom, TaskStatesResult, XComResult

from node_rotation.errors import BlockedError, TransientError
from node_rotation.run import Run
from node_rotation_airflow.admission import gates_of
from node_rotation_airflow.constants import PLAN_TASK, ROTATION_KEY
from node_rotation_airflow.documents import Rotation
from node_rotation_airflow.runs import open_run

if TYPE_CHECKING:
    from airflow.sdk.types import RuntimeTaskInstanceProtocol as TaskInstance

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)

EACH = 8
"""So many threads one cluster may hold: where it gives no answer, they wait for it and for nobody else."""
THREADS = 32 * EACH
"""Of all clusters; one is only begun where none is idle."""
FORGET_S = 3600.0
AWAY_S = 5.0
_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="rotation")
_places: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
"""By cluster, as long as somebody waits there."""


async def in_thread(cluster: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run something that blocks off the event loop, beside :data:`EACH` others of its cluster at most.

    Not ``asyncio.to_thread``: its pool has a handful of threads for the whole triggerer, other people's included.

    :param cluster: whose answer it blocks for.
    """
    context, place = contextvars.copy_context(), _places.setdefault(cluster, asyncio.Semaphore(EACH))
    async with place:
        return await asyncio.get_running_loop().run_in_executor(_threads, lambda: context.run(call, *args, **kwargs))


class Shared:
    """Answers that everybody of this process shares for a while.

    :param clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answers: dict[tuple[str, ...], tuple[float, Any]] = {}
        self._locks: dict[tuple[str, ...], asyncio.Lock] = {}

    async def get(self, key: tuple[str, ...], ttl_s: float, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer to a question, asked anew if the last one is older than ``ttl_s``."""
        async with self._locks.setdefault(key, asyncio.Lock()):
            known = self._answers.get(key)
            if known is None or self._clock() - known[0] >= ttl_s:
                known = (self._clock(), await ask())
                self._answers[key] = known
        self._forget()
        answer: T = known[1]
        return answer

    def _forget(self) -> None:
        now = self._clock()
        for key in [k for k, (at, _) in self._answers.items() if now - at > FORGET_S]:
            if not self._locks[key].locked():
                del self._answers[key], self._locks[key]


_shared = Shared()


async def the_run(ti: TaskInstance, plan_id: str) -> Run:
    """The run a deferred task belongs to, its plan read from XCom once for all.

    While Airflow's API server or the cluster's account is away, or refuses, it is waited for as long as Airflow lets
    the task: credentials are renewed, rights are given, and a trigger that failed here would cost it a try.

    :param plan_id: the plan the task began with; a cached one of that id is never read again.
    :raises RuntimeError: if the plan task left nothing.
    """
    while True:
        try:
            return await _opened(ti, plan_id)
        except AirflowRuntimeError as error:
            log.warning("Airflow's API server is waited for: %s", error)
            await asyncio.sleep(AWAY_S)
        except TransientError as error:
            log.warning("waits: %s", error)
            await asyncio.sleep(error.retry_after_s)
        except BlockedError as error:
            log.warning("refused, and tried again: %s", error)
            await asyncio.sleep(AWAY_S)


async def _opened(ti: TaskInstance, plan_id: str) -> Run:

    async def ask() -> Rotation:
        asked = GetXCom(key=ROTATION_KEY, dag_id=ti.dag_id, run_id=ti.run_id, task_id=PLAN_TASK, map_index=-1)
        answer = await task_runner.SUPERVISOR_COMMS.asend(asked)
        if not isinstance(answer, XComResult) or not isinstance(answer.value, dict):
            raise RuntimeError(f"run {ti.run_id} has no plan in XCom. Clear its task {PLAN_TASK}.")
        return Rotation.read(answer.value)

    key = ("rotation", ti.dag_id, ti.run_id, plan_id)
    rotation = await _shared.get(key, FORGET_S, ask)
    return await in_thread(rotation.settings.name, open_run, ti.run_id, rotation, commands=False)


async def states(ti: TaskInstance, task_id: str, ttl_s: float) -> Mapping[int, str | None] | None:
    """States of a mapped task of this run, by map index; None if Airflow can't say now.

    :param ttl_s: for how long one answer is shared, in seconds.
    """

    async def ask() -> Mapping[int, str | None] | None:
        found = await _task_states(ti, task_id)
        return None if found is None else gates_of(found, task_id)

    return await _shared.get(("states", ti.dag_id, ti.run_id, task_id), ttl_s, ask)


async def _task_states(ti: TaskInstance, task_id: str) -> Mapping[str, str | None] | None:
    asked = GetTaskStates(dag_id=ti.dag_id, run_ids=[ti.run_id], task_ids=[task_id])
    try:
        answer = await task_runner.SUPERVISOR_COMMS.asend(asked)
    except AirflowRuntimeError:
        return None  # the API server is away: whoever waits goes on waiting
    if not isinstance(answer, TaskStatesResult):
        return None
    found: Mapping[str, str | None] = answer.task_states.get(ti.run_id, {})
    return found
