"""The runs of one process: an account that does not answer keeps no other run waiting."""

from __future__ import annotations

import gc
import json
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from tests.node_rotation_airflow.conftest import new_process
from tests.node_rotation_airflow.hooks.test_hooks import kubeconfig

from node_rotation.errors import TransientError
from node_rotation.fleet import Account, AwsAccess, KubernetesAccess
from node_rotation.planning import make_plan
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow import runs
from node_rotation_airflow.documents import Rotation

WITHIN_S = 10.0
PROD = AwsAccess(region="eu-central-1", connection="aws_prod")


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


def test_a_run_in_use_is_opened_once_however_many_others_are_opened_meanwhile(airflow: Any) -> None:
    """Its waiting triggers share one look: a second run of the same name would look at the cluster a second time."""
    world = MemoryWorld.simple(machines=1)
    airflow(world)
    made = rotation(world)
    used = runs.open_run("used", made)
    for number in range(2 * runs.KEPT):
        runs.open_run(f"other-{number}", made)

    assert runs.open_run("used", made) is used


def test_of_runs_that_nobody_uses_the_last_few_are_kept(airflow: Any) -> None:
    world = MemoryWorld.simple(machines=1)
    airflow(world)
    made = rotation(world)
    opened = [weakref.ref(runs.open_run(f"run-{number}", made)) for number in range(2 * runs.KEPT)]
    gc.collect()

    assert sum(one() is not None for one in opened) == runs.KEPT


def with_connections(made: Rotation) -> Rotation:
    """A run whose cluster and account are behind connections that have a name."""
    there = {"aws": PROD, "kubernetes": KubernetesAccess(connection="kubernetes_prod")}
    cluster = made.settings.cluster.model_copy(update=there)
    return made.model_copy(update={"settings": made.settings.model_copy(update={"cluster": cluster})})


def test_a_connection_that_the_plan_was_made_with_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow says of a secrets backend that is away what it says of a connection that is not there."""
    made = with_connections(rotation(MemoryWorld.simple(machines=1)))
    new_process(monkeypatch)

    with pytest.raises(TransientError, match="connection aws_prod: does not exist. Add it to Airflow, or correct aws"):
        runs.open_run("away", made)
    key = {"conn_type": "aws", "login": "AKIDEXAMPLE", "password": "secret"}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_PROD", json.dumps(key))
    with pytest.raises(TransientError, match="connection kubernetes_prod: does not exist. .* kubernetes.connection"):
        runs.open_run("away", made)
    path = str(kubeconfig(tmp_path, one="https://127.0.0.1:1"))
    config = {"conn_type": "kubernetes", "extra": {"kube_config_path": path}}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_PROD", json.dumps(config))

    assert runs.open_run("away", made).id == "away"


def test_so_is_one_of_another_account_whose_frozen_images_the_plan_asked_for(airflow: Any) -> None:
    world = MemoryWorld.simple(machines=1)
    airflow(world)
    made = rotation(world)
    fleet = made.settings.model_copy(update={"accounts": (Account(aws=PROD, clusters=("prod.eu-1",)),)})
    run = runs.open_run("one", made.model_copy(update={"settings": fleet}))

    with pytest.raises(TransientError, match="account .* of prod.eu-1: connection aws_prod: does not exist"):
        run.freezes()
