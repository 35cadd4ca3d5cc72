"""What a Node says of where its machine was taken out, and on which ports it goes back there."""

from __future__ import annotations

from tests.node_rotation.balancers import served_world, web
from tests.node_rotation.crashes import run_for

from node_rotation import lock, names
from node_rotation.run import Run
from node_rotation.steps import traffic
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.aws import Target
from node_rotation.world.kubernetes import Node

OVERRIDE, DEFAULT = 8080, 30080


def marked(*entries: str) -> tuple[MemoryWorld, Run, Node]:
    """A machine that was taken out of its target group, and what its Node says of that."""
    world = served_world(1)
    run, (node,) = run_for(world), world.cluster.nodes()
    lock.acquire(run)
    world.targets.deregister(web(world), [node.instance_id])
    world.cluster.annotate(node.name, node.uid, {names.LEFT_TARGETS: ",".join(web(world) + e for e in entries)})
    return world, run, world.cluster.nodes()[0]


def put_back(world: MemoryWorld, run: Run, node: Node) -> Target:
    traffic.rejoin(run, node)
    world.clock.wait(60.0)
    assert names.LEFT_TARGETS not in world.cluster.nodes()[0].annotations
    return world.cloud.targets([web(world)])[web(world)][node.instance_id]


def test_a_machine_goes_back_to_the_port_that_its_node_names() -> None:
    assert put_back(*marked(f"@{OVERRIDE}")) == Target("healthy", ports=(OVERRIDE,))


def test_a_mark_of_an_earlier_version_has_no_port_and_means_the_target_group_s_own() -> None:
    assert put_back(*marked("")) == Target("healthy", ports=(DEFAULT,))


def test_it_gives_way_to_the_ports_that_are_seen_later() -> None:
    """A call without a port had taken the machine out nowhere."""
    world, run, node = marked("")
    traffic.mark(run, node, {web(world): (OVERRIDE, OVERRIDE + 1)})
    (node,) = world.cluster.nodes()
    assert node.annotations[names.LEFT_TARGETS] == f"{web(world)}@8080,{web(world)}@8081"
    traffic.mark(run, node, {web(world): (OVERRIDE,)})
    assert world.cluster.nodes()[0].annotations == node.annotations
