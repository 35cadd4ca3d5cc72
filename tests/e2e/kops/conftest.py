"""One kops proving ground for all tests here: three masters with a real etcd, two workers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proving_ground.ground import Ground, start
from proving_ground.scenario import load

ACCOUNT = "510987650003"  # each AWS of a process has an account of its own


@pytest.fixture(scope="package")
def kops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    told = load("kops").model_copy(update={"account": ACCOUNT})
    with start(told, tmp_path_factory.mktemp("kops")) as running:
        yield running
