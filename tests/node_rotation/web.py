"""A small web server whose answers a story changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread


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

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked += 1
            told.silent.wait(30.0)
            self.send_response(told.status)
            self.send_header("Content-Length", str(len(told.body)))
            if told.status == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(told.body)

        def log_message(self, *_: object) -> None:
            """Nothing: pytest's output is for failures."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield told
    finally:
        told.silent.set()
        server.shutdown()
        server.server_close()
        thread.join(10.0)
