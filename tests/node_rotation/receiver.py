"""A web server on loopback that takes messages, and remembers them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

SECRET = "/services/T000/hidden"


class Receiver:
    """Answers ``status``; as some servers do, its answer repeats the path. ``drips``: a byte at a time, never done."""

    def __init__(self) -> None:
        self.status, self.drips, self.done = 200, False, Event()
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.url = ""

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """What it was told, in order."""
        return [body for _, body in self.got]

    @property
    def kinds(self) -> list[str]:
        """The kinds of what it was told, in order."""
        return [str(body["kind"]) for body in self.bodies]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Its ``url`` has a secret path, as Slack's has."""
    told = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            told.got.append((self.path, json.loads(body)))
            self.send_response(told.status)
            self.end_headers()
            self.wfile.write(f"cannot POST {self.path}".encode())
            while told.drips and not told.done.wait(0.05):
                self.wfile.write(b".")

        def log_message(self, *_: object) -> None:
            """Nothing: pytest's output is for failures."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_port}{SECRET}"
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield told
    finally:
        told.done.set()
        server.shutdown()
        server.server_close()
        thread.join(10.0)
