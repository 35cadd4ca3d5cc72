"""An observer that can't see says so: its zeros would be taken for what it saw."""

from __future__ import annotations

import json
from collections.abc import Iterator
from queue import Queue
from typing import Any

import pytest

from proving_ground.observer import __main__ as observer
from proving_ground.observer import watching
from proving_ground.observer.seen import Seen

WITHIN_S = 10.0
GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old resource version"}}


class Stream:
    """What an API server answers to a watch."""

    def __init__(self, *lines: dict[str, Any] | Exception) -> None:
        self.lines = lines

    def stream(self, amt: int | None) -> Iterator[bytes]:
        for line in self.lines:
            if isinstance(line, Exception):
                raise line
            yield json.dumps(line).encode() + b"\n"


@pytest.mark.parametrize("broken", [GONE, ConnectionResetError("connection reset by peer")])
def test_a_watch_that_breaks_ends_the_observer(broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_call", lambda *args, **kwargs: Stream(broken))
    queue: Queue[watching.Item] = Queue()
    watching._begin(queue, "/api/v1/nodes", watching._watch, None, "/api/v1/nodes", "node", "1", queue)
    item = queue.get(timeout=WITHIN_S)
    queue.put(item)

    with pytest.raises(RuntimeError, match="/api/v1/nodes can't be watched any more.*(too old|reset)"):
        observer._fold(queue, Seen("dev"))
