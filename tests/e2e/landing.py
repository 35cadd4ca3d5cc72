"""Starts a proving ground with a real Airflow on it, and stops both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.land import CHECK, FRUGAL, ROTATE, Land, eventually

from proving_ground import airflow
from proving_ground.ground import Ground, start
from proving_ground.scenario import Scenario

ROOT = Path(__file__).parents[2]
Settings = Mapping[str, Mapping[str, object]]


@contextmanager
def landed(
    directory: Path,
    seeds: Mapping[str, Any],
    fleet: Callable[[Ground], str],
    *,
    env: Callable[[Ground], Mapping[str, str]] = lambda world: {},
    overrides: Settings = FRUGAL,
    active: Sequence[str] = (CHECK, ROTATE),
) -> Iterator[Land]:
    """Both, in a directory.

    :param seeds: the proving ground's scenario.
    :param fleet: the fleet file's text, of the ground that runs.
    :param env: what else Airflow's processes have in their environment.
    :param overrides: Airflow's settings, by section.
    :param active: DAGs that are not paused.
    """
    with (
        start(Scenario.model_validate(seeds), directory / "ground") as world,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in world.env.items():
            patch.setenv(name, value)
        (directory / "fleet.yaml").write_text(fleet(world))
        known = {
            **connections(world),
            "NODE_ROTATION_FLEET": str(directory / "fleet.yaml"),
            "NODE_ROTATION_REPORTS": str(directory / "reports"),
            **env(world),
        }
        home, folders = directory / "airflow", (ROOT / "dags", ROOT / "plugins")
        running = airflow.start(home, *folders, env=known, overrides=overrides, healthy_s=240)
        try:
            eventually("the three DAGs are there", lambda: len(_dags(running)) == 3)
            for dag_id in active:
                running.api("PATCH", f"/dags/{dag_id}", json={"is_paused": False})
            yield Land(world, running, directory / "reports")
        finally:
            running.stop()


def connections(world: Ground) -> dict[str, str]:
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


def _dags(running: airflow.Airflow) -> list[str]:
    return [d["dag_id"] for d in running.api("GET", "/dags", params={"limit": 10})["dags"]]
