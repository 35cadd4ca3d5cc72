"""Which nodes count as another home of a pod with a zonal volume."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.node_rotation.builders import Machine, node, pod, world

from node_rotation.workloads.attachments import ZONE, last_in_zone, stranded
from node_rotation.workloads.volume import Volume
from node_rotation.world.kubernetes import Node, Taint, Toleration
from node_rotation.world.snapshot import Snapshot

DEDICATED = ("dedicated", "infra", "NoSchedule")
MASTER = ("node-role.kubernetes.io/control-plane", "", "NoSchedule")


def home(name: str, *taints: Taint, zone: str = "a") -> Node:
    return replace(node(Machine(name, labels=((ZONE, zone),))), taints=taints)


def seen(*nodes: Node, **said: Any) -> Snapshot:
    """A pod on the first node with a volume in zone a."""
    queue = pod("queue-0", nodes[0].name, claims=("data-queue-0",), **said)
    volume = Volume("pv-1", "shop/data-queue-0", ("a",), (nodes[0].name,))
    return replace(world({}, pods=[queue]), nodes=nodes, volumes=(volume,))


def homeless(snapshot: Snapshot) -> bool:
    """Whether the pod's node is known as the last in its zone, beforehand and as it is about to go."""
    name = snapshot.nodes[0].name
    before = [found.pod.name for found in last_in_zone(snapshot, [name])]
    assert before == [found.pod.name for found in stranded(snapshot, snapshot.pods, [name])]
    return bool(before)


def test_another_ready_node_of_the_zone_is_a_home():
    assert not homeless(seen(home("i-1"), home("i-2")))
    assert homeless(seen(home("i-1"), home("i-2", zone="b")))
    assert homeless(seen(home("i-1"), replace(home("i-2"), ready=False)))
    assert homeless(seen(home("i-1"), replace(home("i-2"), unschedulable=True)))


@pytest.mark.parametrize("taint", [DEDICATED, MASTER, ("dedicated", "infra", "NoExecute")])
def test_a_node_whose_taint_keeps_the_pod_away_is_no_home(taint: Taint):
    snapshot = seen(home("i-1"), home("i-2", taint))
    assert homeless(snapshot)
    (found,) = last_in_zone(snapshot, ["node-i-1"])
    assert str(found) == (
        "pod shop/queue-0 on node node-i-1 needs another Ready node in zone a whose taints it tolerates, "
        "for its volume pv-1 (claim shop/data-queue-0)"
    )


def test_a_soft_taint_keeps_nobody_away():
    assert not homeless(seen(home("i-1"), home("i-2", ("node-rotation/old", "", "PreferNoSchedule"))))


def test_a_taint_that_only_the_pods_own_node_has_asks_nothing_of_others():
    assert not homeless(seen(home("i-1", DEDICATED), home("i-2")))


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        (("dedicated", "Equal", "infra", "NoSchedule"), True),
        (("dedicated", "", "infra", ""), True),
        (("dedicated", "Exists", "", "NoSchedule"), True),
        (("", "Exists", "", ""), True),
        (("dedicated", "Equal", "db", "NoSchedule"), False),
        (("dedicated", "Exists", "", "NoExecute"), False),
        (("other", "Exists", "", ""), False),
    ],
)
def test_a_node_whose_taints_the_pod_tolerates_is_a_home(toleration: Toleration, tolerated: bool):
    for first in (home("i-1"), home("i-1", DEDICATED)):
        assert homeless(seen(first, home("i-2", DEDICATED), tolerations=(toleration,))) is not tolerated


def test_one_taint_that_it_does_not_tolerate_is_enough():
    tolerations = (("dedicated", "Exists", "", ""),)
    assert homeless(seen(home("i-1"), home("i-2", DEDICATED, MASTER), tolerations=tolerations))
