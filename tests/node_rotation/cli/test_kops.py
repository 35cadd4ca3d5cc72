"""A kops cluster on the command line: its groups found by tags, and what is wrong said before anything is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.node_rotation.cli.conftest import Ran
from tests.node_rotation.crashes import FAST
from tests.node_rotation.masters import kops, probed

from node_rotation.cli import main, session
from node_rotation.testing.checkup import MemoryAccess, MemoryAccount
from node_rotation.testing.world import MemoryWorld


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run one command on a world whose fleet file lists no groups."""

    def run(world: MemoryWorld, *arguments: str, policy: Any = None) -> Ran:
        cluster = {"name": "prod", "aws": {"region": world.seed.region}, "kops": {"cluster": "prod"}}
        defaults = {**FAST, **(probed(world) if policy is None else policy)}
        document = {"defaults": defaults, "environments": [{"name": "prod", "clusters": [cluster]}]}
        path = tmp_path / "fleet.yaml"
        path.write_text(yaml.safe_dump(document))
        monkeypatch.setattr(session, "connect", lambda _settings: (world.cloud, world.cluster))
        monkeypatch.setattr(session, "wall_clock", lambda: world.clock)
        capsys.readouterr()
        code = main(["--fleet", str(path), *arguments])
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run


def test_the_control_plane_goes_first(cli: Any) -> None:
    world = kops(workers=1)

    ran = cli(world, "rotate", "prod")

    assert ran.code == 0, ran.err
    passed = [line.split()[1] for line in ran.out.splitlines() if line.endswith("passed") and "/" in line]
    assert passed == ["master-a/1", "master-b/1", "master-c/1", "nodes/1"]
    assert world.etcd.lost_at == []


def test_only_the_workers_need_no_probe(cli: Any) -> None:
    world = kops(workers=1)

    assert cli(world, "rotate", "prod", "--role", "worker", policy={}).code == 0
    assert len(world.on_image("base-old")) == 3


def test_masters_without_a_probe_are_refused_and_nothing_is_touched(cli: Any) -> None:
    world = kops(workers=1)

    ran = cli(world, "rotate", "prod", policy={})

    assert ran.code == 3
    assert "no probe is configured" in ran.err
    assert "control_plane.without_probe" in ran.err
    assert world.mutations == []


def test_the_doctor_examines_the_groups_that_were_found(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = kops(workers=1)
    monkeypatch.setattr(session, "askers", lambda _settings: (MemoryAccount(), MemoryAccess()))

    found = cli(world, "doctor", "prod")
    assert found.code == 0, found.out + found.err

    world.cloud.tag_group("prod-nodes", {"k8s.io/role/master": "1"})
    mixed = cli(world, "doctor", "prod")
    assert mixed.code == 3
    assert "has the roles master, node" in mixed.out


def test_a_group_that_kops_does_not_have_is_named_with_those_it_has(cli: Any) -> None:
    world = kops(workers=1)

    ran = cli(world, "plan", "prod", "--group", "nodez")

    assert ran.code == 1
    assert "'nodez'" in ran.err
    assert "master-a, master-b, master-c, nodes" in ran.err
