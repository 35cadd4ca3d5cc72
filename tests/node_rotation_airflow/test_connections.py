"""An Airflow that is installed here is asked for a connection as a program; its own answer is what counts."""

from __future__ import annotations

import json

import pytest

from node_rotation.checkup.rights import Answer
from node_rotation.clients.airflow_connections import knows


@pytest.mark.parametrize(("connection", "answer"), [("chat", Answer.ALLOWED), ("another", Answer.DENIED)])
def test_a_connection_that_is_there_and_one_that_is_not(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], connection: str, answer: Answer
) -> None:
    secret = {"conn_type": "http", "host": "https://chat.example/hidden", "password": "hidden"}
    monkeypatch.setenv("AIRFLOW_CONN_CHAT", json.dumps(secret))
    assert knows(connection) is answer
    assert "hidden" not in "".join(capfd.readouterr())
