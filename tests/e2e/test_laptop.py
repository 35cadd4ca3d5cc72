"""From a laptop: the library as its document calls it, and a killed rotation that somebody else takes up."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from proving_ground.ground import Ground, start
from proving_ground.scenario import Fault, Scenario

pytestmark = [pytest.mark.proving_ground, pytest.mark.timeout(1500)]

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "library.md"
LONGEST_CALL = 15
WITHIN_S = 400
LOOK_S = 3.0
"""Between looks by command line, seconds: each is a process of its own, and takes a second of a core."""
CLI = (sys.executable, "-m", "node_rotation.cli")
Cli = Callable[..., subprocess.CompletedProcess[str]]


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
        "lock_duration": "20s",
    }
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump({"defaults": defaults, "environments": [entry("dev"), entry("staging")]}))
    return path


@pytest.fixture
def cli(env: dict[str, str]) -> Cli:
    """The command line as somebody else has it: on another machine, with the same fleet file."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*CLI, *arguments], env=env, capture_output=True, text=True, timeout=WITHIN_S, check=False
        )

    return run


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


def test_the_doctor_finds_nothing_in_a_good_fleet_and_names_what_aws_denies(world: Ground, cli: Cli) -> None:
    well = cli("-o", "json", "doctor")
    assert (well.returncode, json.loads(well.stdout)["findings"]) == (0, []), well.stderr
    denied = {"kind": "error", "code": "AccessDenied", "status": 403}
    world.aws.world.faults.add(Fault(service="autoscaling", action="DetachInstances", **denied))
    ill = cli("doctor", "dev")
    world.aws.world.faults.clear()
    assert ill.returncode == 3, ill.stdout
    assert "may not autoscaling:DetachInstances" in ill.stdout


def test_one_machine_is_detached_drained_and_terminated(world: Ground, cli: Cli) -> None:
    scaling = world.aws.client("autoscaling")

    def members() -> set[str]:
        (found,) = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=["dev-workers"])["AutoScalingGroups"]
        return {m["InstanceId"] for m in found["Instances"] if m["LifecycleState"] == "InService"}

    before = members()
    old = min(before)
    ran = cli("-o", "json", "drain", old, "--cluster", "dev", "--detach", "--terminate")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["did"] == ["detached", "drained", "terminated"]
    (reservation,) = world.aws.client("ec2").describe_instances(InstanceIds=[old])["Reservations"]
    assert reservation["Instances"][0]["State"]["Name"] == "terminated"
    eventually(lambda: len(members()) == len(before))
    assert old not in members()
    assert held(cli, "dev")["held_by"] is None


def test_a_rotation_killed_on_a_laptop_is_seen_swept_and_finished_elsewhere(
    world: Ground, cli: Cli, env: dict[str, str]
) -> None:
    first = killed_at_work(cli, env)
    assert (first["began"]["place"], first["began"]["who"].split("@")[0]) == ("command line", "alice")
    refused = cli("rotate", "staging")
    assert refused.returncode == 3, refused.stdout
    assert first["held_by"] in refused.stderr + refused.stdout

    dead = until_dead(cli)
    assert "node-rotation sweep staging.staging" in dead["advice"]
    swept = cli("sweep", "staging")
    assert swept.returncode == 0, swept.stdout + swept.stderr
    assert held(cli)["held_by"] is None
    assert images(world, "staging-workers") & {"base-1"}

    killed_at_work(cli, env)
    until_dead(cli)
    finished = cli("rotate", "staging")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert held(cli)["held_by"] is None
    assert images(world, "staging-workers") == {"base-2"}


def killed_at_work(cli: Cli, env: dict[str, str]) -> dict[str, Any]:
    """Start a rotation as alice, kill it while a machine is on its way; what everybody then sees."""
    laptop = subprocess.Popen(
        [*CLI, "rotate", "staging"],
        env={**env, "LOGNAME": "alice"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: held(cli).get("batches", {}).get("admitted", 0) > 0, LOOK_S)
    finally:
        laptop.send_signal(signal.SIGKILL)
        laptop.wait(timeout=30)
    return held(cli)


def held(cli: Cli, cluster: str = "staging") -> dict[str, Any]:
    """What `status` says of a cluster."""
    ran = cli("-o", "json", "status", cluster)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)["clusters"][0]
    return found


def until_dead(cli: Cli) -> dict[str, Any]:
    """Wait until the lock of a killed run has expired."""
    eventually(lambda: held(cli)["expired"], LOOK_S)
    return held(cli)


def eventually(look: Callable[[], bool], pause_s: float = 0.2) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + WITHIN_S
    while not look():
        assert time.monotonic() < deadline, "not in time"
        threading.Event().wait(pause_s)
