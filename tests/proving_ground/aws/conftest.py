"""One AWS for the whole directory; each test makes groups of its own in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proving_ground.aws.server import AwsServer, serve
from proving_ground.scenario import Scenario

from .support import PHYSICS, Aws


def pytest_configure(config: pytest.Config) -> None:
    # moto's models don't list the errors that are common to all services.
    config.addinivalue_line("filterwarnings", r"ignore:Exception\(AwsError\) with code:UserWarning")


@pytest.fixture(scope="session")
def aws_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsServer]:
    scenario = Scenario.model_validate({**PHYSICS, "account": "111122223333"})
    server = serve(scenario, tmp_path_factory.mktemp("aws"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shared_aws(aws_server: AwsServer) -> Aws:
    return Aws(aws_server)


@pytest.fixture
def slow_boot(shared_aws: Aws) -> Iterator[None]:
    """Boots long enough to be looked at, also on a busy machine."""
    machines = shared_aws.server.world.machines
    usual, machines.boot_s = machines.boot_s, 2.0
    yield
    machines.boot_s = usual


@pytest.fixture
def aws(shared_aws: Aws) -> Iterator[Aws]:
    yield shared_aws
    shared_aws.clean_up()
