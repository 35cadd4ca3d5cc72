"""What really happens inside AWS: told to subscribers in order, and written to a file for observers."""

from __future__ import annotations

import json
import logging
import queue
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proving_ground.scenario import ImageBehaviour

log = logging.getLogger(__name__)
Kind = Literal["launched", "running", "stopping", "stopped", "shutting-down", "terminated"]


@dataclass(frozen=True)
class InstanceEvent:
    """An instance has come into a state.

    :param image_behaviour: how the scenario says that machines on this image behave.
    :param fails_after: seconds that a ``fails-later`` machine stays Ready.
    :param group: its Auto Scaling group, None for one that was launched or detached by hand.
    :param at: epoch seconds.
    """

    kind: Kind
    instance_id: str
    image_id: str
    image_behaviour: ImageBehaviour
    fails_after: float
    instance_type: str
    zone: str
    private_dns_name: str
    region: str
    tags: Mapping[str, str]
    group: str | None
    at: float


class EventStream:
    """One file and one thread that calls the subscribers, outside every lock."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("a", encoding="utf-8")
        self._writing = threading.Lock()
        self._queue: queue.Queue[InstanceEvent | None] = queue.Queue()
        self._subscribers: list[Callable[[InstanceEvent], None]] = []
        self._thread = threading.Thread(target=self._deliver, name="aws-events", daemon=True)
        self._thread.start()

    def subscribe(self, callback: Callable[[InstanceEvent], None]) -> None:
        """Call back for every event from now on, in order, on one thread."""
        self._subscribers.append(callback)

    def unsubscribe(self, callback: Callable[[InstanceEvent], None]) -> None:
        """Call back no more."""
        self._subscribers.remove(callback)

    def emit(self, event: InstanceEvent) -> None:
        """Write an event down and have it delivered."""
        fields = asdict(event)
        self.note(fields.pop("at"), fields.pop("kind"), **fields)
        self._queue.put(event)

    def note(self, at: float, kind: str, **fields: Any) -> None:
        """Write down something that is no change of an instance's state."""
        line = json.dumps({"t": at, "kind": kind, **fields}, default=str, separators=(",", ":"))
        with self._writing:
            if not self._file.closed:
                self._file.write(line + "\n")
                self._file.flush()

    def close(self) -> None:
        """Deliver what is queued, then end."""
        self._queue.put(None)
        self._thread.join(timeout=5)
        with self._writing:
            self._file.close()

    def _deliver(self) -> None:
        while event := self._queue.get():
            for callback in list(self._subscribers):
                try:
                    callback(event)
                except Exception:
                    # A subscriber's mistake is its own; the others still want to hear.
                    log.exception("a subscriber failed on %s of %s", event.kind, event.instance_id)
