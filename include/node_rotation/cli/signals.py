"""SIGTERM and SIGHUP do what Ctrl-C does: a job that is cancelled, or a connection that is lost, leaves as little."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NUMBERS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def as_interrupts() -> Iterator[list[signal.Signals]]:
    """Have them raise KeyboardInterrupt, each once; whoever ignores one (``nohup``) goes on ignoring it.

    Both come twice in a row at times (from a shell and from the kernel, from ``timeout`` and from its group), which
    is nobody who insists: that is Ctrl-C.

    :returns: those that came; empty after Ctrl-C.
    """
    heard: list[signal.Signals] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if number not in heard:
            heard.append(signal.Signals(number))
            raise KeyboardInterrupt

    taken = [number for number in NUMBERS if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield heard
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
