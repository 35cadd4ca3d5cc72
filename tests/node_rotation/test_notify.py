"""People are told what became of a rotation, each thing once; no receiver can fail it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.node_rotation.clients.silent import silent_server
from tests.node_rotation.crashes import run_for

from node_rotation import engine, notify
from node_rotation.clients.http import HttpClient, from_environment
from node_rotation.configuration.notify_policy import HttpNotify, Kind, Notify
from node_rotation.outcome import Blocked
from node_rotation.policy import merge
from node_rotation.report import report
from node_rotation.testing.world import MemoryWorld

SECRET = "/services/hidden"


@dataclass
class Receiver:
    """Answers as told, the last answer again and again; remembers what it was sent."""

    answers: list[int] = field(default_factory=lambda: [200])
    got: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    told = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802 - http.server's name
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            told.got.append((self.path, json.loads(body)))
            self.send_response(told.answers.pop(0) if len(told.answers) > 1 else told.answers[0])
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield told
    server.shutdown()
    server.server_close()


def ended(behaviour: str) -> tuple[notify.Notice, ...]:
    run = run_for(MemoryWorld.simple(2, behaviour=behaviour))
    return notify.ended(report(run.plan, engine.rotate(run)), "run-1", "https://airflow.example/runs/1")


def posted(url: str, notices: tuple[notify.Notice, ...], *on: Kind, timeout: float = 5.0) -> list[str]:
    said: list[str] = []
    to = Notify(on=on or tuple(Kind), http=HttpNotify(connection="slack", url=url + SECRET, request_timeout=timeout))
    notify.send(HttpClient(from_environment), [to], notices, said.append)
    return said


def test_a_good_run_is_told_once_with_its_page(receiver: Receiver) -> None:
    assert posted(receiver.url, ended("good")) == []
    ((path, body),) = receiver.got
    assert path == SECRET
    assert body["kind"] == "done"
    assert "2 machines replaced" in body["text"]
    assert body["text"].endswith(body["url"])
    assert body["run"] == "run-1"


def test_a_bad_image_is_told_as_frozen_and_as_failed_with_objects_and_remedy(receiver: Receiver) -> None:
    posted(receiver.url, ended("never-joins"))
    frozen, failed = (body for _, body in receiver.got)
    assert (frozen["kind"], failed["kind"]) == ("frozen", "failed")
    assert "ami-" in frozen["text"]
    assert "has not joined the cluster" in failed["text"]
    assert failed["objects"]


def test_who_wants_only_failures_hears_nothing_of_a_good_run(receiver: Receiver) -> None:
    posted(receiver.url, ended("good"), Kind.FAILED)
    assert receiver.got == []


def test_one_that_waits_and_one_that_is_held(receiver: Receiver) -> None:
    cause = Blocked("pod a is not Ready", ("pod a",), "Look at it.")
    posted(
        receiver.url, (notify.waits("dev.eu", "r", 7, "7 is more than 25%"), notify.held("dev.eu", "r", "w/1", cause))
    )
    waits, held = (body for _, body in receiver.got)
    assert "7 machines wait for approval" in waits["text"]
    assert (held["kind"], held["objects"], held["remedy"]) == ("held", ["pod a"], "Look at it.")


def test_a_passing_trouble_is_tried_once_more(receiver: Receiver) -> None:
    receiver.answers = [503, 200]
    assert posted(receiver.url, ended("good")) == []
    assert len(receiver.got) == 2


@pytest.mark.parametrize(("status", "tries"), [(503, 2), (404, 1)])
def test_what_cannot_be_sent_is_said_with_its_reason_and_without_the_secret(
    receiver: Receiver, status: int, tries: int
) -> None:
    receiver.answers = [status]
    (line,) = posted(receiver.url, ended("good"))
    assert f"notification done to slack was not sent: POST {receiver.url} answers {status}" in line
    assert "hidden" not in line
    assert len(receiver.got) == tries


def test_one_that_never_answers_is_given_up_in_bounded_time() -> None:
    with silent_server() as (url, _):
        (line,) = posted(url, ended("good"), timeout=0.2)
    assert "no answer" in line
    assert "hidden" not in line


def test_prod_and_dev_are_told_to_different_people() -> None:
    fleet = {"notify": [{"http": {"connection": "dev"}}]}
    prod = {"notify": [{"on": ["failed"], "http": {"connection": "pager"}}]}
    (one,) = merge(fleet, prod).notify
    assert (one.http.connection, one.on) == ("pager", (Kind.FAILED,))
