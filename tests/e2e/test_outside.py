"""What a run of a real Airflow does beside its machines: messages, metrics, an intake that is a Kubernetes object."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kubernetes import client
from tests.e2e.land import CHECK, ROTATE, TODAY, Land, eventually
from tests.e2e.land import FLEET as PLAIN
from tests.e2e.watching import following
from tests.node_rotation.receiver import Receiver, receiving
from tests.node_rotation_airflow.collector import Collector, collecting

pytestmark = [pytest.mark.proving_ground, pytest.mark.timeout(1500)]

FLEET = PLAIN.replace(
    "  poll: 1s\n",
    """  poll: 1s
  approval: {required: true}
  notify: [{http: {connection: chat}}]
  intake:
    kubernetes:
      {api_version: v1, kind: ConfigMap, namespace: default, name: intake,
       close: {data: {open: "false"}}, open: {data: {open: "true"}}}
""",
)
OURS = "airflow.node_rotation"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def more_env(collector: Collector) -> dict[str, str]:
    return {
        "AIRFLOW__METRICS__OTEL_ON": "True",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }


@pytest.fixture
def receiver(land: Land) -> Iterator[Receiver]:
    with receiving() as told:
        chat = {"connection_id": "chat", "conn_type": "http", "host": told.url}
        land.airflow.api("POST", "/connections", json=chat)
        yield told


@pytest.fixture
def intake(land: Land) -> Iterator[list[str]]:
    """Everything that the object said in turn."""
    said: list[str] = []
    made = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="intake"), data={"open": "true"})
    land.core.create_namespaced_config_map("default", made)
    with following(
        land.core.list_namespaced_config_map,
        "default",
        lambda found: said.append(found.data["open"]),
        field_selector="metadata.name=intake",
    ):
        yield said


def attempt(land: Land, run: str, task: str) -> int:
    """How often it began: a state may come and go between two looks."""
    return next(int(t["try_number"]) for t in land.airflow.tasks(ROTATE, run) if t["task_id"] == task)


def test_an_approval_and_the_end_are_told_once_also_after_their_tasks_are_cleared(
    land: Land, receiver: Receiver, intake: list[str]
) -> None:
    run = land.run({"cluster": "dev.dev", "groups": ["batch"]})
    eventually("it asks", lambda: land.state(run, "approve") == "awaiting_input")
    assert receiver.kinds == ["approval"]
    assert intake == []

    land.clear(run, "approve", downstream=False)
    eventually("it begins again", lambda: attempt(land, run, "approve") > 1)
    land.answer(run, "Approve")
    assert land.ends(run) == "success"
    land.clear(run, "report", downstream=False)
    eventually("the report is written again", lambda: attempt(land, run, "report") > 1)
    assert land.ends(run) == "success"

    assert receiver.kinds == ["approval", "ok"]
    asked, done = receiver.bodies
    assert asked["url"].startswith(f"{land.airflow.url}/dags/{ROTATE}/runs/manual__")
    assert "1 machines replaced" in done["text"]
    assert land.reports.name in done["report"]
    eventually("the intake is open again", lambda: intake[-1:] == ["true"])
    assert intake == ["false", "true"]


def test_how_a_run_ended_and_what_a_check_finds_are_gauges(land: Land, collector: Collector) -> None:
    dev = {"environment": "dev", "cluster": "dev"}
    assert collector.value(f"{OURS}.run_ok", **dev) == 1
    assert collector.value(f"{OURS}.run_batches", **dev, result="passed") == 1
    assert collector.value(f"{OURS}.run_left", **dev, kind="orphans") == 0
    assert collector.value(f"{OURS}.machines_drifted", **dev, group="batch") == 0
    assert collector.value(f"{OURS}.machines_drifted", **dev, group="workers") is None

    check = land.airflow.trigger(CHECK, partition_key=f"{TODAY}~dev.dev")
    assert land.ends(check, dag_id=CHECK) == "success"

    assert collector.value(f"{OURS}.machines", **dev, group="workers") == 4
    assert collector.value(f"{OURS}.machines_drifted", **dev, group="workers") == 4
