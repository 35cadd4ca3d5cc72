"""The proving ground's AWS for a module of clients that only needs that: no control plane, a world of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.node_rotation.clients.settling import settled

from proving_ground.aws.server import AwsServer, serve
from proving_ground.scenario import Scenario


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsServer]:
    """The module's ``SCENARIO``."""
    found = settled(serve(Scenario.model_validate(request.module.SCENARIO), tmp_path_factory.mktemp("aws")))
    yield found
    found.stop()


@pytest.fixture
def server(running: AwsServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsServer]:
    """The same, where boto3 finds it; its faults end with the story."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    yield running
    running.world.faults.clear()
