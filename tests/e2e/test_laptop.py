"""From a laptop: the library as its document calls it, and a killed rotation that somebody else takes up."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from proving_ground.ground import Ground, start
from proving_ground.scenario import Scenario

pytestmark = [pytest.mark.proving_ground, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "library.md"
LONGEST_CALL = 15
WITHIN_S = 180


def cluster(name: str, machines: int) -> dict[str, Any]:
    return {
        "name": name,
        "environment": name,
        "groups": [{"name": "workers", "image": "base-1", "min": 1, "max": 8, "desired": machines}],
        "workloads": [
            {
                "name": "web",
                "replicas": 2 * machines,
                "ready_after": "500ms",
                "stops_after": "500ms",
                "spread": "hostname",
                "budget": {"max_unavailable": 2},
            }
        ],
    }


SCENARIO = {
    "name": "laptop",
    "account": "510987654321",
    "timing": {"boot": "1s", "shutdown": "500ms", "node_removal": "500ms"},
    "images": [
        {"name": "base-1", "created": "2026-11-01T06:00:00.000Z"},
        {"name": "base-2", "created": "2026-11-08T06:00:00.000Z"},
    ],
    "parameters": [{"name": "/images/base/current", "image": "base-2"}],
    "clusters": [cluster("dev", 2), cluster("staging", 4)],
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with start(Scenario.model_validate(SCENARIO), tmp_path_factory.mktemp("laptop") / "ground") as running:
        yield running


@pytest.fixture
def fleet(world: Ground, tmp_path: Path) -> Path:
    def entry(name: str) -> dict[str, Any]:
        return {
            "name": name,
            "clusters": [
                {
                    "name": name,
                    "aws": {"region": world.scenario.region},
                    "kubernetes": {"kubeconfig": str(world.kubeconfig(name))},
                    "groups": [{"name": "workers", "asg": f"{name}-workers"}],
                }
            ],
        }

    defaults = {
        "image": {"ssm": "/images/base/current"},
        "image_step": "launch_template",
        "gate": {"settle": "1s"},
        "poll": "0.5s",
        "lock_duration": "8s",
    }
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump({"defaults": defaults, "environments": [entry("dev"), entry("staging")]}))
    return path


@pytest.fixture
def env(world: Ground, fleet: Path) -> dict[str, str]:
    """What a shell on that laptop has."""
    return {
        **world.env,
        "HOME": str(fleet.parent),
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT / "include"),
        "NODE_ROTATION_FLEET": str(fleet),
    }


def images(world: Ground, group: str) -> set[str]:
    """Names of the images that a group's machines run."""
    ec2, scaling = world.aws.client("ec2"), world.aws.client("autoscaling")
    (found,) = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"]
    ids = [member["InstanceId"] for member in found["Instances"]]
    reservations = ec2.describe_instances(InstanceIds=ids)["Reservations"]
    ran = {instance["ImageId"] for reservation in reservations for instance in reservation["Instances"]}
    return {image["Name"] for image in ec2.describe_images(ImageIds=sorted(ran))["Images"]}


def the_call() -> str:
    """The first block of Python in the document."""
    found = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found, f"{DOCUMENT.name} shows no call"
    return found[1]


def test_the_documented_call_is_short() -> None:
    lines = [line for line in the_call().splitlines() if line.strip()]
    assert len(lines) <= LONGEST_CALL


def test_the_documented_call_rotates_a_cluster(world: Ground, fleet: Path, env: dict[str, str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", the_call()],
        env=env,
        cwd=fleet.parent,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "True ('workers/1', 'workers/2') () None"
    assert images(world, "dev-workers") == {"base-2"}
