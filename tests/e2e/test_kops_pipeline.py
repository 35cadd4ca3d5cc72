"""The kops pipeline over two clusters: image built, and one cluster after the other is brought to it by Airflow.

For each: intake closed, kops' specification brought to the image by the script of docs/image-steps.md, every node
substituted, stable, intake open; only then the next. The first has three masters with a real etcd.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from tests.e2e.conftest import ROOT, connections
from tests.e2e.kops.etcd import Watch, access
from tests.e2e.land import ROTATE, Land, eventually

from node_rotation.clients.etcd import probe
from proving_ground import airflow, ground, scenario
from proving_ground.aws import request_log

pytestmark = [pytest.mark.airflow, pytest.mark.proving_ground, pytest.mark.timeout(600)]

FIRST, SECOND = "blue", "green"
MASTERS = ("control-plane-a", "control-plane-b", "control-plane-c")
KOPS = '''#!{python}
"""Stands for kops: keeps a specification, and writes what differs from it into launch templates."""
import json, os, pathlib, sys

store = pathlib.Path(os.environ["KOPS_STATE_STORE"])
what, name = sys.argv[1:3], sys.argv[sys.argv.index("--name") + 1]
file = store / f"{{name}}.json"
spec = json.loads(file.read_text())
if what == ["edit", "instancegroup"]:
    group, (key, _, image) = sys.argv[3], sys.argv[sys.argv.index("--set") + 1].partition("=")
    assert key == "spec.image" and group in spec, (key, group)
    file.write_text(json.dumps({{**spec, group: image}}))
elif what == ["update", "cluster"] and "--yes" in sys.argv:
    import boto3

    ec2, scaling = boto3.client("ec2"), boto3.client("autoscaling")
    tagged = [{{"Name": "tag:KubernetesCluster", "Values": [name]}}]
    for asg in scaling.describe_auto_scaling_groups(Filters=tagged)["AutoScalingGroups"]:
        tags = {{tag["Key"]: tag["Value"] for tag in asg["Tags"]}}
        wanted, template = spec[tags["kops.k8s.io/instancegroup"]], asg["LaunchTemplate"]["LaunchTemplateId"]
        (now,) = ec2.describe_launch_template_versions(LaunchTemplateId=template, Versions=["$Latest"])[
            "LaunchTemplateVersions"
        ]
        if wanted and now["LaunchTemplateData"]["ImageId"] != wanted:
            ec2.create_launch_template_version(
                LaunchTemplateId=template, SourceVersion="$Latest", LaunchTemplateData={{"ImageId": wanted}}
            )
            print(tags["kops.k8s.io/instancegroup"], "launches", wanted)
else:
    sys.exit(f"no such command: {{sys.argv[1:]}}")
'''


def group(name: str, zones: str, **more: Any) -> dict[str, Any]:
    sizes = {"min": 1, "max": 2, "desired": 1}
    return {"name": name, "kind": "kops", "image": "base-1", "zones": list(zones), **sizes, **more}


def master(name: str) -> dict[str, Any]:
    tainted = {"taints": ["node-role.kubernetes.io/control-plane=:NoSchedule"]}
    return group(name, name[-1], role="control-plane", max=1, **tainted)


WEB = {"name": "web", "replicas": 2, "ready_after": "300ms", "stops_after": "300ms", "budget": {"max_unavailable": 1}}
SCENARIO: dict[str, Any] = {
    "name": "kops-pipeline",
    "account": "610987654321",
    "timing": {"boot": "1s", "shutdown": "500ms", "node_removal": "500ms", "heartbeat_grace": "20s"},
    "images": [{"name": "base-1", "created": "2026-01-02T06:00:00.000Z"}],
    "parameters": [{"name": "/images/base/current", "image": "base-1"}],
    "clusters": [
        {
            "name": FIRST,
            "environment": "prod",
            "kind": "kops",
            "groups": [*map(master, MASTERS), group("nodes", "abc")],
            "workloads": [WEB],
        },
        {"name": SECOND, "environment": "prod", "kind": "kops", "groups": [group("nodes", "abc")], "workloads": [WEB]},
    ],
}


def fleet(world: ground.Ground, directory: Path) -> str:
    def call(cluster: str, opened: bool) -> dict[str, Any]:
        return {"path": "/_proving-ground/intake", "body": {"cluster": cluster, "open": opened}}

    def entry(name: str, **policy: Any) -> dict[str, Any]:
        http = {"connection": "installer", "close": call(name, opened=False), "open": call(name, opened=True)}
        return {
            "name": name,
            "aws": {"region": world.scenario.region},
            "kubernetes": {"connection": f"kubernetes_{name}"},
            "kops": {"cluster": name},
            "policy": {"intake": {"http": http}, **policy},
        }

    etcd = {name: {"endpoints": list(a.endpoints)} for name, a in access(world, FIRST).items()}
    path = f"{directory}:/usr/bin:/bin"
    defaults = {
        "image": {"owner": "self", "name": "base-*"},
        "image_step": "command",
        "image_command": {
            "argv": ["./kops-image.sh"],
            "directory": str(directory),
            "environment": {"KOPS_STATE_STORE": str(directory), "PATH": path},
        },
        "promotion": {"clusters": "in_turn"},
        "canary": False,
        "gate": {"settle": "1s"},
        "poll": "1s",
    }
    clusters = [entry(FIRST, control_plane={"etcd": etcd}), entry(SECOND)]
    return yaml.safe_dump({"defaults": defaults, "environments": [{"name": "prod", "clusters": clusters}]})


def install_kops(directory: Path) -> None:
    """The script as docs/image-steps.md has it, and what it calls."""
    page = (ROOT / "docs" / "image-steps.md").read_text()
    script = re.search(r"^### kops\n.*?^```bash\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert script, "docs/image-steps.md has no script below kops"
    for name, text in (("kops-image.sh", script[1]), ("kops", KOPS.format(python=sys.executable))):
        (directory / name).write_text(text)
        (directory / name).chmod(0o700)
    for cluster in SCENARIO["clusters"]:
        (directory / f"{cluster['name']}.json").write_text(
            json.dumps(dict.fromkeys(g["name"] for g in cluster["groups"]))
        )


@pytest.fixture(scope="module")
def land(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Land]:
    directory = tmp_path_factory.mktemp("kops-pipeline")
    install_kops(directory)
    with (
        ground.start(scenario.Scenario.model_validate(SCENARIO), directory / "ground") as world,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in world.env.items():
            patch.setenv(name, value)
        (directory / "fleet.yaml").write_text(fleet(world, directory))
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


def announce(land: Land, cluster: str) -> None:
    """What the pipeline that built the image posts."""
    (asset,) = land.airflow.api("GET", "/assets", params={"name_pattern": "node_rotation_drift"})["assets"]
    key = f"{datetime.now(UTC).date()}~prod.{cluster}"
    land.airflow.api("POST", "/assets/events", json={"asset_id": asset["id"], "partition_key": key})


def test_each_cluster_is_upgraded_only_once_the_one_before_takes_installations_again(land: Land) -> None:
    image = land.publish("base-2")
    groups = {FIRST: (*MASTERS, "nodes"), SECOND: ("nodes",)}
    theirs = marks(land, SECOND)
    watch = Watch(land.ground.etcd[FIRST], ("a0", "b1", "c2"))
    with watch.watching():
        for cluster in (SECOND, FIRST):  # whoever is told first has to wait all the same
            announce(land, cluster)
        eventually("two rotations", lambda: len(land.rotations()) == 2)
        runs = {key.rpartition(".")[2]: run for run, key in land.rotations().items()}
        assert land.ends(runs[FIRST]) == "success"
        assert land.ends(runs[SECOND]) == "success"

    for cluster, names in groups.items():
        for name in names:
            assert set(land.machines(f"{cluster}-{name}").values()) == {image}
        assert set(json.loads((land.reports.parent / f"{cluster}.json").read_text()).values()) == {image}
    assert watch.fewest == 2
    assert all(m.healthy for c in probe(access(land.ground, FIRST)) for m in c.members)
    passed = report(land, runs[FIRST])["passed"]
    assert [name.partition("/")[0] for name in passed] == [*MASTERS, "nodes"]

    intake = requests.get(f"{land.ground.endpoint}/_proving-ground/intake", timeout=30).json()
    assert intake["said"] == [[FIRST, False], [FIRST, True], [SECOND, False], [SECOND, True]]
    closed, opened, next_closed, _ = intake["said_at"]
    first = [at for at in changes(land, FIRST, marks(land, FIRST))]
    second = changes(land, SECOND, theirs)
    assert closed < min(at for at in first if at > closed)
    assert max(first) < min(second)
    assert opened < min(second) <= next_closed
    waited = land.airflow.log(ROTATE, runs[SECOND], "wait")
    assert f"prod.{FIRST} is being rotated by {runs[FIRST]}" in waited
    assert "is closed" in waited


def report(land: Land, run_id: str) -> dict[str, Any]:
    path = f"/dags/{ROTATE}/dagRuns/{run_id}/taskInstances/report/xcomEntries/return_value"
    page = Path(str(land.airflow.api("GET", path)["value"]))
    return dict(json.loads(page.with_suffix(".json").read_text()))


def marks(land: Land, cluster: str) -> set[str]:
    """By what a call to AWS names a cluster: its groups, their templates and machines."""
    scaling = land.ground.aws.client("autoscaling", access_key="tests")
    tagged = [{"Name": "tag:KubernetesCluster", "Values": [cluster]}]
    found = scaling.describe_auto_scaling_groups(Filters=tagged)["AutoScalingGroups"]
    templates = {asg["LaunchTemplate"]["LaunchTemplateId"] for asg in found}
    machines = {member["InstanceId"] for asg in found for member in asg["Instances"]}
    return {asg["AutoScalingGroupName"] for asg in found} | templates | machines


def changes(land: Land, cluster: str, names: set[str]) -> list[float]:
    """When anybody but the ground's own parts changed something of a cluster, in AWS or in Kubernetes."""
    aws = request_log.mutations(land.ground.request_log)
    at = [r.t for r in aws if any(name in json.dumps(r.parameters, default=str) for name in names)]
    for line in land.ground.audit_log(cluster).read_text().splitlines():
        event = json.loads(line)
        if event["user"].get("username") == "admin" and event["verb"] not in ("get", "list", "watch"):
            at.append(datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp())
    return at
