"""A real Airflow on loopback, for the demo and for tests: start, talk to, stop by process id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

from proving_ground import airflow_database
from proving_ground.airflow_settings import configuration, free_port, secrets_of
from proving_ground.control_plane.processes import Processes, Started

COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "execution-api": ("api-server", "--apps", "execution", "--workers", "1"),
    "api-server": ("api-server", "--apps", "core", "--workers", "1"),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "triggerer": ("triggerer", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
}
"""Log servers are skipped: Airflow 3.3 binds them to every interface. The two API apps have a process each:
on SQLite one process for both answers 500 to public calls while tasks write."""

HEALTHY_S = 120.0
CALL_TIMEOUT_S = 30.0
LOOK_S = 2.0
"""Between looks at a run: each takes 30 ms of a core."""
ATTEMPTS = 5
STOP_S = 15.0
Progress = Callable[[str], None]


class AirflowError(RuntimeError):
    """Airflow did not come up, or refused a call; the message says what to look at."""


@dataclass(frozen=True)
class Airflow:
    """An Airflow that runs.

    :param home: its AIRFLOW_HOME; logs of its processes are in ``home/log``.
    :param url: of UI and public API.
    :param env: what a command line needs to talk about this Airflow.
    """

    home: Path
    url: str
    env: Mapping[str, str]

    def api(self, method: str, path: str, json: Any = None, params: Mapping[str, Any] | None = None) -> Any:
        """Call the public API; a 500 is tried again (SQLite may be busy).

        :param path: below ``/api/v2``, e.g. ``/dags``.
        :return: the decoded answer, None if it has no body.
        :raises AirflowError: with status and body of the refusal.
        """
        for attempt in range(1, ATTEMPTS + 1):
            answer = requests.request(
                method,
                f"{self.url}/api/v2{path}",
                json=json,
                params=params,
                headers={"Authorization": f"Bearer {self._token()}"},
                timeout=CALL_TIMEOUT_S,
            )
            if answer.status_code < 500 or attempt == ATTEMPTS:
                break
            time.sleep(0.5 * attempt)
        if not answer.ok:
            raise AirflowError(f"{method} {path}: {answer.status_code} {answer.text[:2000]}")
        return answer.json() if answer.content else None

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, partition_key: str | None = None) -> str:
        """Start a run by hand.

        :return: its run id.
        """
        body = {"conf": dict(conf or {}), "logical_date": None, "partition_key": partition_key}
        return str(self.api("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """The runs of a DAG, oldest first."""
        found = self.api("GET", f"/dags/{dag_id}/dagRuns", params={"limit": 100, "order_by": "id"})
        return list(found["dag_runs"])

    def wait_run(self, dag_id: str, run_id: str, timeout_s: float) -> str:
        """Wait until a run has ended.

        :return: its last state; ``running`` or ``queued`` if time was up first.
        """
        until = time.monotonic() + timeout_s
        while True:
            state = str(self.api("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"])
            if state in ("success", "failed") or time.monotonic() >= until:
                return state
            time.sleep(LOOK_S)

    def tasks(self, dag_id: str, run_id: str, **only: Any) -> list[dict[str, Any]]:
        """The task instances of a run.

        :param only: filters of the API, e.g. ``task_id`` or ``state``: who looks once a second looks at a few.
        """
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        found: list[dict[str, Any]] = []
        while True:
            page = self.api("GET", path, params={**only, "limit": 100, "offset": len(found)})
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found

    def log(self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1, attempt: int = 1) -> str:
        """A task's log, one event per line, with the messages of exceptions and why it was skipped."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}"
        content = self.api("GET", path, params={"map_index": map_index, "full_content": "true"})["content"]
        return "\n".join(_event(e) for e in content)

    def cli(self, *args: str, timeout_s: float = 120.0) -> str:
        """Run an ``airflow`` command; its output.

        :raises AirflowError: with the output if it fails.
        """
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *args],
            env=_clean_environment() | dict(self.env),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode:
            raise AirflowError(f"airflow {' '.join(args)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def stop(self) -> None:
        """Stop exactly the processes that were started."""
        stop(self.home)

    def _token(self) -> str:
        if not _TOKENS.get(self.url):
            answer = requests.get(f"{self.url}/auth/token", timeout=CALL_TIMEOUT_S)
            answer.raise_for_status()
            _TOKENS[self.url] = answer.json()["access_token"]
        return _TOKENS[self.url]


_TOKENS: dict[str, str] = {}


def _event(line: Any) -> str:
    if not isinstance(line, dict):
        return str(line)
    said = [str(line["event"])] + ([str(line["reason"])] if "reason" in line else [])  # why a task was skipped
    return ": ".join([*said, *(str(error.get("exc_value", "")) for error in line.get("error_detail") or ())])


def start(
    home: Path,
    dags: Path,
    plugins: Path,
    *,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, Mapping[str, object]] | None = None,
    progress: Progress = print,
    healthy_s: float = HEALTHY_S,
) -> Airflow:
    """Start api-server, scheduler, triggerer and dag-processor, and wait until all are healthy.

    :param home: AIRFLOW_HOME; a database that is there is kept.
    :param dags: the DAGs folder.
    :param plugins: the plugins folder.
    :param env: added to every process' environment: connections, AWS endpoint, fleet file.
    :param overrides: Airflow settings, section → option → value, over the proving ground's own.
    :param healthy_s: how long to wait, in seconds.
    :raises AirflowError: names the component that isn't healthy and its log.
    """
    home.mkdir(parents=True, exist_ok=True)
    (home / "log").mkdir(exist_ok=True)
    ports = {"api-server": free_port(), "execution-api": free_port()}
    url = f"http://127.0.0.1:{ports['api-server']}"
    settings = configuration(home, dags, plugins, ports, secrets_of(home), overrides or {})
    (home / "airflow.cfg").write_text(settings)
    (home / "airflow.cfg").chmod(0o600)
    airflow = Airflow(home=home, url=url, env=_environment(home, env or {}))
    (home / "running.json").write_text(json.dumps({"url": url, "env": dict(airflow.env)}))
    (home / "running.json").chmod(0o600)
    airflow_database.bring(home / "airflow.db")
    processes = _processes(home)
    for name, command in COMPONENTS.items():
        port = ("--host", "127.0.0.1", "--port", str(ports[name])) if name in ports else ()
        argv = [*_unset(), sys.executable, "-m", "airflow", *command, *port]
        processes.start(name, argv, home / "log" / f"{name}.log", airflow.env)
    try:
        _wait_until_healthy(airflow, processes, ports["execution-api"], healthy_s, progress)
    except AirflowError:
        stop(home)
        raise
    return airflow


def find(home: Path) -> Airflow | None:
    """The Airflow of this home if all its processes run, else None."""
    if len(_processes(home).running()) < len(COMPONENTS):
        return None
    said = json.loads((home / "running.json").read_text())
    return Airflow(home=home, url=said["url"], env=said["env"])


def stop(home: Path) -> list[str]:
    """Stop what was started for this home, also after a crash; task processes go with it.

    :return: names of what was stopped.
    """
    processes = _processes(home)
    recorded = processes.recorded()
    family = _descendants(recorded)
    stopped = processes.stop()
    leftover = [one for one in family if one.is_running()]
    for one in leftover:
        _end(one)
    psutil.wait_procs(leftover, timeout=STOP_S)
    return [one.name for one in stopped]


def _end(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def _descendants(recorded: list[Started]) -> list[psutil.Process]:
    """Everything in the sessions of the recorded processes but themselves.

    Each was started as leader of a session; a session's id is not given away again while anyone is in it.
    """
    leaders = {one.pid: one for one in recorded}
    found = []
    for process in psutil.process_iter():
        try:
            leader = leaders.get(os.getsid(process.pid))
            if leader and process.pid != leader.pid and process.create_time() >= leader.created:
                found.append(process)
        except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            continue
    return found


def _processes(home: Path) -> Processes:
    return Processes(home / "processes.json")


def _environment(home: Path, env: Mapping[str, str]) -> dict[str, str]:
    include = Path(__file__).resolve().parents[1]
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONFIG": str(home / "airflow.cfg"),
        "PYTHONPATH": str(include),
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        **env,
    }


def _clean_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW_")}


def _unset() -> list[str]:
    """Another Airflow's settings in our environment must not reach this one (nor ours it)."""
    names = sorted(key for key in os.environ if key.startswith("AIRFLOW_"))
    return ["env", *(word for name in names for word in ("-u", name))] if names else []


def _wait_until_healthy(
    airflow: Airflow, processes: Processes, execution_port: int, timeout_s: float, progress: Progress
) -> None:
    began = time.monotonic()
    missing: list[str] = sorted(COMPONENTS)
    while time.monotonic() - began < timeout_s:
        running = {one.name for one in processes.running()}
        if dead := sorted(set(COMPONENTS) - running):
            log = airflow.home / "log" / f"{dead[0]}.log"
            raise AirflowError(f"Airflow's {dead[0]} ended at once; the end of {log}:\n{log.read_text()[-3000:]}")
        missing = _unhealthy(airflow.url, execution_port)
        if not missing:
            progress(f"Airflow is healthy after {time.monotonic() - began:.0f} s: {airflow.url}")
            return
        time.sleep(0.3)
    raise AirflowError(f"Airflow isn't healthy after {timeout_s:.0f} s: {', '.join(missing)}; see {airflow.home}/log")


def _unhealthy(url: str, execution_port: int) -> list[str]:
    try:
        requests.get(f"http://127.0.0.1:{execution_port}/execution/health", timeout=CALL_TIMEOUT_S).raise_for_status()
        health = requests.get(f"{url}/api/v2/monitor/health", timeout=CALL_TIMEOUT_S)
        health.raise_for_status()
    except requests.RequestException:
        return ["api-server"]
    said = health.json()
    parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
    return [part for part in parts if (said.get(part) or {}).get("status") != "healthy"]
