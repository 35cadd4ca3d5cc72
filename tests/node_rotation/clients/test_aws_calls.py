"""The AWS clients are bounded in time."""

from __future__ import annotations

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from tests.node_rotation.clients.silent import silent_server

from node_rotation.clients import aws_calls


def test_an_endpoint_that_says_nothing_is_asked_once(monkeypatch):
    monkeypatch.setattr(aws_calls, "READ_S", 0.2)
    with silent_server() as (address, called):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y"}
        calls = aws_calls.Calls(boto3.Session(region_name="eu-central-1", **keys))
        with pytest.raises(ReadTimeoutError):
            calls.ec2.describe_instances()
        assert called() == 1
