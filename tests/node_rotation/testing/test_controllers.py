"""Pods are placed, become Ready, go, and are made up for, as each kind of controller does it."""

from __future__ import annotations

from node_rotation.testing.seeds import Timing, Workload

OLD = ("node-rotation/old", "", "PreferNoSchedule")


def test_pods_spread_over_hosts(build, pods):
    world = build(Workload("web", replicas=6, spread="hostname"))

    assert sorted(len(pods(world, "web", node.name)) for node in world.cluster.nodes()) == [2, 2, 2]


def test_pods_spread_over_zones(build, pods):
    world = build(Workload("queue", kind="StatefulSet", replicas=3, spread="zone"), machines=6)

    zones = {node.name: node.labels["topology.kubernetes.io/zone"] for node in world.cluster.nodes()}
    assert len({zones[pod.node] for pod in pods(world, "queue")}) == 3


def test_nothing_is_placed_on_a_cordoned_or_hard_tainted_node(build, pods):
    world = build(Workload("web", replicas=1, spread="hostname"))
    first, second, third = world.cluster.nodes()
    world.cluster.cordon(first.name, first.uid)
    world.cluster.taint(second.name, second.uid, ("theirs", "", "NoSchedule"))
    for _ in range(3):
        world.cluster.delete_pod(pods(world, "web")[0])
        world.clock.wait(5)

    assert {pod.node for pod in pods(world, "web")} == {third.name}


def test_a_soft_taint_is_avoided_as_long_as_there_is_another_node(build, pods):
    world = build(Workload("web", replicas=2))
    tainted = world.cluster.nodes()[:2]
    for node in tainted:
        world.cluster.taint(node.name, node.uid, OLD)
    for pod in pods(world, "web"):
        world.cluster.delete_pod(pod)
    world.clock.wait(5)

    assert {pod.node for pod in pods(world, "web")} == {world.cluster.nodes()[2].name}


def test_a_pod_waits_until_a_node_will_have_it(build, pods):
    world = build(Workload("web", replicas=1), machines=1)
    node = world.cluster.nodes()[0]
    world.cluster.cordon(node.name, node.uid)
    world.cluster.delete_pod(pods(world, "web")[0])
    world.clock.wait(10)
    (waiting,) = pods(world, "web")
    assert (waiting.phase, waiting.node) == ("Pending", "")

    world.cluster.uncordon(node.name, node.uid)
    world.clock.wait(2)

    assert pods(world, "web")[0].ready


def test_a_deployment_replaces_a_pod_at_once(build, pods):
    world = build(Workload("web", replicas=2, ready_after=3, stops_after=20))
    old = pods(world, "web")[0]

    world.cluster.delete_pod(old)

    assert len(pods(world, "web")) == 3  # the old one is still terminating
    world.clock.wait(4)
    assert [w.ready for w in world.cluster.workloads()] == [2]
    world.clock.wait(17)
    assert old.uid not in {pod.uid for pod in pods(world, "web")}


def test_a_stateful_pod_comes_back_only_after_the_old_one_is_gone(build, pods):
    world = build(Workload("queue", kind="StatefulSet", replicas=2, stops_after=20))
    world.cluster.delete_pod(pods(world, "queue")[1])

    world.clock.wait(19)
    assert len(pods(world, "queue")) == 2
    world.clock.wait(3)

    assert [(pod.name, pod.ready) for pod in pods(world, "queue")] == [("queue-0", True), ("queue-1", True)]


def test_a_daemon_comes_with_every_node_cordoned_ones_too(build, pods):
    world = build(Workload("agent", kind="DaemonSet"))
    node = world.cluster.nodes()[0]
    world.cluster.cordon(node.name, node.uid)

    world.cluster.delete_pod(pods(world, "agent", node.name)[0])
    world.clock.wait(5)
    world.cloud.set_sizes("dev-workers", desired=4)
    world.clock.wait(10)

    assert [len(pods(world, "agent", n.name)) for n in world.cluster.nodes()] == [1, 1, 1, 1]
    assert [(w.desired, w.ready) for w in world.cluster.workloads()] == [(4, 4)]


def test_a_bare_pod_does_not_come_back(build, pods):
    world = build(Workload("alone", kind="Pod"))
    (pod,) = pods(world, "alone")
    assert pod.owner is None

    world.cluster.delete_pod(pod)
    world.clock.wait(60)

    assert pods(world, "alone") == []


def test_a_finalizer_holds_a_pod(build, pods):
    world = build(Workload("held", replicas=1, finalizers=("example.com/hold",)))
    (pod,) = pods(world, "held")

    world.cluster.delete_pod(pod)
    world.clock.wait(3600)

    assert pod.uid in {p.uid for p in pods(world, "held")}


def test_a_shorter_grace_ends_a_pod_sooner(build, pods):
    world = build(Workload("slow", replicas=1, stops_after=300))
    (pod,) = pods(world, "slow")
    world.cluster.delete_pod(pod)
    world.clock.wait(10)

    world.cluster.delete_pod(pod, grace_s=5)
    world.clock.wait(6)

    assert pod.uid not in {p.uid for p in pods(world, "slow")}


def test_pods_stop_with_jitter(build, pods):
    world = build(Workload("web", replicas=20, stops_after=90), timing=Timing(stop_jitter=0.2))
    for pod in pods(world, "web"):
        world.cluster.delete_pod(pod)

    world.clock.wait(71)
    assert len(pods(world, "web")) == 40
    world.clock.wait(19)
    assert 20 < len(pods(world, "web")) < 40
    world.clock.wait(19)
    assert len(pods(world, "web")) == 20
