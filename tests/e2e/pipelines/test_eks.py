"""An image was built: what docs/pipelines.md tells pipelines to run, run against a real Airflow, to its proof."""

from __future__ import annotations

import itertools
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
import yaml
from tests.e2e.land import READS, ROTATE, Land, eventually
from tests.e2e.pipelines.eks import GROUPS, MANAGED, TEMPLATE
from tests.e2e.pipelines.page import block, github, gitlab, run

from proving_ground.aws import request_log
from proving_ground.observer import residue

pytestmark = [pytest.mark.airflow, pytest.mark.proving_ground, pytest.mark.timeout(1500)]


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


def variables(land: Land, given: dict[str, Any], cluster: str = "dev.dev") -> dict[str, str]:
    """What the pipeline's system would set, the job's own variables included."""
    own = {key: str(value) for key, value in given.items() if "${{" not in str(value)}
    told = {"AIRFLOW_URL": land.airflow.url, "AIRFLOW_USER": "admin", "AIRFLOW_PASSWORD": "unused"}
    return {**os.environ, **own, **told, "CLUSTER": cluster, "POLL_S": "3"}


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
    (cluster,) = document["environments"][0]["clusters"]  # of dev
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
