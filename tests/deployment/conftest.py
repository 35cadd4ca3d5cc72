"""A cluster with the published RBAC manifest in it, on the real control plane; each module takes its own apart."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from proving_ground.control_plane.build import binaries
from proving_ground.ground import Ground, start
from proving_ground.scenario import Scenario

ROOT = Path(__file__).parents[2]
SCENARIO = {
    "name": "rbac",
    "account": "210987650001",
    "timing": {"boot": "300ms", "shutdown": "300ms"},
    "images": [{"name": "base-1", "created": "2026-11-01T06:00:00.000Z"}],
    "clusters": [
        {
            "name": "guarded",
            "environment": "dev",
            "groups": [{"name": "workers", "image": "base-1", "min": 1, "max": 2, "desired": 1}],
            "workloads": [{"name": "web", "replicas": 1, "ready_after": "300ms", "stops_after": "300ms"}],
        }
    ],
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with start(Scenario.model_validate(SCENARIO), tmp_path_factory.mktemp("ground")) as running:
        yield running


@pytest.fixture(scope="module")
def kubeconfig(ground: Ground) -> Path:
    """The administrator's kubeconfig of a cluster that has docs/rbac.yaml applied."""
    path = ground.kubeconfig("guarded")
    subprocess.run(
        [str(binaries() / "kubectl"), "apply", "-f", str(ROOT / "docs" / "rbac.yaml")],
        env={**os.environ, "KUBECONFIG": str(path)},
        check=True,
        capture_output=True,
        timeout=60,
    )
    return path
