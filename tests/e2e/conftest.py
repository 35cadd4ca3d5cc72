"""One proving ground and one real Airflow on it, for all stories of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.land import FLEET, FRUGAL, SCENARIO, Land
from tests.e2e.landing import landed

ONE_SLOT = {"core": {"parallelism": 1}, **FRUGAL}
"""Every story is told with a single worker slot: whoever held it while waiting would stop everything else."""


@pytest.fixture(scope="module")
def more_env() -> dict[str, str]:
    """What else the Airflow of a module has in its environment; for modules to say otherwise."""
    return {}


@pytest.fixture(scope="module")
def land(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, more_env: dict[str, str]
) -> Iterator[Land]:
    """A module may bring its own ``FLEET`` and ``SCENARIO``."""
    fleet: str = getattr(request.module, "FLEET", FLEET)
    seeds = getattr(request.module, "SCENARIO", SCENARIO)
    with landed(
        tmp_path_factory.mktemp("land"), seeds, lambda world: fleet, env=lambda world: more_env, overrides=ONE_SLOT
    ) as running:
        yield running
