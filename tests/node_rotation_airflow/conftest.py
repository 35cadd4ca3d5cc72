"""Airflow without a database: a channel that answers from a dictionary, and tasks on a world in memory."""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import WeakValueDictionary

import pytest

ROOT = Path(__file__).parents[2]
NIGHT = datetime(2026, 11, 9, 1, tzinfo=UTC)
HOME = Path(tempfile.mkdtemp(prefix="node-rotation-airflow-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ.update(
    {
        "AIRFLOW_HOME": str(HOME),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    }
)

from node_rotation import fleet  # noqa: E402  (Airflow reads its environment when it is imported)
from node_rotation.clearance.answers import Answers  # noqa: E402
from node_rotation.testing.world import MemoryWorld  # noqa: E402
from node_rotation_airflow import runs  # noqa: E402
from node_rotation_airflow.constants import BEFORE_OPENED, WAIT_TASK  # noqa: E402
from node_rotation_airflow.triggers import comms as trigger_comms  # noqa: E402

FLEET = """
environments:
  - name: dev
    policy: {drain: {timeout: 10m}}
    clusters:
      - name: one
        aws: {region: eu-central-1}
        groups:
          - {name: workers, asg: one-workers}
          - {name: masters, asg: one-masters, role: control-plane}
  - name: prod
    clusters:
      - name: eu-1
        aws: {region: eu-central-1}
        groups: [{name: workers, asg: eu-1-workers}]
"""


@pytest.fixture
def fleet_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "fleet.yaml"
    file.write_text(FLEET)
    monkeypatch.setenv("NODE_ROTATION_FLEET", str(file))
    return file


@pytest.fixture
def a_fleet(fleet_file: Path) -> fleet.Fleet:
    return fleet.load(fleet_file)


class Comms:
    """Answers messages by their class' name, and remembers them."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.answers: dict[str, Any] = {}

    def send(self, message: Any) -> Any:
        self.sent.append(message)
        return self.answers[type(message).__name__](message)

    async def asend(self, message: Any) -> Any:
        return self.send(message)

    def count(self, name: str) -> int:
        return sum(type(message).__name__ == name for message in self.sent)


@pytest.fixture
def comms(monkeypatch: pytest.MonkeyPatch) -> Comms:
    from airflow.sdk.execution_time import task_runner

    channel = Comms()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", channel, raising=False)
    monkeypatch.setattr(trigger_comms, "_shared", trigger_comms.Shared())
    return channel


class Store(dict[str, Any]):
    """A task's state store."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


class Airflow:
    """One run: XComs, task states, and tasks driven as Airflow drives them, deferral included."""

    def __init__(self, world: MemoryWorld, comms: Comms, **policy: Any) -> None:
        self.world, self.comms, self.policy = world, comms, policy
        self.xcoms: dict[tuple[str, str], Any] = {}
        self.mapped: dict[tuple[Any, str, int], Any] = {}
        self.states: dict[str, str] = {}
        self.stores: dict[str, Store] = {}
        self.outlets: dict[Any, SimpleNamespace] = {}
        self.max_tries = 3
        self.variables: dict[str, str] = {}
        self.others: dict[str, tuple[str, str]] = {}
        """Other runs: the state of each, and that of its wait."""
        self.pulled: list[Any] = []
        comms.answers["GetXCom"] = self._xcom
        comms.answers["GetTaskStates"] = self._states
        comms.answers["GetDRCount"] = self._count
        comms.answers["GetVariable"] = self._variable
        comms.answers["PutVariable"] = lambda message: self.variables.update({message.key: message.value})

    def context(self, task_id: str, index: int = -1, **dag_run: Any) -> Any:
        ti = SimpleNamespace(
            dag_id="rotate_nodes",
            run_id="manual__1",
            task_id=task_id,
            map_index=index,
            max_tries=self.max_tries,
            try_number=1,
            xcom_pull=self._pull,
            xcom_push=lambda key, value: self._push(task_id, index, key, value),
            get_task_states=self._asked,
        )
        store = self.stores.setdefault(f"{task_id}_{index}", Store())
        run = SimpleNamespace(**{"conf": {}, "partition_key": None, "run_after": NIGHT, **dag_run})
        params = dict(run.conf)  # Airflow adds all of conf, known or not
        return {"ti": ti, "dag_run": run, "params": params, "task_state_store": store, "outlet_events": self.outlets}

    def run(self, operator: Any, index: int = -1, **dag_run: Any) -> Any:
        """Execute, and when it defers, run its trigger until it ends the task or sends it back to a worker."""
        from airflow.sdk.exceptions import TaskDeferred

        context = self.context(operator.task_id, index, **dag_run)
        goes_on: Callable[[], Any] = partial(operator.execute, context)
        while True:
            try:
                returned = goes_on()
            except TaskDeferred as deferred:
                event = self.fire(deferred.trigger, context["ti"])
                if type(event).__name__ != "TriggerEvent":
                    for key, value in (event.xcoms or {}).items():
                        self._push(operator.task_id, index, key, value)
                    return event
                resumed = getattr(operator, deferred.method_name)
                goes_on = partial(resumed, context, event=event.payload, **(deferred.kwargs or {}))
                continue
            self.mapped[operator.task_id, "return_value", index] = returned
            return returned

    def fire(self, trigger: Any, ti: Any) -> Any:
        """The first event of a trigger."""
        trigger._task_instance = ti

        async def first() -> Any:
            return await anext(trigger.run())

        return asyncio.run(first())

    def _asked(self, dag_id: str, run_ids: list[str], task_ids: Any = None, map_index: int | None = None) -> Any:
        def wanted(name: str) -> bool:
            if name in BEFORE_OPENED:
                return not task_ids or name in task_ids
            task, _, index = name.rpartition("_")
            return (not task_ids or task in task_ids) and (map_index is None or index == str(map_index))

        return {run: {name: state for name, state in self.states.items() if wanted(name)} for run in run_ids}

    def _pull(self, task_ids: str | list[str], key: str, map_indexes: int | None = None) -> Any:
        if map_indexes is not None:
            return self.mapped.get((task_ids, key, map_indexes))
        if not isinstance(task_ids, list):
            return self.xcoms.get((task_ids, key))
        return self.pulled if key == "return_value" else [self.xcoms.get((task_id, key)) for task_id in task_ids]

    def _push(self, task_id: str, index: int, key: str, value: Any) -> None:
        self.xcoms[task_id, key] = self.mapped[task_id, key, index] = value

    def _xcom(self, message: Any) -> Any:
        from airflow.sdk.execution_time.comms import XComResult

        return XComResult(key=message.key, value=self.xcoms.get((message.task_id, message.key)))

    def _variable(self, message: Any) -> Any:
        from airflow.sdk.exceptions import ErrorType
        from airflow.sdk.execution_time.comms import ErrorResponse, VariableResult

        if message.key not in self.variables:
            return ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND)
        return VariableResult(key=message.key, value=self.variables[message.key])

    def _states(self, message: Any) -> Any:
        from airflow.sdk.execution_time.comms import TaskStatesResult

        wanted = {k: v for k, v in self.states.items() if any(k.startswith(t) for t in message.task_ids)}
        others = {run: {WAIT_TASK: wait} for run, (_, wait) in self.others.items()}
        return TaskStatesResult(task_states={"manual__1": wanted, **others})

    def _count(self, message: Any) -> Any:
        from airflow.sdk.execution_time.comms import DRCount

        states = [self.others[run][0] for run in message.run_ids if run in self.others]
        return DRCount(count=sum(state in message.states for state in states))


def new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has opened no run yet, and knows nothing of other clusters."""
    for name, empty in (("_runs", WeakValueDictionary()), ("_kept", OrderedDict()), ("_answers", Answers())):
        monkeypatch.setattr(runs, name, empty)


@pytest.fixture
def airflow(comms: Comms, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a run on a world in memory, whose time passes while triggers sleep."""

    def make(world: MemoryWorld, **policy: Any) -> Airflow:
        async def sleep(seconds: float) -> None:
            world.clock.wait(seconds)

        monkeypatch.setattr(runs, "connect", lambda settings: runs.World(world.cloud, world.cluster, world.clock))
        monkeypatch.setattr(runs, "outside", lambda *, commands: world.outside.value(commands=commands))
        monkeypatch.setattr("node_rotation_airflow.triggers.step.sleep", sleep)
        monkeypatch.setattr("node_rotation_airflow.triggers.admit.sleep", sleep)
        monkeypatch.setattr("node_rotation_airflow.triggers.clear.sleep", sleep)
        return Airflow(world, comms, **policy)

    new_process(monkeypatch)
    return make
