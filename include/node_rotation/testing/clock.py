"""A clock that jumps: time passes only when somebody waits, and what is due happens in order."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

MONDAY_NIGHT = 1_794_189_600.0  # 2026-11-09T02:00:00Z: the night most stories are told in


@dataclass(order=True, slots=True)
class Event:
    """Something that will happen, unless it is cancelled."""

    at: float
    number: int
    callback: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        """Have it not happen."""
        self.cancelled = True


class VirtualClock:
    """Deterministic time: events of one instant run in the order in which they were asked for.

    :param start: epoch seconds at which the story begins.
    """

    def __init__(self, start: float = MONDAY_NIGHT) -> None:
        self._now = start
        self._numbers = 0
        self._events: list[Event] = []

    def now(self) -> float:
        """Epoch seconds."""
        return self._now

    def after(self, delay_s: float, callback: Callable[[], None]) -> Event:
        """Call ``callback`` once, ``delay_s`` seconds from now; the answer can be cancelled."""
        self._numbers += 1
        event = Event(self._now + max(delay_s, 0.0), self._numbers, callback)
        heapq.heappush(self._events, event)
        return event

    def wait(self, seconds: float) -> None:
        """Let time pass: everything due by then happens, each event at its own instant."""
        until = self._now + max(seconds, 0.0)
        while self._step(until):
            pass
        self._now = max(self._now, until)  # an event may itself have waited beyond it

    def run_until(self, predicate: Callable[[], bool], limit_s: float) -> bool:
        """Let events happen until the predicate holds, looked at after each of them.

        :param limit_s: seconds of virtual time after which to give up.
        :return: whether it holds.
        """
        until = self._now + limit_s
        while not predicate():
            if not self._step(until):
                self._now = max(self._now, until)
                return predicate()
        return True

    def _step(self, until: float) -> bool:
        """Run the next event that is due by then; say whether there was one."""
        while self._events and self._events[0].at <= until:
            event = heapq.heappop(self._events)
            if not event.cancelled:
                self._now = max(self._now, event.at)
                event.callback()
                return True
        return False
