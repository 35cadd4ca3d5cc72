"""The observer can't be fooled: a good rotation is all zeros, each sabotage makes its figure non-zero."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from kubernetes import client, config

from proving_ground import ground
from proving_ground.demo import stage
from proving_ground.scenario import load
from proving_ground.state import State

pytestmark = [pytest.mark.proving_ground, pytest.mark.timeout(1500)]
FLEET = """
defaults:
  image: {ssm: /images/base/current}
  image_step: launch_template
  budget: {max_surge: 3}
  gate: {settle: 1s}
environments:
  - name: dev
    clusters:
      - name: dev
        aws: {region: eu-central-1}
        kubernetes: {kubeconfig: KUBECONFIG}
        groups: [{name: workers, asg: dev-workers}]
"""


class World:
    """A proving ground with six machines, rotated once under the observer's eyes."""

    def __init__(self, running: ground.Ground, directory: Path) -> None:
        self.directory, self.env = directory, running.env
        self.state = State(phase="ready", scenario="thin", endpoint=running.endpoint, environment=running.env)
        self.core = client.CoreV1Api(config.new_client_from_config(str(running.kubeconfig("dev"))))
        self.autoscaling: Any = boto3.client("autoscaling")
        self.ec2: Any = boto3.client("ec2")
        self.observers: list[stage.Observer] = []
        (directory / "fleet.yaml").write_text(FLEET.replace("KUBECONFIG", str(running.kubeconfig("dev"))))

    def rotate(self) -> subprocess.CompletedProcess[str]:
        command = ["-m", "node_rotation.cli", "--fleet", str(self.directory / "fleet.yaml"), "rotate", "dev.dev"]
        return subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=200, check=False)

    def observe(self) -> stage.Observer:
        (observer,) = stage.observe(["dev"], self.state, directory=self.directory, out=self.directory / "out")
        self.observers.append(observer)
        return observer

    def members(self) -> list[str]:
        groups = self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["dev-workers"])
        return [
            i["InstanceId"] for i in groups["AutoScalingGroups"][0]["Instances"] if i["LifecycleState"] == "InService"
        ]

    def intake(self, *, open_: bool) -> None:
        """As whoever installs into the cluster is told."""
        body = {"cluster": "dev", "open": open_}
        requests.post(f"{self.state.endpoint}/_proving-ground/intake", json=body, timeout=20).raise_for_status()

    def wait_for(self, members: int) -> None:
        until = time.monotonic() + 60
        while len(self.members()) != members or len(self.core.list_node().items) < members:
            assert time.monotonic() < until, f"no {members} machines in service within 60 s"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, dict[str, Any], int]]:
    """The world after a good rotation, with the observer's figures of it and its exit code."""
    directory = tmp_path_factory.mktemp("ground")
    with ground.start(load("thin"), directory) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.env.items():
            patch.setenv(name, value)
        world = World(running, directory)
        try:
            observer = world.observe()
            done = world.rotate()
            assert done.returncode == 0, done.stdout + done.stderr
            figures, code = observer.finish("dev", "by hand", time.time())
            yield world, figures, code
        finally:
            for observer in world.observers:
                observer.stop()


def test_a_good_rotation_is_all_zeros(rotated: tuple[World, dict[str, Any], int]) -> None:
    world, figures, code = rotated

    assert (figures["drift_before"], figures["machines_rotated"]) == (6, 6)
    assert {name: figures[name] for name in ("drift_after", "orphans", "residue", "pdb_violations")} == {
        "drift_after": 0,
        "orphans": 0,
        "residue": 0,
        "pdb_violations": 0,
    }
    assert code == 0
    assert figures["makespan_s"] >= figures["bound_s"] / 2
    report = json.loads((world.directory / "out" / "report.json").read_text())
    assert report["environments"] == [figures]
    assert "<svg" in (world.directory / "out" / "report.html").read_text()


def test_pods_deleted_past_their_budget_are_violations(rotated: tuple[World, dict[str, Any], int]) -> None:
    world = rotated[0]
    observer = world.observe()
    pods = world.core.list_namespaced_pod("default", label_selector="app=web").items

    for pod in pods[:8]:
        world.core.delete_namespaced_pod(pod.metadata.name, "default")

    figures, code = observer.finish("dev", "sabotage", time.time())
    assert figures["pdb_violations"] >= 1
    assert figures["min_available_pct"] < 75
    assert code == 1


def test_a_machine_detached_by_hand_is_an_orphan(rotated: tuple[World, dict[str, Any], int]) -> None:
    world = rotated[0]
    observer = world.observe()
    machine = world.members()[0]

    world.autoscaling.detach_instances(
        AutoScalingGroupName="dev-workers", InstanceIds=[machine], ShouldDecrementDesiredCapacity=False
    )
    world.wait_for(6)

    figures, code = observer.finish("dev", "sabotage", time.time())
    world.ec2.terminate_instances(InstanceIds=[machine])
    assert figures["orphans"] == 1
    assert code == 1


def test_a_taint_left_behind_is_residue(rotated: tuple[World, dict[str, Any], int]) -> None:
    world = rotated[0]
    machine = world.members()[0]
    node = next(n.metadata.name for n in world.core.list_node().items if n.spec.provider_id.endswith(machine))

    observer = world.observe()
    taint = {"key": "node-rotation/old", "value": "", "effect": "PreferNoSchedule"}
    world.core.patch_node(node, {"spec": {"taints": [taint]}})

    figures, code = observer.finish("dev", "sabotage", time.time())
    world.core.patch_node(node, {"spec": {"taints": None}})
    assert figures["residue"] == 1
    assert code == 1


def test_an_intake_left_closed_is_residue(rotated: tuple[World, dict[str, Any], int]) -> None:
    world = rotated[0]
    observer = world.observe()

    world.intake(open_=False)

    figures, code = observer.finish("dev", "sabotage", time.time())
    world.intake(open_=True)
    assert figures["residue"] == 1
    assert code == 1


def test_a_bad_image_that_costs_a_machine_is_told(rotated: tuple[World, dict[str, Any], int]) -> None:
    world = rotated[0]
    observer = world.observe()

    world.autoscaling.terminate_instance_in_auto_scaling_group(
        InstanceId=world.members()[0], ShouldDecrementDesiredCapacity=False
    )
    world.wait_for(5)
    world.wait_for(6)

    figures, code = observer.finish("dev", "sabotage", time.time(), refused=True)
    assert figures["machines_lost"] == 1
    assert code == 1
    assert json.loads((world.directory / "out" / "refused.json").read_text()) == figures


def test_one_old_machine_is_drift(rotated: tuple[World, dict[str, Any], int]) -> None:
    world = rotated[0]
    observer = world.observe()
    template = {
        "LaunchTemplateName": world.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["dev-workers"])[
            "AutoScalingGroups"
        ][0]["LaunchTemplate"]["LaunchTemplateName"]
    }

    world.autoscaling.update_auto_scaling_group(
        AutoScalingGroupName="dev-workers", LaunchTemplate={**template, "Version": "1"}
    )
    world.autoscaling.terminate_instance_in_auto_scaling_group(
        InstanceId=world.members()[0], ShouldDecrementDesiredCapacity=False
    )
    world.wait_for(5)
    world.wait_for(6)

    figures, code = observer.finish("dev", "sabotage", time.time())
    assert figures["drift_after"] == 1
    assert code == 1
