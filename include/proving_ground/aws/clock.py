"""Real time with one timer thread; every callback runs under the world's lock."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)


class RealClock:
    """The wall clock, and what is due later.

    :param lock: held while a callback runs, so that it never meets an API call halfway.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._running = True
        self._thread = threading.Thread(target=self._run, name="aws-clock", daemon=True)
        self._thread.start()

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def after(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Call back once, ``delay_s`` seconds from now."""
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + delay_s, next(self._order), callback))
            self._changed.notify()

    def stop(self) -> None:
        """Forget what is due and end the thread."""
        with self._changed:
            self._running = False
            self._changed.notify()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while callback := self._next():
            with self._lock:
                try:
                    callback()
                except Exception:
                    # One bad callback must not stop time for everybody else.
                    log.exception("a timed event of the proving ground's AWS failed")

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while self._running:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
        return None
