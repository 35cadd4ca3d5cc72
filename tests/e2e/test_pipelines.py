"""An image was built: what docs/pipelines.md tells pipelines to run, run against a real Airflow, to its proof."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from tests.e2e.conftest import ROOT, connections
from tests.e2e.land import ROTATE, Land, eventually

from proving_ground import airflow, ground, scenario

pytestmark = [pytest.mark.airflow, pytest.mark.proving_ground, pytest.mark.timeout(1500)]

PAGE = (ROOT / "docs" / "pipelines.md").read_text()
SCENARIO: dict[str, Any] = {
    "name": "pipelines",
    "timing": {"boot": "2s", "shutdown": "1s", "node_removal": "1s"},
    "images": [{"name": "base-1", "created": "2026-01-02T06:00:00.000Z"}],
    "parameters": [{"name": "/images/base/current", "image": "base-1"}],
    "clusters": [
        {
            "name": "dev",
            "environment": "dev",
            "groups": [
                {"name": "workers", "image": "base-1", "min": 1, "max": 2, "desired": 1},
                {"name": "owned", "image": "base-1", "min": 1, "max": 2, "desired": 1},
            ],
            "workloads": [{"name": "web", "replicas": 2, "ready_after": "300ms", "stops_after": "300ms"}],
        }
    ],
}
GROUPS = ("dev-workers", "dev-owned")
FLEET = """
defaults:
  strategy: detach
  image: {{owner: self, name: "base-*"}}
  budget: {{max_surge: 2}}
  canary: false
  gate: {{settle: 1s}}
  poll: 1s
environments:
  - name: dev
    policy:
      intake:
        http:
          connection: installer
          close: {{path: /_proving-ground/intake, body: {{cluster: dev, open: false}}}}
          open: {{path: /_proving-ground/intake, body: {{cluster: dev, open: true}}}}
    clusters:
      - name: dev
        aws: {{region: eu-central-1}}
        kubernetes: {{connection: kubernetes_dev}}
        groups:
          - {{name: workers, asg: dev-workers, policy: {{image_step: launch_template}}}}
          - name: owned
            asg: dev-owned
            policy: {{image_step: command, image_command: {{argv: [{python}, image.py], directory: {directory}}}}}
"""
IMAGE_PY = """
import os

import boto3

group = boto3.client("autoscaling").describe_auto_scaling_groups(
    AutoScalingGroupNames=[os.environ["NODE_ROTATION_ASG"]]
)["AutoScalingGroups"][0]
made = boto3.client("ec2").create_launch_template_version(
    LaunchTemplateId=group["LaunchTemplate"]["LaunchTemplateId"],
    SourceVersion="$Latest",
    LaunchTemplateData={"ImageId": os.environ["NODE_ROTATION_IMAGE_ID"]},
)
print("template version", made["LaunchTemplateVersion"]["VersionNumber"], "for", os.environ["NODE_ROTATION_IMAGE_NAME"])
"""
"""Stands for kops or terraform: a program of somebody else's that owns the template."""


@pytest.fixture(scope="module")
def land(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Land]:
    directory = tmp_path_factory.mktemp("pipelines")
    (directory / "image.py").write_text(IMAGE_PY)
    (directory / "fleet.yaml").write_text(FLEET.format(python=sys.executable, directory=directory))
    with (
        ground.start(scenario.Scenario.model_validate(SCENARIO), directory / "ground") as world,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in world.env.items():
            patch.setenv(name, value)
        env = {
            **connections(world),
            **world.env,
            "AIRFLOW_CONN_INSTALLER": json.dumps({"conn_type": "http", "host": world.endpoint}),
            "NODE_ROTATION_FLEET": str(directory / "fleet.yaml"),
            "NODE_ROTATION_REPORTS": str(directory / "reports"),
        }
        running = airflow.start(directory / "airflow", ROOT / "dags", ROOT / "plugins", env=env, healthy_s=240)
        try:
            there = {"limit": 10}
            eventually("the DAGs", lambda: len(running.api("GET", "/dags", params=there)["dags"]) == 3)
            running.api("PATCH", f"/dags/{ROTATE}", json={"is_paused": False})
            yield Land(world, running, directory / "reports")
        finally:
            running.stop()


def block(title: str, language: str) -> str:
    """The one code block below a heading of the page."""
    found = re.search(rf"^## {re.escape(title)}\n.*?^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found, f"docs/pipelines.md has no {language} below {title}"
    return found[1]


def variables(land: Land, given: dict[str, Any], cluster: str = "dev.dev") -> dict[str, str]:
    """What the pipeline's system would set, the job's own variables included."""
    own = {key: str(value) for key, value in given.items() if "${{" not in str(value)}
    told = {"AIRFLOW_URL": land.airflow.url, "AIRFLOW_USER": "admin", "AIRFLOW_PASSWORD": "unused"}
    return {**os.environ, **own, **told, "CLUSTER": cluster, "POLL_S": "1"}


def run(script: str, environment: dict[str, str], shell: str = "bash") -> subprocess.CompletedProcess[str]:
    """What the pipeline's system does with a job's script."""
    return subprocess.run(
        [shell, "-e", "-c", script], env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def gitlab() -> tuple[str, dict[str, Any]]:
    (job,) = yaml.safe_load(block("GitLab CI", "yaml")).values()
    return "\n".join(job["script"]), job["variables"]


def github() -> tuple[str, dict[str, Any]]:
    (job,) = yaml.safe_load(block("GitHub Actions", "yaml"))["jobs"].values()
    (step,) = job["steps"]
    return step["run"], job["env"]


def everything_runs(land: Land, image: str) -> bool:
    return all(set(land.machines(group).values()) == {image} for group in GROUPS)


def report(land: Land, run_id: str) -> dict[str, Any]:
    """The report of a run, found as the page says: by what its task ``report`` returned."""
    path = f"/dags/{ROTATE}/dagRuns/{run_id}/taskInstances/report/xcomEntries/return_value"
    page = Path(str(land.airflow.api("GET", path)["value"]))
    return dict(json.loads(page.with_suffix(".json").read_text()))


def intake(land: Land) -> dict[str, Any]:
    answer = requests.get(f"{land.ground.endpoint}/_proving-ground/intake", timeout=30)
    return dict(answer.json())


def proven(land: Land, run_id: str, image: str) -> None:
    said = report(land, run_id)
    assert said["ok"], said
    assert said["targets"] == {"workers": image, "owned": image}
    assert not any(said["verdict"].values())
    assert everything_runs(land, image)
    assert intake(land)["closed"] == []


def test_the_curl_line_starts_a_rotation_with_intake_image_steps_and_proof(land: Land) -> None:
    image = land.publish("base-2")
    done = run(block("curl", "bash"), variables(land, {}))
    assert done.returncode == 0, done.stderr
    eventually("a rotation", land.rotations)
    ((run_id, key),) = land.rotations().items()
    assert key.endswith("~dev.dev")
    assert land.ends(run_id) == "success"
    proven(land, run_id, image)
    said = intake(land)["said"]
    # Both groups' prepare may close it: closing what is closed is harmless, opening is the last word.
    assert [turn for turn, _ in itertools.groupby(said)] == [["dev", False], ["dev", True]], said
    logs = [land.airflow.log(ROTATE, run_id, "prepare", map_index=index) for index in (0, 1)]
    assert any("for base-2" in log for log in logs), logs


@pytest.mark.parametrize(("job", "shell", "name"), [(gitlab, "sh", "base-3"), (github, "bash", "base-4")])
def test_a_job_waits_for_the_rotation_and_prints_its_verdict(land: Land, job: Any, shell: str, name: str) -> None:
    image = land.publish(name)
    before = land.rotations()
    script, given = job()
    done = run(script, variables(land, given), shell)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert '"drift": []' in done.stdout
    (run_id,) = land.rotations().keys() - before.keys()
    assert f"{run_id}: success" in done.stdout
    proven(land, run_id, image)


def test_a_job_for_a_cluster_that_is_not_there_fails_and_changes_nothing(land: Land) -> None:
    before = land.mutations()
    script, given = gitlab()
    done = run(script, variables(land, given, cluster="dev.nowhere"), "sh")
    assert done.returncode != 0
    assert ": failed" in done.stdout
    assert land.mutations() == before


def test_an_image_command_that_fails_is_one_message_and_everything_is_as_before(land: Land) -> None:
    before, machines = land.aws(), {group: land.machines(group) for group in GROUPS}
    land.publish("base-5")
    (land.reports.parent / "image.py").write_text("raise SystemExit('the state is locked')")
    run_id = land.run({"cluster": "dev.dev", "groups": ["owned"]})
    said = land.ends(run_id)
    assert said.startswith("failed")
    assert "the state is locked" in said
    assert {group: land.machines(group) for group in GROUPS} == machines
    assert land.left(before) == []
    assert intake(land)["closed"] == []
