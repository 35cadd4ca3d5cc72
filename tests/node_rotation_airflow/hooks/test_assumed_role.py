"""A connection that assumes a role asks STS first: what STS says, or does not, is told as what AWS says is."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import RetryAction
from tests.node_rotation.web import Site, site

from node_rotation.errors import BlockedError, TransientError
from node_rotation.fleet import AwsAccess
from node_rotation_airflow import runs
from node_rotation_airflow.constants import RETRIES, UNKNOWN_RETRIES
from node_rotation_airflow.retry import RotationRetryPolicy

ROLE = "arn:aws:iam::123456789012:role/node-rotation"
DENIED = f"""<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>AccessDenied</Code><Message>User: arn:aws:iam::123456789012:role/airflow is not authorized to perform:
sts:AssumeRole on resource: {ROLE}</Message></Error></ErrorResponse>"""
ACCESS = AwsAccess(region="eu-north-1", connection="aws_role")
Connect = Callable[..., None]


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Say of the connection where its STS is, and whose keys it starts from."""

    def say(sts: str, **login: str) -> None:
        extra = {
            "role_arn": ROLE,
            "service_config": {"sts": {"endpoint_url": sts}},
            "config_kwargs": {"retries": {"total_max_attempts": 1}},
        }
        monkeypatch.setenv("AIRFLOW_CONN_AWS_ROLE", json.dumps({"conn_type": "aws", "extra": extra, **login}))

    return say


@pytest.fixture
def sts() -> Iterator[Site]:
    with site() as running:
        yield running


def test_a_role_that_sts_denies_is_named_with_its_connection(connection: Connect, sts: Site) -> None:
    sts.status, sts.body = 403, DENIED.encode()
    connection(sts.address, login="AKIDEXAMPLE", password="secret")

    with pytest.raises(BlockedError, match=r"sts:AssumeRole .*connection aws_role failed") as refused:
        runs.account(ACCESS)
    assert refused.value.blocked.objects == (f"role {ROLE}",)
    assert "trust policy" in refused.value.blocked.remedy


def test_a_container_without_an_identity_is_told_to_give_the_connection_one(
    connection: Connect, sts: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    connection(sts.address)

    with pytest.raises(BlockedError, match="no AWS credentials") as refused:
        runs.account(ACCESS)
    assert refused.value.blocked.objects == ("connection aws_role",)
    assert "Give the AWS connection credentials" in refused.value.blocked.remedy


def test_an_sts_that_can_not_be_reached_is_waited_for_like_aws(connection: Connect) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        connection(f"http://127.0.0.1:{nobody.getsockname()[1]}", login="AKIDEXAMPLE", password="secret")
        with pytest.raises(TransientError, match="connection aws_role") as away:
            runs.account(ACCESS)

    assert "outcome is unknown" not in str(away.value)
    decided: Any = RotationRetryPolicy().evaluate(away.value, UNKNOWN_RETRIES + 1, RETRIES)
    assert decided.action is RetryAction.RETRY
