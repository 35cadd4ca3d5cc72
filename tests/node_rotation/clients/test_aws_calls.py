"""The AWS clients are bounded in time."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError

from node_rotation.clients import aws_calls


def test_an_endpoint_that_says_nothing_is_asked_once(monkeypatch):
    monkeypatch.setattr(aws_calls, "READ_S", 0.2)
    with socket.socket() as silent, ThreadPoolExecutor(1) as threads:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.settimeout(3.0)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")

        def callers() -> int:
            kept = []
            with suppress(TimeoutError):
                while True:
                    kept.append(silent.accept()[0])
            for one in kept:
                one.close()
            return len(kept)

        counted = threads.submit(callers)
        keys = {"aws_access_key_id": "x", "aws_secret_access_key": "y"}
        calls = aws_calls.Calls(boto3.Session(region_name="eu-central-1", **keys))
        with pytest.raises(ReadTimeoutError):
            calls.ec2.describe_instances()
        assert counted.result() == 1
