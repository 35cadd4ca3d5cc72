"""As a user without Airflow has it: the wheel in an empty environment rotates a cluster from a pipeline."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from proving_ground import ground, scenario

pytestmark = [pytest.mark.proving_ground, pytest.mark.timeout(1500)]

ROOT = Path(__file__).parents[2]
INSTALL_S, ROTATE_S, START_S = 600, 600, 240


def run(*command: object, within_s: float, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A command without a terminal; what it was given is all it has."""
    return subprocess.run(
        [str(part) for part in command],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )


def constraints(path: Path) -> Path:
    """The lock's versions, for what the wheel asks for."""
    pins = re.findall(r"^([A-Za-z0-9._-]+==\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    path.write_text("\n".join(pins))
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from a copy: a build leaves files beside its source."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "include", source / "include", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    built = run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        source / "dist",
        source,
        within_s=INSTALL_S,
    )
    assert built.returncode == 0, built.stderr
    (found,) = (source / "dist").glob("node_rotation-*.whl")
    return found


@pytest.fixture(scope="module")
def script(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`node-rotation` in an environment of its own, without Airflow."""
    home = tmp_path_factory.mktemp("installed")
    python = home / "venv" / "bin" / "python"
    made = run(sys.executable, "-m", "venv", "--without-pip", home / "venv", within_s=INSTALL_S)
    assert made.returncode == 0, made.stderr
    pins = constraints(home / "constraints.txt")
    pip = (sys.executable, "-m", "pip", "--python", python)
    installed = run(*pip, "install", "-q", "--no-compile", "-c", pins, wheel, within_s=INSTALL_S)
    assert installed.returncode == 0, installed.stderr
    return home / "venv" / "bin" / "node-rotation"


@pytest.fixture(scope="module")
def thin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ground.Ground]:
    with ground.start(scenario.load("thin"), tmp_path_factory.mktemp("thin") / "ground") as world:
        yield world


@pytest.fixture
def fleet(thin: ground.Ground, tmp_path: Path) -> Path:
    cluster = {
        "name": "dev",
        "aws": {"region": thin.scenario.region},
        "kubernetes": {"kubeconfig": str(thin.kubeconfig("dev"))},
        "groups": [{"name": "workers", "asg": "dev-workers"}],
    }
    document = {
        "defaults": {
            "image": {"ssm": "/images/base/current"},
            "image_step": "launch_template",
            "budget": {"max_surge": 3},
            "gate": {"settle": "1s"},
            "poll": "1s",
        },
        "environments": [{"name": "dev", "clusters": [cluster]}],
    }
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_the_wheel_holds_library_and_operators_and_no_test_bed(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"node_rotation/py.typed", "node_rotation_airflow/py.typed", "node_rotation/cli/app.py"} <= set(names)
    assert not [name for name in names if name.startswith(("proving_ground", "tests", "dags"))]


def test_airflow_is_not_there(script: Path) -> None:
    tried = run(script.parent / "python", "-c", "import node_rotation.engine, airflow", within_s=START_S)
    assert "No module named 'airflow'" in tried.stderr


def test_a_cluster_is_rotated_from_a_pipeline(script: Path, fleet: Path, thin: ground.Ground) -> None:
    env = {**thin.env, "HOME": str(fleet.parent), "PATH": os.defpath, "NODE_ROTATION_FLEET": str(fleet)}

    found = run(script, "-o", "json", "drift", env=env, within_s=START_S)
    assert found.returncode == 2, found.stderr
    (group,) = json.loads(found.stdout)["clusters"][0]["groups"]
    assert len(group["drifted"]) == 6

    rotated = run(script, "rotate", "dev", env=env, within_s=ROTATE_S)
    assert rotated.returncode == 0, rotated.stdout + rotated.stderr
    lines = rotated.stdout.splitlines()
    assert "done, 6 batches passed" in lines[-1]
    assert any(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ workers/1 drain", line.strip()) for line in lines)
    assert "\x1b" not in rotated.stdout

    assert run(script, "drift", env=env, within_s=START_S).returncode == 0
    images = {
        instance["ImageId"]
        for page in thin.aws.client("ec2").get_paginator("describe_instances").paginate()
        for reservation in page["Reservations"]
        for instance in reservation["Instances"]
        if instance["State"]["Name"] == "running"
    }
    assert images == {group["target"]["image"]["id"]}


def test_an_api_server_that_is_away_is_one_message(script: Path, fleet: Path, thin: ground.Ground) -> None:
    env = {**thin.env, "HOME": str(fleet.parent), "PATH": os.defpath, "NODE_ROTATION_FLEET": str(fleet)}
    kubeconfig = yaml.safe_load(thin.kubeconfig("dev").read_text())
    kubeconfig["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    away = fleet.parent / "away"
    away.write_text(yaml.safe_dump(kubeconfig))
    fleet.write_text(fleet.read_text().replace(str(thin.kubeconfig("dev")), str(away)))
    ran = run(script, "plan", "dev", env=env, within_s=START_S)
    assert ran.returncode == 1, ran.stdout
    assert "127.0.0.1:9" in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1
