"""What a probe makes of etcd's answers: from servers on loopback that answer as etcd does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from node_rotation.clients.etcd import probe
from node_rotation.control_plane.values import EtcdAccess
from node_rotation.errors import BadInputError

HEALTHY = (200, {"health": "true", "reason": ""})
NO_LEADER = (503, {"health": "false", "reason": "RAFT NO LEADER"})
MEMBERS = {"members": [{"ID": "1", "name": "etcd-b"}, {"ID": "2", "name": "etcd-a"}, {"ID": "3", "isLearner": True}]}
Answer = tuple[int, object]
Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a member that answers ``/health`` and, unless it is a metrics listener, lists the members."""
    servers: list[ThreadingHTTPServer] = []

    def start(health: Answer, members: object = None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(*(health if self.path == "/health" else (404, "404 page not found")))

            def do_POST(self) -> None:
                known = self.path == "/v3/cluster/member/list" and members is not None
                self._answer(*((200, members) if known else (404, "404 page not found")))

            def _answer(self, status: int, body: object) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """No log."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_every_member_is_asked_and_the_voters_are_listed(serve: Serve) -> None:
    endpoints = (serve(NO_LEADER), serve(HEALTHY, MEMBERS), "http://127.0.0.1:9")

    (found,) = probe({"main": EtcdAccess(endpoints=endpoints)})

    assert [(m.endpoint, m.healthy) for m in found.members] == list(zip(endpoints, (False, True, False), strict=True))
    assert found.members[0].said == "RAFT NO LEADER"
    assert "refused" in found.members[2].said
    assert found.voters == ("etcd-a", "etcd-b")


def test_a_metrics_listener_tells_its_health_but_lists_nobody(serve: Serve) -> None:
    (found,) = probe({"main": EtcdAccess(endpoints=(f"{serve(HEALTHY)}/",))})

    assert found.members[0].healthy
    assert found.voters == ()


def test_clusters_are_kept_apart(serve: Serve) -> None:
    main, events = probe(
        {"main": EtcdAccess(endpoints=(serve(HEALTHY),)), "events": EtcdAccess(endpoints=(serve(NO_LEADER),))}
    )

    assert (main.name, events.name) == ("main", "events")
    assert main.members[0].healthy
    assert not events.members[0].healthy


@pytest.mark.parametrize("answer", [(200, ["no", "etcd"]), (200, {"health": "false"}), (500, {"health": "true"})])
def test_whatever_is_not_etcd_s_yes_is_not_healthy(serve: Serve, answer: Answer) -> None:
    (found,) = probe({"main": EtcdAccess(endpoints=(serve(answer),))})

    assert not found.members[0].healthy


def test_a_certificate_file_that_is_none_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("nothing")

    with pytest.raises(BadInputError, match=rf"control_plane.etcd.main: ca {file} can't be used"):
        probe({"main": EtcdAccess(endpoints=("https://127.0.0.1:9",), ca=str(file))})
