"""Instances become Nodes, behave as their image does, and their Nodes go away."""

from __future__ import annotations

import pytest

from node_rotation.errors import BlockedError
from node_rotation.testing.seeds import Timing, Workload

GROUP = "dev-workers"
WEB = Workload("web", replicas=6)


def launched(world) -> str:
    """One more machine, on the new image, as soon as EC2 knows it."""
    before = set(world.ec2.alive)
    world.cloud.set_sizes(GROUP, desired=len(before) + 1)
    assert world.clock.run_until(lambda: len(world.ec2.alive) > len(before), 5)
    (new,) = set(world.ec2.alive) - before
    return new


def test_a_machine_joins_after_its_boot_and_is_ready_after_its_join(build, node_of):
    world = build(timing=Timing(boot=30, join=10))
    new = launched(world)

    world.clock.wait(29)
    assert new not in {node.instance_id for node in world.cluster.nodes()}
    world.clock.wait(2)
    assert not node_of(world, new).ready
    assert ("node.kubernetes.io/not-ready", "", "NoSchedule") in node_of(world, new).taints
    world.clock.wait(10)
    assert node_of(world, new).ready
    assert node_of(world, new).taints == ()


def test_boot_times_jitter_by_the_seed(build):
    world = build(timing=Timing(boot=100, boot_jitter=0.2))
    world.cloud.set_sizes(GROUP, desired=6)
    arrivals = []
    for count in (4, 5, 6):
        world.clock.run_until(lambda count=count: len(world.cluster.nodes()) >= count, 200)
        arrivals.append(world.clock.now())

    assert len(set(arrivals)) == 3
    assert arrivals[2] - arrivals[0] <= 40


def test_a_bad_image_never_joins(build):
    world = build(behaviour="never-joins")
    new = launched(world)

    world.clock.wait(3600)

    assert world.cloud.instances([new])[new].state == "running"
    assert len(world.cluster.nodes()) == 3


def test_a_bad_image_joins_not_ready(build, node_of):
    world = build(behaviour="joins-not-ready")
    new = launched(world)

    world.clock.wait(3600)

    assert not node_of(world, new).ready
    assert node_of(world, new).ready_reason == "KubeletNotReady"
    assert node_of(world, new).why_not_ready.startswith("KubeletNotReady: container runtime network not ready: ")


def test_a_bad_image_fails_later(build, node_of):
    world = build(behaviour="fails-later")
    new = launched(world)

    world.clock.wait(4)
    assert node_of(world, new).ready
    world.clock.wait(6)
    assert not node_of(world, new).ready


def test_kubelets_that_fail_at_two_times_say_the_same_in_two_messages(build):
    world = build()
    first, second, third = (node.name for node in world.cluster.nodes())
    world.fail_node(first)
    world.clock.wait(7)
    world.fail_node(second)

    nodes = {node.name: node for node in world.cluster.nodes()}
    assert nodes[first].ready_reason == nodes[second].ready_reason == "KubeletNotReady"
    assert nodes[first].why_not_ready != nodes[second].why_not_ready
    assert nodes[third].why_not_ready == ""

    world.recover_node(first)
    assert next(node for node in world.cluster.nodes() if node.name == first).why_not_ready == ""


def test_a_failing_node_takes_its_pods_readiness_and_gives_it_back(build, pods):
    world = build(WEB)
    node = world.cluster.nodes()[0].name

    world.fail_node(node)
    assert not any(pod.ready for pod in pods(world, "web", node))

    world.recover_node(node)
    world.clock.wait(2)
    assert all(pod.ready for pod in pods(world, "web", node))


def test_pods_leave_a_node_that_stays_not_ready(build, pods):
    world = build(WEB, Workload("agent", kind="DaemonSet"), timing=Timing(not_ready_eviction=300))
    node = world.cluster.nodes()[0].name

    world.fail_node(node)
    world.clock.wait(299)
    assert len(pods(world, "web", node)) == 2
    world.clock.wait(5)

    assert pods(world, "web", node) == []
    assert len(pods(world, "agent", node)) == 1


def test_a_terminated_machine_s_node_turns_unknown_and_is_removed(build, node_of):
    world = build(timing=Timing(shutdown=20, heartbeat_grace=10, node_removal=5))
    old = world.on_image("old")[0]
    name = node_of(world, old).name
    world.cloud.terminate(old)

    assert node_of(world, old).ready  # the API server has not noticed yet
    world.clock.wait(11)
    assert node_of(world, old).ready_reason == "NodeStatusUnknown"
    assert node_of(world, old).why_not_ready == "NodeStatusUnknown: Kubelet stopped posting node status."
    assert node_of(world, old).taints[0][0] == "node.kubernetes.io/unreachable"
    world.clock.wait(15)
    assert name not in {node.name for node in world.cluster.nodes()}


def test_without_a_cloud_controller_the_node_stays(build, node_of):
    world = build(timing=Timing(node_removal=None))
    old = world.on_image("old")[0]
    world.cloud.terminate(old)

    world.clock.wait(3600)

    assert not node_of(world, old).ready


def test_pods_of_a_node_that_is_gone_are_collected_and_made_up_for(build, pods):
    world = build(WEB, timing=Timing(pod_gc=40))
    old = world.on_image("old")[0]
    lost = {pod.uid for pod in pods(world, "web") if pod.node == world.cluster.nodes()[0].name}
    world.cloud.terminate(old)

    world.clock.wait(10)
    assert lost <= {pod.uid for pod in pods(world, "web")}
    world.clock.wait(40)

    assert not lost & {pod.uid for pod in pods(world, "web")}
    assert sum(pod.ready for pod in pods(world, "web")) == 6


def test_az_rebalance_acts_unless_it_is_suspended(build):
    for suspended, expected in ((True, 0), (False, 1)):
        world = build(machines=6)
        if suspended:
            world.cloud.suspend(GROUP, ["AZRebalance"])
        in_c = [m.instance_id for m in world.cloud.groups([GROUP])[GROUP].members if m.zone.endswith("c")]
        for instance_id in in_c:
            world.cloud.terminate_in_group(instance_id, decrement=True)
        world.clock.wait(60)

        zones = [m.zone[-1] for m in world.cloud.groups([GROUP])[GROUP].members]
        assert zones.count("c") == expected, suspended


def test_a_look_at_many_instances_does_not_tell_who_is_protected(build):
    """As of AWS: it takes a call for each."""
    world = build(machines=5)
    old = world.on_image("old")
    world.ec2.change(old[0], termination_protected=True)

    assert world.cloud.instances(old[:4])[old[0]].termination_protected
    assert not world.cloud.instances(old)[old[0]].termination_protected


def test_a_protected_instance_is_not_terminated(build):
    world = build()
    old = world.on_image("old")[0]
    world.ec2.change(old, termination_protected=True)

    with pytest.raises(BlockedError, match="protected"):
        world.cloud.terminate(old)
