"""The first task of a run: whatever is wrong is said once, before anybody is asked for a connection."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk.exceptions import AirflowFailException

from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow import runs
from node_rotation_airflow.documents import Request
from node_rotation_airflow.operators.detect import DetectOperator
from node_rotation_airflow.operators.request import RequestOperator
from node_rotation_airflow.operators.step import PrepareOperator
from node_rotation_airflow.params import rotation_params

KEY = "2026-11-09~dev.one"
CLUSTERS = ("dev.one", "prod.eu-1")


@pytest.fixture
def request_of(airflow: Any, fleet_file: Path, comms: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Execute the task as Airflow does for a run with this conf and key; nothing can be reached."""
    run = airflow(MemoryWorld.simple(machines=1))

    def reached(*_: Any) -> None:
        raise AssertionError("somebody reached for a connection")

    monkeypatch.setattr(runs, "connect", reached)
    monkeypatch.setattr("airflow.sdk.definitions.connection.Connection.get", reached)

    def execute(conf: dict[str, Any], key: str | None = None) -> list[str]:
        form = {name: param.resolve() for name, param in rotation_params(CLUSTERS).items()}
        context: Any = {**run.context("request", conf=conf, partition_key=key), "params": {**form, **conf}}
        groups: list[str] = RequestOperator(task_id="request").execute(context)
        assert comms.sent == []
        return groups

    return execute


def test_a_good_request_reaches_for_nothing_either(request_of: Callable[..., list[str]]) -> None:
    assert request_of({"cluster": "dev.one"}) == ["workers", "masters"]
    assert request_of({}, KEY) == ["workers", "masters"]


@pytest.mark.parametrize("key", ["tonight", "2026-11-09", "2026-13-09~dev.one", "2026-11-09~", "2026-11-09~dev.one~x"])
def test_a_malformed_partition_key_is_quoted_with_an_example(request_of: Callable[..., list[str]], key: str) -> None:
    with pytest.raises(AirflowFailException) as refused:
        request_of({}, key)

    assert str(refused.value).startswith(f"partition key {key!r}: is no night and cluster. Write one like 20")
    assert str(refused.value).endswith("~prod.eu-1.")


def test_a_night_to_come_is_refused(request_of: Callable[..., list[str]]) -> None:
    with pytest.raises(AirflowFailException, match="lies in the future. Give tonight or a past night."):
        request_of({}, "2999-01-01~dev.one")


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        (
            {"clutser": "dev.one"},
            "conf clutser: is no parameter of this DAG. Known: cluster, groups, roles, mode, image,",
        ),
        ({"cluster": "dev.one", "dry_run": True}, "conf dry_run: is no parameter of this DAG."),
        (
            {"cluster": "dev.one", "approval": {"required": False}},
            "conf approval: is no parameter of this DAG.",
        ),
        ({"cluster": "dev.one", "windows": []}, "conf windows: is no parameter of this DAG."),
        (
            {"cluster": "dev.two"},
            "cluster: there is no cluster 'dev.two' in the fleet. Did you mean 'dev.one'? Known: ",
        ),
        ({"cluster": "dev.one", "groups": ["gpu"]}, "groups: dev.one has no node group gpu. Known: workers, masters."),
        (
            {"cluster": "dev.one", "groups": "workers"},
            "groups: 'workers' is no list of names. Write it like [\"workers\"].",
        ),
        ({"cluster": "dev.one", "roles": [1]}, "roles: [1] is no list of names."),
        ({"cluster": ["dev.one"]}, "cluster: there is no cluster ['dev.one'] in the fleet. Did you mean 'dev.one'?"),
        ({"cluster": "dev.one", "roles": ["master"]}, "roles: there is no role master. Known: worker, control-plane."),
        ({"cluster": "dev.one", "max_surge": "0"}, "run parameters: budget.max_surge: 0 leaves 0 slots"),
        ({"cluster": "dev.one", "max_surge": "half"}, "run parameters: budget.max_surge: 'half' is neither"),
        ({"cluster": "dev.one", "drain_timeout": "20"}, "run parameters: drain.timeout: '20' is not a duration"),
        ({"cluster": "dev.one", "drain_timeout": 20}, "run parameters: drain.timeout: 20 is not a duration"),
        ({"cluster": "dev.one", "image": "base-2"}, "run parameters: image.id: "),
        ({"cluster": "dev.one", "strategy": "quick"}, "run parameters: strategy: "),
    ],
)
def test_a_bad_parameter_is_named_with_what_there_is(
    request_of: Callable[..., list[str]], conf: dict[str, Any], message: str
) -> None:
    with pytest.raises(AirflowFailException) as refused:
        request_of(conf)

    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_a_mistake_in_the_fleet_file_names_file_and_path(
    request_of: Callable[..., list[str]], fleet_file: Path
) -> None:
    fleet_file.write_text(fleet_file.read_text().replace("timeout: 10m", "timeout: 10"))

    with pytest.raises(AirflowFailException) as refused:
        request_of({}, KEY)

    assert str(refused.value).startswith(f"{fleet_file}: environments[dev].policy.drain.timeout: 10 is not a duration")


def test_a_night_that_is_none_is_said_too(request_of: Callable[..., list[str]], fleet_file: Path) -> None:
    """The check runs at the default hour then: a DAG that is not there would tell nobody."""
    fleet_file.write_text(fleet_file.read_text() + "night: {at: late}\n")

    with pytest.raises(AirflowFailException) as refused:
        request_of({}, KEY)

    assert str(refused.value).startswith(f"{fleet_file}: night.at: 'late' is no time of day: write it like \"22:00\"")


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (None, "connection kubernetes_away: does not exist. Add it to Airflow, or correct kubernetes.connection"),
        ({"kube_config_path": "/nowhere"}, "connection kubernetes_away: can't be used: Invalid kube-config file."),
        ({"kube_config": "clusters: ["}, "connection kubernetes_away: can't be used: while parsing"),
        ({"kube_config": "{}", "in_cluster": True}, "can't be used: Invalid connection configuration."),
    ],
)
def test_a_connection_that_is_not_there_or_no_good_is_named(
    comms: Any, airflow: Any, fleet_file: Path, monkeypatch: pytest.MonkeyPatch, extra: Any, said: str
) -> None:
    from airflow.sdk.exceptions import ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse

    connect = runs.connect
    run = airflow(MemoryWorld.simple(machines=1))
    monkeypatch.setattr(runs, "connect", connect)
    comms.answers["GetConnection"] = lambda _: ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps({"conn_type": "aws", "login": "a", "password": "b"}))
    if extra is not None:
        connection = {"conn_type": "kubernetes", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_AWAY", json.dumps(connection))
    document = yaml.safe_load(fleet_file.read_text())
    document["environments"][0]["clusters"][0]["kubernetes"] = {"connection": "kubernetes_away"}
    fleet_file.write_text(yaml.safe_dump(document))
    run.run(RequestOperator(task_id="request"), partition_key=KEY)
    assert Request.read(run.xcoms["request", "request"]).settings.name == "dev.one"

    with pytest.raises(AirflowFailException) as refused:
        run.run(DetectOperator(task_id="detect", group="workers"))

    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_plan_of_a_newer_schema_in_xcom_is_refused(airflow: Any) -> None:
    run = airflow(MemoryWorld.simple(machines=1))
    run.xcoms["plan", "rotation"] = {"schema_version": 99, "settings": {}, "plan": {}}

    with pytest.raises(AirflowFailException) as refused:
        run.run(PrepareOperator(task_id="prepare", group="workers"))

    assert str(refused.value).startswith("XCom rotation: schema_version: Input should be 1: it was made by another")
    assert str(refused.value).endswith("Start a new run.")
    assert run.world.mutations == []
