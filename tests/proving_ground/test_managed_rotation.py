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
from tests.proving_ground.releases import IMAGES, NEW, OLD, PARAMETERS, images

from node_rotation.cli import main
from proving_ground.aws import request_log
from proving_ground.ground import Ground, start
from proving_ground.scenario import Scenario

pytestmark = pytest.mark.proving_ground

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
    "images": IMAGES,
    "parameters": PARAMETERS,
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
                },
                {
                    "name": "frugal",
                    "kind": "eks-managed",
                    "image": OLD,
                    "min": 1,
                    "max": 2,
                    "desired": 2,
                    "zones": ["a"],
                    "update_strategy": "MINIMAL",
                },
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


@pytest.fixture(autouse=True)
def aws(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ground.env.items():
        monkeypatch.setenv(name, value)


def fleet(ground: Ground, directory: Path, nodegroup: str) -> str:
    """A fleet file with one managed group; its path."""
    group = {"name": nodegroup, "kind": "eks-managed", "eks_cluster": "dev", "nodegroup": nodegroup}
    cluster = {
        "name": "dev",
        "aws": {"region": ground.scenario.region},
        "kubernetes": {"kubeconfig": str(ground.kubeconfig("dev"))},
        "groups": [group],
        "policy": POLICY,
    }
    path = directory / "fleet.yaml"
    path.write_text(yaml.safe_dump({"environments": [{"name": "dev", "clusters": [cluster]}]}))
    return str(path)


def most_at_once(ground: Ground, group: str) -> int:
    """How many machines of a group ran at its fullest, by what happened inside AWS."""
    alive: set[str] = set()
    most = 0
    for line in (ground.directory / "aws-events.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["kind"] == "launched" and event["group"] == group:
            alive.add(event["instance_id"])
        elif event["kind"] == "shutting-down":
            alive.discard(event["instance_id"])
        most = max(most, len(alive))
    return most


def test_eks_rolls_the_group_and_nothing_of_it_is_written_but_eks(
    ground: Ground, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = fleet(ground, tmp_path, "workers")
    assert images(ground, "dev-workers") == [OLD] * 3
    assert main(["--fleet", file, "--output", "json", "plan", "dev"]) == 2
    plan = json.loads(capsys.readouterr().out)
    assert plan["groups"][0]["managed"] == {
        "eks_cluster": "dev",
        "nodegroup": "workers",
        "version": "1.36",
        "at_once": 2,
        "extra": 4,
        "force": False,
    }

    code = main(["--fleet", file, "rotate", "dev"])

    said = capsys.readouterr()
    assert code == 0, said.out + said.err
    assert images(ground, "dev-workers") == [NEW] * 3
    assert most_at_once(ground, "dev-workers") == 3 + 4, "the default strategy adds two per zone"
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


def test_minimal_replaces_every_machine_and_never_runs_one_on_top(
    ground: Ground, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = fleet(ground, tmp_path, "frugal")
    assert main(["--fleet", file, "--output", "json", "plan", "dev"]) == 2
    plan = json.loads(capsys.readouterr().out)
    assert (plan["groups"][0]["managed"]["at_once"], plan["groups"][0]["managed"]["extra"]) == (1, 0)
    assert any("adds no machine (MINIMAL)" in note for note in plan["notes"])

    code = main(["--fleet", file, "rotate", "dev"])

    said = capsys.readouterr()
    assert code == 0, said.out + said.err
    assert images(ground, "dev-frugal") == [NEW] * 2
    assert most_at_once(ground, "dev-frugal") == 2
