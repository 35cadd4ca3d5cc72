"""Ctrl-C while something is under way: what was done, to what, and how to go on."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.node_rotation.balancers import served_world, web
from tests.node_rotation.cli.conftest import Cli
from tests.node_rotation.crashes import dies, dies_at_the_last, run_for

from node_rotation.cli import session
from node_rotation.fleet import Settings
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.clients import Cloud, Cluster


def interrupt() -> None:
    raise KeyboardInterrupt


def interrupt_after(world: MemoryWorld, *delays_s: float) -> None:
    for delay_s in delays_s:
        world.clock.after(delay_s, interrupt)


def test_a_rotation_gives_everything_back_in_spite_of_a_second_ctrl_c(cli: Cli, name: str, world: MemoryWorld) -> None:
    interrupt_after(world, 20.0, 30.0)
    ran = cli("-o", "json", "rotate", name)
    assert ran.code == 3
    assert ran.document["blocked"]["reason"] == "the rotation was interrupted"
    assert "press Ctrl-C again to leave it as it is" in ran.err
    assert (world.cluster.lease(), world.orphans(), world.residue()) == (None, (), ())


def test_with_the_third_it_says_what_may_be_left_and_what_puts_it_back(cli: Cli, name: str, world: MemoryWorld) -> None:
    interrupt_after(world, 20.0, 30.0, 31.0)
    ran = cli("-o", "json", "rotate", name)
    assert ran.code == 130
    error, lease = ran.document["error"], world.cluster.lease()
    assert lease is not None
    assert error["exit_code"] == 130
    assert error["objects"] == ["cluster dev.dev", f"run {lease.holder}"]
    assert "its lock, sizes, suspended processes, cordons, taints and a closed intake may be left" in error["message"]
    for command in ("node-rotation sweep dev.dev", "node-rotation rotate dev.dev", "silent for 12m30s"):
        assert command in error["remedy"]
    assert error["remedy"] in ran.err

    assert cli("rotate", name).code == 3
    world.clock.wait(750.0)
    assert cli("rotate", name).code == 0
    assert (world.cluster.lease(), world.orphans(), world.residue()) == (None, (), ())


def test_one_that_only_cleans_up_after_a_dead_run_says_so(cli: Cli, name: str, world: MemoryWorld) -> None:
    dies_at_the_last(run_for(world, strategy="surge"), world)
    world.clock.wait(3600.0)
    world.journal.on_mutation = lambda _: interrupt()
    ran = cli("-o", "json", "rotate", name)
    assert ran.code == 130
    assert "the sweep was interrupted at dev.dev" in ran.document["error"]["message"]
    assert "node-rotation sweep dev.dev" in ran.document["error"]["remedy"]


def test_while_somebody_is_asked_nothing_was_touched(
    cli: Cli, name: str, world: MemoryWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    ran = cli("rotate", name, "--set", "approval.required=true")
    assert ran.code == 130
    assert "interrupted before the plan was approved: nothing was touched." in ran.err
    assert world.mutations == []


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


def test_one_that_just_took_the_lock_gives_it_back(
    cli: Cli, world: MemoryWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = world.cluster.create_lease

    def taken(*arguments: Any) -> None:
        create(*arguments)
        interrupt()

    monkeypatch.setattr(world.cluster, "create_lease", taken)
    assert cli("drain", world.cluster.nodes()[0].name).code == 130
    assert world.cluster.lease() is None


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
    assert "12m30s" in error["remedy"]
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
