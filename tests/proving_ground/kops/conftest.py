"""One kops proving ground for all tests here: three masters with a real etcd, two workers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proving_ground.ground import Ground, start
from proving_ground.scenario import load


@pytest.fixture(scope="session")
def kops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with start(load("kops"), tmp_path_factory.mktemp("kops")) as running:
        yield running
