"""The clock on the wall."""

from __future__ import annotations

import threading
import time

from node_rotation.clients.wall import WallClock


def test_it_says_what_time_it_is():
    assert abs(WallClock().now() - time.time()) < 1


def test_it_waits_as_long_as_it_is_told():
    clock, began = WallClock(), time.monotonic()

    clock.wait(0.05)
    clock.wait(-1)

    assert 0.05 <= time.monotonic() - began < 1


def test_whoever_stops_it_ends_the_wait():
    clock, began = WallClock(), time.monotonic()
    threading.Timer(0.05, clock.stop).start()

    clock.wait(60)
    clock.wait(60)

    assert time.monotonic() - began < 5
