"""Two kops clusters, the first with three masters and a real etcd, and a program that stands for kops."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from tests.e2e.kops.etcd import access
from tests.e2e.landing import ROOT

from proving_ground.ground import Ground

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
CLUSTERS: list[dict[str, Any]] = [
    {
        "name": FIRST,
        "environment": "prod",
        "kind": "kops",
        "groups": [*map(master, MASTERS), group("nodes", "abc", max=4, desired=2)],
        "workloads": [WEB],
    },
    {"name": SECOND, "environment": "prod", "kind": "kops", "groups": [group("nodes", "abc")], "workloads": [WEB]},
]


def environment(world: Ground, directory: Path) -> dict[str, Any]:
    """Their part of the fleet file."""

    def call(cluster: str, opened: bool) -> dict[str, Any]:
        return {"path": "/_proving-ground/intake", "body": {"cluster": cluster, "open": opened}}

    def entry(name: str, **policy: Any) -> dict[str, Any]:
        http = {
            "connection": "installer",
            "url": world.endpoint,
            "close": call(name, opened=False),
            "open": call(name, opened=True),
        }
        return {
            "name": name,
            "aws": {"region": world.scenario.region},
            "kubernetes": {"connection": f"kubernetes_{name}", "kubeconfig": str(world.kubeconfig(name))},
            "kops": {"cluster": name},
            "policy": {"intake": {"http": http}, **policy},
        }

    etcd = {name: {"endpoints": list(a.endpoints)} for name, a in access(world, FIRST).items()}
    path = f"{directory}:/usr/bin:/bin"
    policy = {
        "image_step": "command",
        "image_command": {
            "argv": ["./kops-image.sh"],
            "directory": str(directory),
            "environment": {"KOPS_STATE_STORE": str(directory), "PATH": path},
        },
        "promotion": {"clusters": "in_turn"},
        "lock_duration": "8s",
    }
    clusters = [entry(FIRST, control_plane={"etcd": etcd}), entry(SECOND)]
    return {"name": "prod", "policy": policy, "clusters": clusters}


def install(directory: Path) -> None:
    """The script as docs/image-steps.md has it, and what it calls."""
    page = (ROOT / "docs" / "image-steps.md").read_text()
    script = re.search(r"^### kops\n.*?^```bash\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert script, "docs/image-steps.md has no script below kops"
    for name, text in (("kops-image.sh", script[1]), ("kops", KOPS.format(python=sys.executable))):
        (directory / name).write_text(text)
        (directory / name).chmod(0o700)
    for cluster in CLUSTERS:
        (directory / f"{cluster['name']}.json").write_text(
            json.dumps(dict.fromkeys(g["name"] for g in cluster["groups"]))
        )
