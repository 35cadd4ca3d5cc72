"""The runs of one process: an account that does not answer keeps no other run waiting."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from node_rotation.planning import make_plan
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow import runs
from node_rotation_airflow.documents import Rotation

WITHIN_S = 10.0


def rotation(world: MemoryWorld) -> Rotation:
    from node_rotation.detect import detect, observe

    settings = world.settings()
    drift = detect(settings, "workers", world.cloud, world.cluster, world.clock)
    snapshot = observe(settings, world.cloud, world.cluster, world.clock)
    return Rotation(settings=settings, plan=make_plan(settings, [drift], snapshot, world.clock.now()))


def test_a_run_whose_account_does_not_answer_keeps_no_other_waiting(
    airflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = MemoryWorld.simple(machines=1)
    airflow(world)
    asked, answers, reach = threading.Event(), threading.Event(), runs.connect
    made = rotation(world)

    def connect(settings: Any) -> Any:
        if threading.current_thread().name == "stuck":
            asked.set()
            answers.wait(WITHIN_S)
        return reach(settings)

    monkeypatch.setattr(runs, "connect", connect)
    opened: list[str] = []
    stuck, other = (
        threading.Thread(target=lambda name=name: opened.append(runs.open_run(name, made).id), name=name)
        for name in ("stuck", "other")
    )
    stuck.start()
    assert asked.wait(WITHIN_S)
    other.start()
    other.join(WITHIN_S / 2)
    assert opened == ["other"]
    answers.set()
    stuck.join(WITHIN_S)
    assert opened == ["other", "stuck"]


def test_two_threads_open_a_run_once(airflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = MemoryWorld.simple(machines=1)
    airflow(world)
    reach, reached, made = runs.connect, [], rotation(world)
    both = threading.Barrier(2)

    def open_it() -> None:
        both.wait(WITHIN_S)
        runs.open_run("one", made)

    monkeypatch.setattr(runs, "connect", lambda settings: (reached.append(1), reach(settings))[1])
    threads = [threading.Thread(target=open_it) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN_S)
    assert reached == [1]
