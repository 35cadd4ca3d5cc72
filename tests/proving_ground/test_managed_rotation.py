"""A managed node group is rolled by EKS on a real control plane, through the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client
from kubernetes.config import new_client_from_config

from node_rotation.cli import main
from proving_ground.aws import request_log
from proving_ground.ground import Ground, start
from proving_ground.scenario import Scenario

pytestmark = pytest.mark.proving_ground

RECOMMENDED = "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/standard/recommended"
OLD = "amazon-eks-node-al2023-x86_64-standard-1.36-v20261101"
NEW = "amazon-eks-node-al2023-x86_64-standard-1.36-v20261108"
SCENARIO: dict[str, Any] = {
    "name": "managed",
    "account": "410987650004",
    "timing": {
        "boot": "500ms",
        "shutdown": "300ms",
        "node_removal": "300ms",
        "eks_pause": "1s",
        "eks_look": "300ms",
        "eks_eviction": "120s",
        "eks_nodes": "60s",
    },
    "images": [
        {"name": OLD, "created": "2026-11-01T06:00:00.000Z", "owner": "amazon", "release": "1.36.1-20261101"},
        {"name": NEW, "created": "2026-11-08T06:00:00.000Z", "owner": "amazon", "release": "1.36.2-20261108"},
    ],
    "parameters": [
        {"name": f"{RECOMMENDED}/image_id", "image": NEW},
        {"name": f"{RECOMMENDED}/release_version", "image": NEW},
    ],
    "clusters": [
        {
            "name": "dev",
            "environment": "dev",
            "kind": "eks",
            "groups": [
                {
                    "name": "workers",
                    "kind": "eks-managed",
                    "image": OLD,
                    "min": 1,
                    "max": 4,
                    "desired": 3,
                    "zones": ["a", "b"],
                    "max_unavailable": 2,
                }
            ],
            "workloads": [
                {
                    "name": "web",
                    "replicas": 4,
                    "ready_after": "500ms",
                    "stops_after": "1s",
                    "spread": "hostname",
                    "budget": {"max_unavailable": 1},
                },
                {"name": "agent", "kind": "DaemonSet", "namespace": "kube-system"},
            ],
        }
    ],
}
POLICY = {"gate": {"settle": "2s", "timeout": "60s"}, "poll": "1s"}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with start(Scenario.model_validate(SCENARIO), tmp_path_factory.mktemp("managed")) as running:
        yield running


@pytest.fixture
def fleet(ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in ground.env.items():
        monkeypatch.setenv(name, value)
    group = {"name": "workers", "kind": "eks-managed", "eks_cluster": "dev", "nodegroup": "workers"}
    cluster = {
        "name": "dev",
        "aws": {"region": ground.scenario.region},
        "kubernetes": {"kubeconfig": str(ground.kubeconfig("dev"))},
        "groups": [group],
        "policy": POLICY,
    }
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump({"environments": [{"name": "dev", "clusters": [cluster]}]}))
    return path


def images(ground: Ground) -> list[str]:
    """Names of the images that the group's machines run."""
    world = ground.aws.world
    with world.lock:
        members = world.autoscaling.group("dev-workers").live()
        return [str(world.images.record(m.blueprint.image_id).name) for m in members]


def test_eks_rolls_the_group_and_nothing_of_it_is_written_but_eks(
    ground: Ground, fleet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert images(ground) == [OLD] * 3
    assert main(["--fleet", str(fleet), "--output", "json", "plan", "dev"]) == 2
    plan = json.loads(capsys.readouterr().out)
    assert plan["groups"][0]["managed"] == {
        "eks_cluster": "dev",
        "nodegroup": "workers",
        "version": "1.36",
        "at_once": 2,
        "extra": 4,
        "force": False,
    }

    code = main(["--fleet", str(fleet), "rotate", "dev"])

    said = capsys.readouterr()
    assert code == 0, said.out + said.err
    assert images(ground) == [NEW] * 3
    ours = [r for r in request_log.mutations(ground.request_log) if r.ok]
    assert [(r.service, r.action) for r in ours] == [("eks", "UpdateNodegroupVersion")]
    assert ours[0].parameters["releaseVersion"] == "1.36.2-20261108"
    assert ours[0].parameters["version"] == "1.36"
    group = ground.aws.world.autoscaling.group("dev-workers")
    assert (group.min_size, group.max_size, group.desired) == (1, 4, 3)
    assert not group.suspended

    core = client.CoreV1Api(new_client_from_config(str(ground.kubeconfig("dev")), persist_config=False))
    nodes = [n for n in core.list_node().items if n.metadata.labels["eks.amazonaws.com/nodegroup"] == "workers"]
    marks = [key for n in nodes for key in (*n.metadata.labels, *(n.metadata.annotations or {}))]
    assert not [key for key in marks if key.startswith("node-rotation/")]
