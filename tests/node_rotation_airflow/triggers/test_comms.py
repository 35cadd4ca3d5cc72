"""What all triggers of a triggerer share: its threads, which one cluster that is silent must not use up."""

from __future__ import annotations

import asyncio
import threading

import pytest

from node_rotation_airflow.triggers.comms import EACH, in_thread

WITHIN_S = 10.0


def test_who_waits_for_a_silent_cluster_keeps_no_thread_from_another() -> None:
    """Else the other's lock is not renewed, and a sweep takes a run that lives for dead."""
    answers = threading.Event()

    async def side_by_side() -> str:
        silent = [f"silent-{number}" for number in range(8)] * 64
        waiting = [asyncio.ensure_future(in_thread(cluster, answers.wait, WITHIN_S)) for cluster in silent]
        try:
            return await asyncio.wait_for(in_thread("healthy", lambda: "looked"), WITHIN_S / 2)
        finally:
            answers.set()
            assert all(await asyncio.gather(*waiting))

    assert asyncio.run(side_by_side()) == "looked"


def test_one_cluster_is_asked_by_a_few_at_a_time() -> None:
    lock, now, most = threading.Lock(), [0], [0]
    full = threading.Barrier(EACH)

    def ask() -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        full.wait(WITHIN_S)
        with lock:
            now[0] -= 1

    async def all_at_once() -> None:
        await asyncio.gather(*(in_thread("dev.one", ask) for _ in range(4 * EACH)))

    asyncio.run(all_at_once())

    assert most[0] == EACH


def test_what_goes_wrong_in_a_thread_gives_its_place_back() -> None:
    def wrong() -> None:
        raise ValueError("no")

    async def again_and_again() -> None:
        for _ in range(2 * EACH):
            with pytest.raises(ValueError, match="no"):
                await in_thread("dev.one", wrong)

    asyncio.run(again_and_again())
