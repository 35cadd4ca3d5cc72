"""docs/pipelines.md, line by line: what a pipeline runs shows nobody its password, nor the token it gets for it.

Command lines are seen by everybody on a machine (`ps`), and kept by shells. That the lines do what the page says is
asked of a real Airflow in tests/e2e/test_pipelines.py.
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
from tests.e2e.test_pipelines import block, github, gitlab

PASSWORD = 'correct horse "battery" $staple'
TOKEN = "eyJhbGciOi.IUzUxMiJ9.c2lnbmF0dXJl"
RUN = "asset_triggered__2026-11-09T01:00:00+00:00__x"
PROGRAMS = ("curl", "jq", "date", "sleep")
"""All that the page's scripts may run; everything else is the shell's own, and no process."""


@dataclass
class Airflow:
    """Answers as Airflow's API does; remembers what it was told."""

    address: str = ""
    logins: list[Any] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    events: list[Any] = field(default_factory=list)

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
            return {"value": {"drift": []}}
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
            self.send_response(200)
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


@pytest.mark.parametrize(("job", "shell"), [(curl, "bash"), (gitlab, "sh"), (github, "bash")])
def test_nobody_sees_the_password_or_the_token(
    airflow: Airflow, watched: Callable[[], str], tmp_path: Path, job: Callable[[], Any], shell: str
) -> None:
    script, _ = job()
    told = {"AIRFLOW_URL": airflow.address, "AIRFLOW_USER": "pipeline", "AIRFLOW_PASSWORD": PASSWORD}
    ran = subprocess.run(
        [shutil.which(shell) or shell, "-e", "-c", script],
        env={**told, "CLUSTER": "dev.eu-1", "POLL_S": "0", "PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert airflow.logins == [{"username": "pipeline", "password": PASSWORD}]
    assert airflow.tokens == {f"Bearer {TOKEN}"}
    assert [event["asset_id"] for event in airflow.events] == [7]
    assert airflow.events[0]["partition_key"].endswith("~dev.eu-1")
    for secret in (PASSWORD, json.dumps(PASSWORD)[1:-1], TOKEN):
        assert secret not in watched(), "on a command line"
        assert secret not in ran.stdout + ran.stderr
