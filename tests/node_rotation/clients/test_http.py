"""An intake over HTTP, against a server of this test: each answer, and none, as an error of ours in bounded time."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from node_rotation.clients.http import HttpClient, from_environment
from node_rotation.configuration.intake_policy import HttpCall, HttpIntake
from node_rotation.errors import BlockedError, TransientError

CALL = HttpCall(method="PATCH", path="/clusters/dev", body={"open": False})


@dataclass
class Endpoint:
    """A server that answers as it is told, and remembers what it was asked."""

    status: int = 204
    says: str = ""
    silent: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, str, Any, str | None]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    told = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:  # noqa: N802 - http.server's name
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            told.asked.append(("PATCH", self.path, json.loads(body), self.headers.get("Authorization")))
            if told.silent.is_set():
                told.over.wait(10.0)
            self.send_response(told.status)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()
            self.wfile.write(told.says.encode())

        def log_message(self, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield told
    told.over.set()
    server.shutdown()
    server.server_close()


def intake(endpoint: Endpoint, **more: Any) -> HttpIntake:
    return HttpIntake(**{"url": endpoint.url, "request_timeout": 5.0, "close": CALL, "open": CALL, **more})


def send(endpoint: Endpoint, **more: Any) -> None:
    HttpClient(from_environment).send(intake(endpoint, **more), CALL)


def test_method_path_body_and_token_arrive(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTAKE_TOKEN", "secret")
    send(endpoint, url=f"{endpoint.url}/api/", token_variable="INTAKE_TOKEN")
    assert endpoint.asked == [("PATCH", "/api/clusters/dev", {"open": False}, "Bearer secret")]


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_what_may_change_by_itself_is_transient(endpoint: Endpoint, status: int) -> None:
    endpoint.status, endpoint.says = status, "database is away"
    with pytest.raises(TransientError, match=f"PATCH http.*/clusters/dev answers {status}: database is away"):
        send(endpoint)
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 422])
def test_a_refusal_blocks_and_is_not_followed_elsewhere(endpoint: Endpoint, status: int) -> None:
    endpoint.status = status
    with pytest.raises(BlockedError, match=f"answers {status}"):
        send(endpoint)
    assert len(endpoint.asked) == 1


def test_no_answer_costs_the_timeout_and_no_more(endpoint: Endpoint) -> None:
    endpoint.silent.set()
    began = time.monotonic()
    with pytest.raises(TransientError, match="no answer"):
        send(endpoint, request_timeout=0.3)
    assert time.monotonic() - began < 5.0


def test_nobody_there_is_transient() -> None:
    with pytest.raises(TransientError, match="PATCH http://127.0.0.1:9/clusters/dev: no answer"):
        send(Endpoint(url="http://127.0.0.1:9"))


def test_a_token_is_never_said(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTAKE_TOKEN", "very-secret")
    endpoint.status, endpoint.says = 401, "bad header Authorization: Bearer very-secret"
    with pytest.raises(BlockedError) as refused:
        send(endpoint, token_variable="INTAKE_TOKEN")
    assert "very-secret" not in str(refused.value)
    assert "very-secret" not in repr(from_environment(intake(endpoint, token_variable="INTAKE_TOKEN")))


def test_a_missing_address_or_token_is_found_before_anything_is_sent(endpoint: Endpoint) -> None:
    client = HttpClient(from_environment)
    with pytest.raises(BlockedError, match="the intake has no url"):
        client.check(intake(endpoint, url=None))
    with pytest.raises(BlockedError, match="NO_SUCH_TOKEN is not set"):
        client.check(intake(endpoint, token_variable="NO_SUCH_TOKEN"))
    client.check(intake(endpoint))
    assert endpoint.asked == []


def test_an_address_is_reached_without_a_request(endpoint: Endpoint) -> None:
    intake = HttpIntake(url=endpoint.url, close=CALL, open=CALL)
    HttpClient(from_environment).reach(intake)
    assert endpoint.asked == []


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1", "http://no-such-host.invalid", "https://127.0.0.1:1"],
    ids=["nobody there", "no such name", "nobody there, encrypted"],
)
def test_an_address_that_nobody_answers_at_is_named(url: str) -> None:
    intake = HttpIntake(url=url, close=CALL, open=CALL, request_timeout=2.0)
    with pytest.raises(TransientError, match=f"intake {url}: no answer"):
        HttpClient(from_environment).reach(intake)


def test_an_endpoint_that_speaks_no_tls_is_not_reached_over_https(endpoint: Endpoint) -> None:
    url = endpoint.url.replace("http://", "https://")
    with pytest.raises(TransientError, match="no answer"):
        HttpClient(from_environment).reach(HttpIntake(url=url, close=CALL, open=CALL, request_timeout=2.0))
