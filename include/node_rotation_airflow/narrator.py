"""Says in a task's log what it waits for: each reason once, and since when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime


class Narrator:
    """Remembers what was said.

    :param say: takes one line.
    """

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say
        self._since: dict[str, float] = {}

    def waits(self, reasons: Sequence[str], now: float) -> None:
        """Say the reasons that are new, and which are over.

        :param now: epoch seconds.
        """
        for reason in sorted(set(self._since) - set(reasons)):
            self._say(f"no longer: {reason} (after {now - self._since.pop(reason):.0f} s)")
        for reason in reasons:
            if reason not in self._since:
                self._since[reason] = now
                self._say(f"waits: {reason} (since {moment(now)})")

    def open(self) -> tuple[str, ...]:
        """What it still waits for, each with its time."""
        return tuple(f"{reason} (since {moment(since)})" for reason, since in self._since.items())


def moment(epoch_s: float) -> str:
    """A time of day for people, UTC."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%H:%M:%S UTC")
