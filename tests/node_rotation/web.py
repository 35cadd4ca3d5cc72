"""A small web server whose answers a story changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from threading import Event

from tests.node_rotation.loopback import Quiet, serving


class Site:
    """What the server answers; ``silent`` holds answers back until it is set."""

    def __init__(self) -> None:
        self.status, self.body, self.asked = 200, b"well", 0
        self.silent = Event()
        self.silent.set()
        self.address = ""


@contextmanager
def site() -> Iterator[Site]:
    """A server on loopback, as long as the story lasts."""
    told = Site()

    class Handler(Quiet, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked += 1
            told.silent.wait(30.0)
            self.send_response(told.status)
            self.send_header("Content-Length", str(len(told.body)))
            if told.status == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(told.body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

    with serving(Handler) as told.address:
        try:
            yield told
        finally:
            told.silent.set()
