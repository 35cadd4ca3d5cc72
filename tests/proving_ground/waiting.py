"""Bounded waiting for a world that changes by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def eventually(look: Callable[[], Result], within_s: float = 20.0, every_s: float = 0.1) -> Result:
    """What `look` returns once that is true; fails with its last answer when time is up."""
    deadline = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s; last seen: {found!r}")
        time.sleep(every_s)
