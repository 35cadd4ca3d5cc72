"""Whoever installs into the proving ground's clusters: open or closed, and sometimes out of order."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field


class IntakeRefusedError(Exception):
    """It answers 500."""


@dataclass
class Intakes:
    """The intakes of all clusters; every one begins open.

    :param refuses: so many requests more are answered with 500.
    :param said_at: when each of ``said`` came, epoch seconds.
    """

    refuses: int = 0
    said: list[tuple[str, bool]] = field(default_factory=list)
    said_at: list[float] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def set(self, cluster: str, *, open_: bool) -> None:
        """Open or close one.

        :raises IntakeRefusedError: while it is out of order.
        """
        with self._lock:
            if self.refuses > 0:
                self.refuses -= 1
                raise IntakeRefusedError(f"the intake of {cluster} is out of order, {self.refuses} times more")
            self.said.append((cluster, open_))
            self.said_at.append(time.time())

    @property
    def closed(self) -> list[str]:
        """The clusters into which nobody may install."""
        return sorted(cluster for cluster, open_ in dict(self.said).items() if not open_)
