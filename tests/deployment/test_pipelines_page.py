"""docs/pipelines.md, line by line: what a pipeline runs shows nobody its password, nor the token it gets for it.

Command lines are seen by everybody on a machine (`ps`), and kept by shells. That the lines do what the page says is
asked of a real Airflow in tests/e2e/pipelines/test_eks.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tests.e2e.pipelines.page import block, github, gitlab

PASSWORD = 'correct horse "battery" $staple'
TOKEN = "eyJhbGciOi.IUzUxMiJ9.c2lnbmF0dXJl"
RUN = "asset_triggered__2026-11-09T01:00:00+00:00__x"
PROGRAMS = ("curl", "jq", "date", "sleep")
"""All that the page's scripts may run; everything else is the shell's own, and no process."""


@dataclass
class Airflow:
    """Answers as Airflow's API does; remembers what it was told.

    :param verified: the state of the run's task ``verify``; one that was skipped has left no verdict.
    :param allowed: whether the account may read what tasks leave.
    """

    address: str = ""
    verified: str = "success"
    allowed: bool = True
    logins: list[Any] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    events: list[Any] = field(default_factory=list)

    def status(self, path: str) -> int:
        if not path.endswith("/verdict"):
            return 200
        if not self.allowed:
            return 403
        return 404 if self.verified == "skipped" else 200

    def answer(self, path: str, body: Any) -> Any:
        if path == "/auth/token":
            self.logins.append(body)
            return {"access_token": TOKEN}
        if path == "/api/v2/assets/events":
            self.events.append(body)
            return {"timestamp": "2026-11-09T01:00:00Z"}
        if path.startswith("/api/v2/assets"):
            return {"assets": [{"id": 7}]}
        if path.endswith("/verdict"):
            return {"value": {"drift": []}} if self.status(path) == 200 else {"detail": "no"}
        if path.endswith("/taskInstances/verify"):
            return {"state": self.verified}
        run = {
            "dag_run_id": RUN,
            "partition_key": self.events[-1]["partition_key"],
            "queued_at": "2026-11-09T01:00:01Z",
        }
        return {"dag_runs": [{**run, "state": "success"}]}


@pytest.fixture
def airflow() -> Iterator[Airflow]:
    told = Airflow()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def do_GET(self) -> None:
            self._reply(None)

        def _reply(self, body: Any) -> None:
            if self.path != "/auth/token":
                told.tokens.add(self.headers["Authorization"])
            said = json.dumps(told.answer(self.path, body)).encode()
            self.send_response(told.status(self.path))
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Nothing: pytest's output is for failures."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield told
    server.shutdown()
    server.server_close()
    thread.join(10.0)


@pytest.fixture
def watched(tmp_path: Path) -> Callable[[], str]:
    """Programs that write their command lines down and then do what they do; what they wrote."""
    programs = tmp_path / "bin"
    programs.mkdir()
    seen = tmp_path / "seen"
    for name in PROGRAMS:
        real = shutil.which(name)
        assert real, f"{name} is needed"
        wrapper = programs / name
        wrapper.write_text(f'#!/bin/sh\nprintf "%s\\n" {name} "$@" >> {seen}\nexec {real} "$@"\n')
        wrapper.chmod(0o755)
    return seen.read_text


def curl() -> tuple[str, dict[str, Any]]:
    return block("curl", "bash"), {}


def ran(job: Callable[[], Any], shell: str, airflow: Airflow, programs: Path) -> subprocess.CompletedProcess[str]:
    """A job's script, as its pipeline's system runs it: GitLab in a plain sh, GitHub where a pipe fails as a whole."""
    script, _ = job()
    told = {"AIRFLOW_URL": airflow.address, "AIRFLOW_USER": "pipeline", "AIRFLOW_PASSWORD": PASSWORD}
    return subprocess.run(
        [shutil.which(shell) or shell, "-e", *(["-o", "pipefail"] if job is github else []), "-c", script],
        env={**told, "CLUSTER": "dev.eu-1", "POLL_S": "0", "PATH": str(programs)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


JOBS = pytest.mark.parametrize(("job", "shell"), [(gitlab, "sh"), (github, "bash")])


@pytest.mark.parametrize(("job", "shell"), [(curl, "bash"), (gitlab, "sh"), (github, "bash")])
def test_nobody_sees_the_password_or_the_token(
    airflow: Airflow, watched: Callable[[], str], tmp_path: Path, job: Callable[[], Any], shell: str
) -> None:
    done = ran(job, shell, airflow, tmp_path / "bin")
    assert done.returncode == 0, done.stderr
    assert airflow.logins == [{"username": "pipeline", "password": PASSWORD}]
    assert airflow.tokens == {f"Bearer {TOKEN}"}
    assert [event["asset_id"] for event in airflow.events] == [7]
    assert airflow.events[0]["partition_key"].endswith("~dev.eu-1")
    for secret in (PASSWORD, json.dumps(PASSWORD)[1:-1], TOKEN):
        assert secret not in watched(), "on a command line"
        assert secret not in done.stdout + done.stderr


@JOBS
@pytest.mark.usefixtures("watched")
def test_a_job_shows_its_verdict(airflow: Airflow, tmp_path: Path, job: Callable[[], Any], shell: str) -> None:
    done = ran(job, shell, airflow, tmp_path / "bin")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{RUN}: success" in done.stdout
    assert '"drift": []' in done.stdout


@JOBS
@pytest.mark.usefixtures("watched")
def test_a_job_whose_run_touched_nothing_says_so_and_is_neither_well_nor_failed(
    airflow: Airflow, tmp_path: Path, job: Callable[[], Any], shell: str
) -> None:
    """Superseded, rejected, not approved in time, or only planned: the run ends well, its verify is skipped."""
    airflow.verified = "skipped"
    done = ran(job, shell, airflow, tmp_path / "bin")
    assert (done.returncode, done.stderr) == (2, "")
    assert "nothing was rotated" in done.stdout


@JOBS
@pytest.mark.usefixtures("watched")
def test_a_job_that_gets_no_verdict_is_not_well(
    airflow: Airflow, tmp_path: Path, job: Callable[[], Any], shell: str
) -> None:
    airflow.allowed = False
    done = ran(job, shell, airflow, tmp_path / "bin")
    assert done.returncode not in (0, 2)
    assert "403" in done.stderr
    assert "null" not in done.stdout
