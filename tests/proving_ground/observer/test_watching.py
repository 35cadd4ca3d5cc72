"""An observer that goes on watching where an API server ends its watch."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest

from proving_ground.observer import __main__ as observer
from proving_ground.observer import watching
from proving_ground.observer.seen import Seen

NODES = "/api/v1/nodes"
WITHIN_S = 20.0


def node(name: str, version: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": version}}


class Api(BaseHTTPRequestHandler):
    """Two nodes; the watch from version 1 shows a change and expires; by then one node is gone."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlparse(self.path)
        query = parse_qs(url.query)
        if "watch" not in query:
            self._answer(self._listed(url.path))
        elif url.path == NODES and query["resourceVersion"] == ["1"]:
            changed = {"type": "MODIFIED", "object": node("a", "2")}
            expired = {"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}}
            self._answer(changed, expired)
        else:
            self.server.over.wait(WITHIN_S)  # type: ignore[attr-defined]
            self.close_connection = True

    def _listed(self, path: str) -> dict[str, Any]:
        nodes = [node("a", "1"), node("b", "1")] if not self.server.listed else [node("a", "3")]  # type: ignore[attr-defined]
        version = "1" if not self.server.listed else "3"  # type: ignore[attr-defined]
        if path == NODES:
            self.server.listed = True  # type: ignore[attr-defined]
        return {"metadata": {"resourceVersion": version}, "items": nodes if path == NODES else []}

    def _answer(self, *lines: dict[str, Any]) -> None:
        body = "".join(json.dumps(line) + "\n" for line in lines).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing."""


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[Path]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.daemon_threads = True
    server.listed, server.over = False, threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    file = tmp_path / "kubeconfig"
    file.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    yield file
    server.over.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


def test_a_watch_that_expires_is_begun_anew_and_what_went_meanwhile_is_told(kubeconfig: Path) -> None:
    queue: Queue[watching.Item] = Queue()

    over = watching.kubernetes(kubeconfig, queue)

    seen = [queue.get(timeout=WITHIN_S) for _ in range(5)]
    over.set()
    told = [(kind, change, found["metadata"]["name"]) for _, kind, change, found in seen]
    assert told == [
        ("node", "ADDED", "a"),
        ("node", "ADDED", "b"),
        ("node", "MODIFIED", "a"),
        ("node", "DELETED", "b"),
        ("node", "ADDED", "a"),
    ]


def test_an_observer_that_can_not_read_a_log_any_more_fails(tmp_path: Path) -> None:
    """Its zeros would be taken for what it saw."""
    log = tmp_path / "aws-events.jsonl"
    log.write_text('{"t": 1.0}\nhalf a li\n')
    queue: Queue[watching.Item] = Queue()
    tail = watching.follow(log, "aws", queue, from_start=True)
    try:
        items = [queue.get(timeout=WITHIN_S) for _ in range(2)]
    finally:
        tail.kill()
        tail.wait()
    for item in items:
        queue.put(item)
    with pytest.raises(RuntimeError, match=r"aws-events.jsonl can't be watched any more"):
        observer._fold(queue, Seen("dev"))
