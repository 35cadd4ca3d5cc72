"""An Airflow connection of type HTTP becomes an intake's endpoint."""

from __future__ import annotations

import json
from typing import Any

import pytest

from node_rotation.clients.http import Endpoint
from node_rotation.configuration.intake_policy import HttpCall, HttpIntake
from node_rotation.errors import BlockedError
from node_rotation_airflow.hooks.intake import endpoint_of

INTAKE = HttpIntake(connection="installer", close=HttpCall(path="/close"), open=HttpCall(path="/open"))
BASIC = {"Authorization": "Basic c3JlOmhpZGRlbg=="}


def connect(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_INSTALLER", json.dumps({"conn_type": "http", **fields}))


@pytest.mark.parametrize(
    ("fields", "endpoint"),
    [
        ({"host": "installer.example"}, Endpoint("https://installer.example")),
        (
            {"host": "installer.example", "schema": "http", "port": 8080},
            Endpoint("http://installer.example:8080"),
        ),
        ({"host": "https://installer.example/api/"}, Endpoint("https://installer.example/api")),
        ({"host": "a", "login": "sre", "password": "hidden"}, Endpoint("https://a", BASIC)),
        ({"host": "a", "password": "hidden"}, Endpoint("https://a", {"Authorization": "Bearer hidden"})),
        ({"host": "a", "extra": {"X-Token": "hidden"}}, Endpoint("https://a", {"X-Token": "hidden"})),
    ],
)
def test_its_fields(monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], endpoint: Endpoint) -> None:
    connect(monkeypatch, **fields)
    assert endpoint_of(INTAKE) == endpoint


def test_one_that_is_not_there_or_says_nothing_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BlockedError, match=r"there is no connection installer .*Remedy: Add it to Airflow"):
        endpoint_of(INTAKE)
    connect(monkeypatch)
    with pytest.raises(BlockedError, match="has no host"):
        endpoint_of(INTAKE)
