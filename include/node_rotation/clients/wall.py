"""Time as it passes on the wall."""

from __future__ import annotations

import threading
import time


class WallClock:
    """The clock of every run that is not simulated; the engine waits on it, operators never do."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def now(self) -> float:
        """Epoch seconds."""
        return time.time()

    def wait(self, seconds: float) -> None:
        """Let time pass, or return at once after :meth:`stop`.

        :param seconds: how long; nothing happens below zero.
        """
        self._stopped.wait(max(0.0, seconds))

    def stop(self) -> None:
        """End this wait and all later ones: somebody asked the process to go."""
        self._stopped.set()
