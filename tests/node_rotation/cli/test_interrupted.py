"""Ctrl-C while something is under way: what was done, to what, and how to go on."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.node_rotation.balancers import served_world, web
from tests.node_rotation.cli.conftest import Cli
from tests.node_rotation.crashes import dies, run_for

from node_rotation.cli import session
from node_rotation.fleet import Settings
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.clients import Cloud, Cluster


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_drain_names_node_and_machine_and_how_to_go_on(cli: Cli, world: MemoryWorld) -> None:
    node = world.cluster.nodes()[0]
    world.clock.after(1.0, interrupt)
    ran = cli("-o", "json", "drain", node.name)
    assert ran.code == 130
    error = ran.document["error"]
    assert error["exit_code"] == 130
    assert error["objects"] == [f"node {node.name}", f"instance {node.instance_id}"]
    assert f"node {node.name} is cordoned, 2 pods are on it" in error["message"]
    assert "Run the same command again" in error["remedy"]
    assert f"kubectl uncordon {node.name}" in error["remedy"]
    assert error["message"] in ran.err
    assert cli("drain", node.name).code == 0


def test_a_machine_that_is_out_of_its_group_is_said_to_be(cli: Cli, world: MemoryWorld) -> None:
    node = world.cluster.nodes()[0]
    world.clock.after(1.0, interrupt)
    ran = cli("drain", node.name, "--detach")
    assert ran.code == 130
    assert f"instance {node.instance_id} is out of group dev-workers" in ran.err
    attach = "aws autoscaling attach-instances --auto-scaling-group-name dev-workers --instance-ids"
    assert f"{attach} {node.instance_id}" in ran.err


def test_one_that_was_to_be_terminated_is_swept(cli: Cli, world: MemoryWorld) -> None:
    node = world.cluster.nodes()[0]
    world.clock.after(1.0, interrupt)
    ran = cli("drain", node.name, "--detach", "--terminate")
    assert ran.code == 130
    assert f"instance {node.instance_id} is out of group dev-workers" in ran.err
    assert "node-rotation sweep dev.dev" in ran.err
    assert world.cluster.lease() is None
    assert cli("sweep", "dev.dev").code == 0
    assert world.orphans() == ()


@pytest.fixture
def served(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> MemoryWorld:
    """Another world behind that fleet file: its machines are registered in a target group."""
    world = served_world(3)
    monkeypatch.setattr(session, "connect", lambda _settings: (world.cloud, world.cluster))
    monkeypatch.setattr(session, "wall_clock", lambda: world.clock)
    return world


def test_one_that_gets_no_requests_is_said_not_to_and_comes_back(cli: Cli, served: MemoryWorld) -> None:
    node = served.cluster.nodes()[0]
    served.clock.after(1.0, interrupt)
    ran = cli("drain", node.name, "--terminate")
    assert ran.code == 130
    assert f"node {node.name} is cordoned" in ran.err
    assert f"instance {node.instance_id} is out of its target groups" in ran.err
    assert f"node-rotation sweep dev.dev, then kubectl uncordon {node.name}" in ran.err
    assert cli("sweep", "dev.dev").code == 0
    served.clock.wait(60.0)
    assert node.instance_id in served.targets.healthy(web(served))


def test_so_it_is_where_somebody_has_it_take_pods_already(cli: Cli, served: MemoryWorld) -> None:
    node = served.cluster.nodes()[0]

    def uncordoned() -> None:
        served.cluster.uncordon(node.name, node.uid)
        interrupt()

    served.clock.after(1.0, uncordoned)
    ran = cli("drain", node.name, "--terminate")
    assert f"interrupted: instance {node.instance_id} is out of its target groups (" in ran.err
    assert "Or have it get requests again: node-rotation sweep dev.dev." in ran.err


def test_nothing_is_said_to_be_done_where_nothing_was(
    cli: Cli, world: MemoryWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = world.cluster.nodes()[0]
    monkeypatch.setattr(world.cluster, "cordon", lambda *_: interrupt())
    ran = cli("drain", node.name)
    assert ran.code == 130
    assert f"node {node.name} and its machine are as before" in ran.err


def test_a_sweep_says_what_it_did_and_when_another_may_go_on(cli: Cli, world: MemoryWorld) -> None:
    assert dies(run_for(world, strategy="surge"), world, 16, before=False)
    world.clock.wait(3600.0)
    world.clock.after(1.0, interrupt)
    ran = cli("-o", "json", "sweep")
    assert ran.code == 130
    error = ran.document["error"]
    assert error["objects"] == ["cluster dev.dev"]
    assert "dev.dev: took over the lock from run-1" in error["message"]
    assert "node-rotation sweep dev.dev" in error["remedy"]
    assert "10m" in error["remedy"]
    world.clock.wait(1000.0)
    assert cli("sweep", "dev.dev").code == 0
    assert (world.cluster.lease(), world.orphans(), world.residue()) == (None, (), ())


def test_a_sweep_of_several_clusters_goes_on_to_no_other(
    cli: Cli, world: MemoryWorld, fleet_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = yaml.safe_load(fleet_file.read_text())
    clusters = fleet["environments"][0]["clusters"]
    clusters.append({**clusters[0], "name": "later", "groups": [{"name": "workers", "asg": "later-workers"}]})
    fleet_file.write_text(yaml.safe_dump(fleet))
    reached: list[str] = []

    def connect(settings: Settings) -> tuple[Cloud, Cluster]:
        reached.append(settings.name)
        return world.cloud, world.cluster

    monkeypatch.setattr(session, "connect", connect)
    assert dies(run_for(world, strategy="surge"), world, 16, before=False)
    world.clock.wait(3600.0)
    world.clock.after(1.0, interrupt)
    ran = cli("sweep")
    assert ran.code == 130
    assert "the sweep was interrupted at dev.dev" in ran.err
    assert reached == ["dev.dev"]
