"""Calls to an API server are bounded in time."""

from __future__ import annotations

import pytest
from kubernetes.client import ApiClient, Configuration
from tests.node_rotation.clients.silent import silent_server

from node_rotation.clients import kubernetes_api
from node_rotation.errors import TransientError


def test_an_api_server_that_says_nothing_is_asked_once(monkeypatch):
    monkeypatch.setattr(kubernetes_api, "READ_S", 0.2)
    with silent_server() as (address, called):
        api = kubernetes_api.Api(ApiClient(Configuration(host=address)))
        with pytest.raises(TransientError, match="did not answer in time"):
            api.call("GET", "/version", "the version")
        assert called() == 1
