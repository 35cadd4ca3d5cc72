"""An image was built: what docs/pipelines.md tells pipelines to run, run against a real Airflow, to its proof."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
import yaml
from tests.e2e.conftest import ROOT, connections
from tests.e2e.land import FRUGAL, READS, ROTATE, Land, eventually
from tests.e2e.watching import following

from proving_ground import airflow, ground, scenario
from proving_ground.aws import request_log
from proving_ground.observer import residue

pytestmark = [pytest.mark.airflow, pytest.mark.proving_ground, pytest.mark.timeout(1500)]

PAGE = (ROOT / "docs" / "pipelines.md").read_text()
SCENARIO: dict[str, Any] = {
    "name": "pipelines",
    "timing": {"boot": "2s", "shutdown": "1s", "node_removal": "1s", "eks_pause": "1s", "eks_look": "300ms"}
    | {"heartbeat_grace": "40s"},
    "images": [{"name": "base-1", "created": "2026-01-02T06:00:00.000Z"}],
    "parameters": [{"name": "/images/base/current", "image": "base-1"}],
    "clusters": [
        {
            "name": "dev",
            "environment": "dev",
            "kind": "eks",
            "groups": [
                {"name": "workers", "image": "base-1", "min": 1, "max": 2, "desired": 1},
                {"name": "owned", "image": "base-1", "min": 1, "max": 2, "desired": 1},
                {"name": "piped", "image": "base-1", "min": 1, "max": 2, "desired": 1},
                {
                    "name": "managed",
                    "kind": "eks-managed",
                    "ami_type": "CUSTOM",
                    "image": "base-1",
                    "zones": ["a"],
                    "min": 1,
                    "max": 2,
                    "desired": 2,
                    "max_unavailable": 2,
                },
            ],
            "workloads": [{"name": "web", "replicas": 2, "ready_after": "300ms", "stops_after": "300ms"}],
        }
    ],
}
GROUPS = ("dev-workers", "dev-owned", "dev-piped")
MANAGED, TEMPLATE = "dev-managed", "dev-managed-user"
"""Rolled by EKS, from a launch template that its owner's pipeline writes; once written, it is the target."""
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
          - name: piped
            asg: dev-piped
            policy:
              image_step: pod
              image_pod: {{namespace: default, spec: {{containers: [{{name: kops, image: kops}}]}}}}
          - name: managed
            kind: eks-managed
            eks_cluster: dev
            nodegroup: managed
            policy: {{image: {{template: true}}}}
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


def image_pod(pod: Any) -> None:
    """What the program in an image pod does; there are no containers here that could run it."""
    (kops,) = pod.spec.containers
    told = {one.name: one.value for one in kops.env}
    asg = boto3.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[told["NODE_ROTATION_ASG"]])
    template = asg["AutoScalingGroups"][0]["LaunchTemplate"]["LaunchTemplateId"]
    ec2: Any = boto3.client("ec2")
    versions = ec2.describe_launch_template_versions(LaunchTemplateId=template)["LaunchTemplateVersions"]
    image = told["NODE_ROTATION_IMAGE_ID"]
    if image not in {version["LaunchTemplateData"]["ImageId"] for version in versions}:  # a pod is told of repeatedly
        ec2.create_launch_template_version(
            LaunchTemplateId=template, SourceVersion="$Latest", LaunchTemplateData={"ImageId": image}
        )


@dataclass(frozen=True)
class Announced:
    """An image that the curl line announced, and the rotation that it started."""

    image: str
    run_id: str
    key: str
    before: residue.Aws
    old: frozenset[str]
    """The managed group's machines until then."""
    began_at: float


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
        home, folders = directory / "airflow", (ROOT / "dags", ROOT / "plugins")
        running = airflow.start(home, *folders, env=env, overrides=FRUGAL, healthy_s=240)
        try:
            there = {"limit": 10}
            eventually("the DAGs", lambda: len(running.api("GET", "/dags", params=there)["dags"]) == 3)
            running.api("PATCH", f"/dags/{ROTATE}", json={"is_paused": False})
            land = Land(world, running, directory / "reports")
            with following(
                land.core.list_namespaced_pod,
                "default",
                image_pod,
                label_selector="app.kubernetes.io/component=image-step",
            ):
                yield land
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


def report(land: Land, run_id: str) -> dict[str, Any]:
    """The report of a run, found as the page says: by what its task ``report`` returned."""
    path = f"/dags/{ROTATE}/dagRuns/{run_id}/taskInstances/report/xcomEntries/return_value"
    page = Path(str(land.airflow.api("GET", path)["value"]))
    return dict(json.loads(page.with_suffix(".json").read_text()))


def intake(land: Land) -> dict[str, Any]:
    answer = requests.get(f"{land.ground.endpoint}/_proving-ground/intake", timeout=30)
    return dict(answer.json())


def into_template(image: str) -> None:
    """What the owner of the managed group's template does with an image: docs/pipelines.md says when."""
    boto3.client("ec2").create_launch_template_version(
        LaunchTemplateName=TEMPLATE, SourceVersion="$Latest", LaunchTemplateData={"ImageId": image}
    )


def templates(*names: str) -> set[str]:
    """Launch templates by their names and ids."""
    found = boto3.client("ec2").describe_launch_templates(LaunchTemplateNames=list(names))["LaunchTemplates"]
    return {*names, *(one["LaunchTemplateId"] for one in found)}


@pytest.fixture
def only_workers(land: Land) -> Iterator[None]:
    """The cluster has that group alone for a while: what groups are rotated by was seen before."""
    whole = land.fleet.read_text()
    document = yaml.safe_load(whole)
    (cluster,) = document["environments"][0]["clusters"]
    cluster["groups"] = [group for group in cluster["groups"] if group["name"] == "workers"]
    land.fleet.write_text(yaml.safe_dump(document))
    yield
    land.fleet.write_text(whole)


@pytest.fixture(scope="module")
def announced(land: Land) -> Announced:
    """One rotation of the whole cluster, for all that is to be seen of it."""
    before, old = land.aws(), frozenset(land.machines(MANAGED))
    image = land.publish("base-2")
    into_template(image)
    began_at = time.time()
    done = run(block("curl", "bash"), variables(land, {}))
    assert done.returncode == 0, done.stderr
    eventually("a rotation", land.rotations)
    ((run_id, key),) = land.rotations().items()
    assert land.ends(run_id) == "success"
    return Announced(image, run_id, key, before, old, began_at)


def proven(land: Land, run_id: str, image: str, *groups: str) -> None:
    """A report of what is so, of all groups that the rotation was about."""
    said = report(land, run_id)
    assert said["ok"], said
    assert said["targets"] == dict.fromkeys(groups, image)
    assert not any(said["verdict"].values())
    for group in groups:
        assert set(land.machines(f"dev-{group}").values()) == {image}
    assert intake(land)["closed"] == []


def ever_of(land: Land, group: str) -> tuple[set[str], set[str]]:
    """Every machine that an Auto Scaling group ever had, and their Nodes, by what happened inside AWS."""
    lines = (land.ground.directory / "aws-events.jsonl").read_text().splitlines()
    events = [event for event in map(json.loads, lines) if event.get("group") == group]
    return {e["instance_id"] for e in events}, {e["private_dns_name"] for e in events}


def written_nodes(land: Land) -> set[tuple[str, str]]:
    """What was done to which Node, by anybody but the ground's own parts."""
    events = [json.loads(line) for line in land.ground.audit_log(land.cluster).read_text().splitlines()]
    refs = [(e["verb"], e.get("objectRef") or {}) for e in events if e["user"].get("username") == "admin"]
    return {
        (verb, ref["name"])
        for verb, ref in refs
        if ref.get("resource") == "nodes" and verb not in READS and "name" in ref
    }


def test_the_curl_line_starts_a_rotation_with_intake_image_steps_and_proof(land: Land, announced: Announced) -> None:
    assert announced.key.endswith("~dev.dev")
    proven(land, announced.run_id, announced.image, "workers", "owned", "piped", "managed")
    said = intake(land)["said"]
    # Both groups' prepare may close it: closing what is closed is harmless, opening is the last word.
    assert [turn for turn, _ in itertools.groupby(said)] == [["dev", False], ["dev", True]], said
    logs = "\n".join(land.airflow.log(ROTATE, announced.run_id, "prepare", map_index=index) for index in range(4))
    assert "for base-2" in logs, "what the command said"
    assert "waits: the image step of group piped has begun" in logs
    assert "node-rotation-image-" in logs, "what its containers said last"
    assert not [p for p in land.core.list_namespaced_pod("default").items if "image" in p.metadata.name]


def test_eks_rolls_the_managed_group_beside_self_managed_ones_and_nothing_of_it_is_written(
    land: Land, announced: Announced
) -> None:
    now = land.machines(MANAGED)
    assert len(now) == 2
    assert set(now.values()) == {announced.image}
    assert not announced.old & now.keys()
    assert not announced.old & {node.spec.provider_id.rpartition("/")[2] for node in land.core.list_node().items}
    batches = {span["batch"].partition("/")[0] for span in report(land, announced.run_id)["timeline"]}
    assert batches == {"workers", "owned", "piped", "managed"}

    asked = [r for r in request_log.mutations(land.ground.request_log) if r.t >= announced.began_at]
    eks = [(r.action, r.parameters["nodegroupName"]) for r in asked if r.service == "eks"]
    assert eks == [("UpdateNodegroupVersion", "managed")]
    machines, nodes = ever_of(land, MANAGED)
    assert announced.old | now.keys() < machines, "there were machines on top for a while"
    theirs = {MANAGED, *templates(MANAGED, TEMPLATE), *machines}
    others = [(r.action, set(re.findall(r"[\w-]+", json.dumps(r.parameters)))) for r in asked if r.service != "eks"]
    assert {"DetachInstances", "TerminateInstances"} <= {action for action, _ in others}
    assert [action for action, words in others if words & theirs] == []
    assert not {f"{verb} {name}" for verb, name in written_nodes(land) if name in nodes}
    assert land.left(announced.before) == []


@pytest.mark.parametrize(("job", "shell", "name"), [(gitlab, "sh", "base-3"), (github, "bash", "base-4")])
def test_a_job_waits_for_the_rotation_and_prints_its_verdict(
    land: Land, only_workers: None, job: Any, shell: str, name: str
) -> None:
    image = land.publish(name)
    before = land.rotations()
    script, given = job()
    done = run(script, variables(land, given), shell)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert '"drift": []' in done.stdout
    (run_id,) = land.rotations().keys() - before.keys()
    assert f"{run_id}: success" in done.stdout
    proven(land, run_id, image, "workers")


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
