"""The command line rotates a kops cluster whose etcd is real: control plane first, quorum never lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.e2e.kops.etcd import Watch, access

from node_rotation.cli import main
from node_rotation.clients.etcd import probe
from proving_ground.ground import Ground

pytestmark = [pytest.mark.proving_ground, pytest.mark.timeout(1500)]


@pytest.fixture
def fleet(kops: Ground, tmp_path: Path) -> Path:
    cluster = {
        "name": "prod",
        "aws": {"region": kops.scenario.region},
        "kubernetes": {"kubeconfig": str(kops.kubeconfig("prod"))},
        "kops": {"cluster": "prod"},
    }
    policy = {
        "gate": {"settle": "2s"},
        "poll": "1s",
        "budget": {"max_surge": 2},
        "control_plane": {"etcd": {name: {"endpoints": list(a.endpoints)} for name, a in access(kops).items()}},
    }
    path = tmp_path / "fleet.yaml"
    document = {"defaults": policy, "environments": [{"name": "prod", "clusters": [cluster]}]}
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_kops_cluster_is_rotated_control_plane_first_and_etcd_keeps_two_of_three(
    kops: Ground, fleet: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in kops.env.items():
        monkeypatch.setenv(name, value)
    watch = Watch(kops.etcd["prod"], ("a0", "b1", "c2"))

    with watch.watching():
        code = main(["--fleet", str(fleet), "rotate", "prod"])

    said = capsys.readouterr()
    assert code == 0, said.out + said.err
    passed = [line.split()[1] for line in said.out.splitlines() if line.endswith("passed") and "/" in line]
    assert [name.partition("/")[0] for name in passed] == [
        "control-plane-a",
        "control-plane-b",
        "control-plane-c",
        "nodes",
        "nodes",
    ], said.out
    assert watch.fewest >= 2
    assert watch.restarted == {"a0", "b1", "c2"}
    assert all(m.healthy for c in probe(access(kops)) for m in c.members)
    assert running_images(kops) == {"base-2026-11-08": 5}


def running_images(kops: Ground) -> dict[str, int]:
    """How many machines run each image, by its name."""
    ec2 = kops.aws.client("ec2", access_key="tests")
    names = {i["ImageId"]: i["Name"] for i in ec2.describe_images(Owners=["self"])["Images"]}
    found: dict[str, int] = {}
    for reservation in ec2.describe_instances()["Reservations"]:
        for instance in reservation["Instances"]:
            if instance["State"]["Name"] == "running":
                name = names[instance["ImageId"]]
                found[name] = found.get(name, 0) + 1
    return found
