"""One proving ground and one real Airflow on it, for all stories of a module."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.land import CHECK, FLEET, FRUGAL, ROTATE, SCENARIO, Land, eventually

from proving_ground import airflow, ground, scenario

ROOT = Path(__file__).parents[2]
ONE_SLOT = {"core": {"parallelism": 1}, **FRUGAL}
"""Every story is told with a single worker slot: whoever held it while waiting would stop everything else."""


def connections(world: ground.Ground) -> dict[str, str]:
    """Airflow connections of the proving ground's clusters and its AWS, as environment variables."""
    aws = {
        "conn_type": "aws",
        "login": "proving-ground",
        "password": "proving-ground",
        "extra": {"endpoint_url": world.endpoint, "region_name": world.scenario.region},
    }
    clusters = {
        f"AIRFLOW_CONN_KUBERNETES_{name.upper().replace('-', '_')}": json.dumps(
            {"conn_type": "kubernetes", "extra": {"kube_config_path": str(world.kubeconfig(name))}}
        )
        for name in world.clusters
    }
    return {"AIRFLOW_CONN_AWS_DEFAULT": json.dumps(aws), **clusters}


@pytest.fixture(scope="module")
def more_env() -> dict[str, str]:
    """What else the Airflow of a module has in its environment; for modules to say otherwise."""
    return {}


@pytest.fixture(scope="module")
def land(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, more_env: dict[str, str]
) -> Iterator[Land]:
    """A module may bring its own ``FLEET`` and ``SCENARIO``."""
    directory = tmp_path_factory.mktemp("land")
    (directory / "fleet.yaml").write_text(getattr(request.module, "FLEET", FLEET))
    seeds = scenario.Scenario.model_validate(getattr(request.module, "SCENARIO", SCENARIO))
    with (
        ground.start(seeds, directory / "ground") as world,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in world.env.items():
            patch.setenv(name, value)
        env = {
            **connections(world),
            "NODE_ROTATION_FLEET": str(directory / "fleet.yaml"),
            "NODE_ROTATION_REPORTS": str(directory / "reports"),
            **more_env,
        }
        home, folders = directory / "airflow", (ROOT / "dags", ROOT / "plugins")
        running = airflow.start(home, *folders, env=env, overrides=ONE_SLOT, healthy_s=240)
        try:
            eventually("the three DAGs are there", lambda: len(_dags(running)) == 3)
            for dag_id in (CHECK, ROTATE):
                running.api("PATCH", f"/dags/{dag_id}", json={"is_paused": False})
            yield Land(world, running, directory / "reports")
        finally:
            running.stop()


def _dags(running: airflow.Airflow) -> list[str]:
    return [d["dag_id"] for d in running.api("GET", "/dags", params={"limit": 10})["dags"]]
