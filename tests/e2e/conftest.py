"""A proving ground and a real Airflow on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from proving_ground import airflow, ground, scenario

ROOT = Path(__file__).parents[2]

FLEET = """
defaults:
  strategy: detach
  image: {ssm: /images/base/current}
  image_step: launch_template
  budget: {max_surge: 5}
  poll: 1s
environments:
  - name: dev
    clusters:
      - name: dev
        aws: {region: eu-central-1}
        kubernetes: {connection: kubernetes_dev}
        groups:
          - {name: workers, asg: dev-workers, policy: {gate: {settle: 2s}}}
"""


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


@pytest.fixture
def thin(tmp_path: Path) -> Iterator[ground.Ground]:
    with ground.start(scenario.load("thin"), tmp_path / "ground") as world:
        yield world


@pytest.fixture
def thin_airflow(thin: ground.Ground, tmp_path: Path) -> Iterator[airflow.Airflow]:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    env = {
        **connections(thin),
        "NODE_ROTATION_FLEET": str(tmp_path / "fleet.yaml"),
        "NODE_ROTATION_REPORTS": str(tmp_path / "reports"),
    }
    running = airflow.start(tmp_path / "airflow", ROOT / "dags", ROOT / "plugins", env=env, healthy_s=240)
    try:
        yield running
    finally:
        running.stop()
