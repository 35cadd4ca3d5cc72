"""A kops cluster on the command line: its groups found by tags, and what is wrong said before anything is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.node_rotation.cli.conftest import Ran
from tests.node_rotation.crashes import FAST, run_for
from tests.node_rotation.masters import kops, probed

from node_rotation.cli import main, session
from node_rotation.steps.prepare import prepare
from node_rotation.testing.checkup import MemoryAccess, MemoryAccount
from node_rotation.testing.world import MemoryWorld


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run one command on a world whose fleet file lists no groups."""

    def run(world: MemoryWorld, *arguments: str, policy: Any = None, policies: Any = None) -> Ran:
        source = {"cluster": "prod", "policies": policies or {}}
        cluster = {"name": "prod", "aws": {"region": world.seed.region}, "kops": source}
        defaults = {**FAST, **(probed(world) if policy is None else policy)}
        document = {"defaults": defaults, "environments": [{"name": "prod", "clusters": [cluster]}]}
        path = tmp_path / "fleet.yaml"
        path.write_text(yaml.safe_dump(document))
        monkeypatch.setattr(session, "connect", lambda _settings: (world.cloud, world.cluster))
        monkeypatch.setattr(session, "account", lambda _access: world.cloud)
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


GONE = {"nodes": {"priority": 1}}
"""The policy of an instance group that was deleted."""


@pytest.fixture
def deleted() -> MemoryWorld:
    """A run that had prepared the group ``nodes`` died, and then kops deleted that."""
    world = kops()
    prepare(run_for(world, **probed(world)), "nodes")
    for machine in world.scaling.groups.pop("prod-nodes").members:
        world.ec2.terminate_by_request(machine)
    return world


@pytest.mark.parametrize("command", ["drift", "plan", "rotate"])
def test_a_policy_for_a_group_that_was_deleted_is_corrected_before_a_rotation(
    cli: Any, deleted: MemoryWorld, command: str
) -> None:
    before = len(deleted.mutations)
    ran = cli(deleted, command, "prod", policies=GONE)
    assert ran.code == 1
    assert "prod.prod: kops.policies: there is no instance group 'nodes'. Correct its name or remove" in ran.err
    assert len(deleted.mutations) == before


def test_it_keeps_nobody_from_what_is_needed_at_once(cli: Any, deleted: MemoryWorld) -> None:
    assert "held by run-1" in cli(deleted, "status", policies=GONE).out

    deleted.clock.wait(1000.0)
    swept = cli(deleted, "sweep", policies=GONE)
    assert (swept.code, swept.err) == (0, "")
    assert "asg prod-nodes does not exist any more" in swept.out
    assert deleted.cluster.lease() is None

    (master, *_) = deleted.cluster.nodes()
    assert cli(deleted, "drain", master.name, policies=GONE).code == 0


def test_status_tells_who_is_at_work_whatever_became_of_the_groups(cli: Any, deleted: MemoryWorld) -> None:
    deleted.cloud.tag_group("prod-master-a", {"k8s.io/role/node": "1"})
    ran = cli(deleted, "status")
    assert (ran.code, "held by run-1" in ran.out) == (0, True)
