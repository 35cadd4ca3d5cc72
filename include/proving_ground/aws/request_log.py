"""Every AWS call as one JSON line: the record that tests of "touches nothing" and of call counts read."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

OK = "OK"
_READS = ("Simulate", "Describe", "List", "Get", "Assume", "Decode", "Lookup", "Search")


@dataclass(frozen=True)
class Request:
    """One call.

    :param t: when it came in, epoch seconds.
    :param outcome: ``OK``, an AWS error code, or ``LostAnswer`` (done, but the caller never heard).
    :param mutating: whether it asks for a change; a dry run and a refused call do not change anything.
    :param access_key: whose call it is: the id of the key that signed it.
    """

    t: float
    service: str
    action: str
    parameters: Mapping[str, Any]
    outcome: str
    mutating: bool
    user_agent: str
    access_key: str = ""

    @property
    def ok(self) -> bool:
        """Whether AWS did what was asked."""
        return self.outcome in (OK, "LostAnswer")


def mutates(action: str, parameters: Mapping[str, Any]) -> bool:
    """Whether a call asks for a change."""
    return not action.startswith(_READS) and not parameters.get("DryRun")


class RequestLog:
    """Appends to one file; each line is flushed at once."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._lock = threading.Lock()
        self._file = path.open("a", encoding="utf-8")

    def append(self, request: Request) -> None:
        """Write one line."""
        line = json.dumps(asdict(request), default=str, separators=(",", ":"))
        with self._lock:
            if not self._file.closed:
                self._file.write(line + "\n")
                self._file.flush()

    def close(self) -> None:
        """Close the file; calls that are still being answered are no longer written."""
        with self._lock:
            self._file.close()


def read(path: Path) -> list[Request]:
    """All calls in a log, oldest first; a last line that is still being written is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [Request(**json.loads(line)) for line in lines]


def mutations(path: Path) -> list[Request]:
    """The calls in a log that ask for a change, refused ones included (see ``Request.ok``)."""
    return [request for request in read(path) if request.mutating]
