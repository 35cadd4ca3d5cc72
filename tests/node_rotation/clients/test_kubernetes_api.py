"""Calls to an API server are bounded in time."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from kubernetes.client import ApiClient, Configuration

from node_rotation.clients import kubernetes_api
from node_rotation.errors import TransientError


def test_an_api_server_that_says_nothing_is_asked_once(monkeypatch):
    monkeypatch.setattr(kubernetes_api, "READ_S", 0.2)
    with socket.socket() as silent, ThreadPoolExecutor(1) as threads:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        silent.settimeout(3.0)

        def callers() -> int:
            kept = []
            with suppress(TimeoutError):
                while True:
                    kept.append(silent.accept()[0])
            for one in kept:
                one.close()
            return len(kept)

        counted = threads.submit(callers)
        configuration = Configuration(host=f"http://127.0.0.1:{silent.getsockname()[1]}")
        api = kubernetes_api.Api(ApiClient(configuration))
        with pytest.raises(TransientError, match="did not answer in time"):
            api.call("GET", "/version", "the version")
        assert counted.result() == 1
