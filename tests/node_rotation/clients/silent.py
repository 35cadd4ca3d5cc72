"""A server that takes connections and never says anything."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

PATIENCE_S = 3.0


@contextmanager
def silent_server() -> Iterator[tuple[str, Callable[[], int]]]:
    """Its address, and how often it was called, told once nobody has called for a while."""
    with socket.socket() as silent, ThreadPoolExecutor(1) as threads:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.settimeout(PATIENCE_S)

        def callers() -> int:
            kept = []
            with suppress(TimeoutError):
                while True:
                    kept.append(silent.accept()[0])
            for one in kept:
                one.close()
            return len(kept)

        counted = threads.submit(callers)
        yield f"http://127.0.0.1:{silent.getsockname()[1]}", counted.result
