"""Nodes, as both worlds show and change them: every write names the node's UID."""

from __future__ import annotations

import pytest

from node_rotation.errors import GoneError

OLD = ("node-rotation/old", "", "PreferNoSchedule")
ANOTHER = "00000000-0000-0000-0000-000000000000"


def test_nodes_and_instances_are_joined_by_provider_id(world):
    nodes = [n for n in world.cluster.nodes() if n.instance_id in world.members()]

    assert len(nodes) == 3
    for node in nodes:
        instance = world.cloud.instances([node.instance_id])[node.instance_id]
        assert node.provider_id == f"aws:///{instance.zone}/{instance.id}"
        assert node.labels["topology.kubernetes.io/zone"] == instance.zone
        assert (node.ready, node.ready_reason, node.why_not_ready, node.unschedulable) == (True, "", "", False)
        assert 0 < node.created_at <= world.clock.now()
        assert instance.private_dns.startswith(f"ip-{node.address.replace('.', '-')}.")


def test_a_node_is_cordoned_and_uncordoned(world):
    node = world.node()

    world.cluster.cordon(node.name, node.uid)
    world.cluster.cordon(node.name, node.uid)
    assert world.again(node).unschedulable

    world.cluster.uncordon(node.name, node.uid)
    world.cluster.uncordon(node.name, node.uid)
    assert not world.again(node).unschedulable


def test_another_node_of_the_same_name_is_not_touched(world):
    node = world.node()

    for write in (
        lambda: world.cluster.cordon(node.name, ANOTHER),
        lambda: world.cluster.uncordon(node.name, ANOTHER),
        lambda: world.cluster.taint(node.name, ANOTHER, OLD),
        lambda: world.cluster.untaint(node.name, ANOTHER, OLD[0]),
        lambda: world.cluster.annotate(node.name, ANOTHER, {"node-rotation/a": "b"}),
        lambda: world.cluster.label(node.name, ANOTHER, {"node-rotation/a": "b"}),
    ):
        with pytest.raises(GoneError, match=node.name):
            write()

    now = world.again(node)
    assert (now.unschedulable, now.taints, now.labels) == (False, (), node.labels)


def test_a_node_that_never_was_is_gone(world):
    with pytest.raises(GoneError, match="nobody"):
        world.cluster.cordon("nobody", ANOTHER)
    with pytest.raises(GoneError, match="nobody"):
        world.cluster.taint("nobody", ANOTHER, OLD)


def test_a_taint_keeps_the_others(world):
    node = world.node()
    theirs = ("theirs", "x", "NoSchedule")
    world.cluster.taint(node.name, node.uid, theirs)

    world.cluster.taint(node.name, node.uid, OLD)
    world.cluster.taint(node.name, node.uid, OLD)
    assert set(world.again(node).taints) == {theirs, OLD}

    world.cluster.untaint(node.name, node.uid, OLD[0])
    world.cluster.untaint(node.name, node.uid, OLD[0])
    assert world.again(node).taints == (theirs,)


def test_a_taint_with_the_same_key_and_effect_gets_the_new_value(world):
    node = world.node()
    world.cluster.taint(node.name, node.uid, ("ours", "1", "NoSchedule"))

    world.cluster.taint(node.name, node.uid, ("ours", "2", "NoSchedule"))

    assert world.again(node).taints == (("ours", "2", "NoSchedule"),)


def test_annotations_and_labels_come_and_go_and_leave_the_others(world):
    node = world.node()
    mark = {"node-rotation/cordoned-by": "r1"}

    world.cluster.annotate(node.name, node.uid, mark)
    world.cluster.label(node.name, node.uid, {"node-rotation/x": "y"})
    now = world.again(node)
    assert mark.items() <= now.annotations.items()
    assert now.labels == {**node.labels, "node-rotation/x": "y"}

    world.cluster.annotate(node.name, node.uid, {"node-rotation/cordoned-by": None, "never/there": None})
    world.cluster.label(node.name, node.uid, {"node-rotation/x": None})
    now = world.again(node)
    assert now.annotations == node.annotations
    assert now.labels == node.labels


def test_a_node_object_is_deleted_only_if_it_is_still_this_one(world):
    node = world.node()

    world.cluster.delete_node(node.name, ANOTHER)
    assert world.again(node).uid == node.uid

    world.cloud.terminate(node.instance_id)
    world.cluster.delete_node(node.name, node.uid)
    world.cluster.delete_node(node.name, node.uid)
    assert node.uid not in {n.uid for n in world.cluster.nodes()}


def test_the_node_of_a_terminated_instance_goes(world):
    node = world.node()

    world.cloud.terminate(node.instance_id)

    world.eventually(lambda: node.uid not in {n.uid for n in world.cluster.nodes()})


def test_the_api_server_says_how_old_it_is(world):
    assert world.cluster.minor_version() >= 30
