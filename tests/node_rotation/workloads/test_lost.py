"""A machine whose kubelet is gone: nobody ends its pods any more, so they don't keep it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.node_rotation.builders import NOW, Machine, node, pod, world
from tests.node_rotation.crashes import after, run_for
from tests.node_rotation.steps.test_volumes import stateful

from node_rotation import engine
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld
from node_rotation.workloads.lost import lost
from node_rotation.world.kubernetes import Node, Pod

HERE = "node-i-1"
UNHEARD = replace(node(Machine("i-1", ready=False)), ready_reason="NodeStatusUnknown")
ON_A_CLUSTER = replace(UNHEARD, ready_message="Kubelet stopped posting node status.")
WELL = node(Machine("i-1"))
SICK = node(Machine("i-1", ready=False))
OVERDUE = pod("api-1", HERE, terminating_since=NOW - 31.0, grace_s=30.0)
LEAVING = pod("api-1", HERE, terminating_since=NOW - 29.0, grace_s=30.0)
STAYING = pod("api-1", HERE)


@pytest.mark.parametrize(
    ("subject", "where", "is_lost"),
    [
        (OVERDUE, UNHEARD, True),
        (OVERDUE, ON_A_CLUSTER, True),
        (LEAVING, UNHEARD, False),
        (STAYING, UNHEARD, False),
        (OVERDUE, WELL, False),
        (OVERDUE, SICK, False),
    ],
)
def test_only_who_is_past_its_grace_period_where_no_kubelet_is_heard_of_is_lost(
    subject: Pod, where: Node, is_lost: bool
) -> None:
    assert bool(lost(subject, where, world({"dev-workers": [Machine("i-1")]}))) is is_lost


def test_after_an_outage_kubelets_have_their_time_to_be_heard_of_again() -> None:
    seen = world({"dev-workers": [Machine("i-1")]})
    assert not lost(OVERDUE, UNHEARD, replace(seen, watched_since=NOW - 29.0))
    assert lost(OVERDUE, UNHEARD, replace(seen, watched_since=NOW - 31.0))


def dead(world: MemoryWorld, name: str) -> None:
    world.objects.kubelets[name] = False
    world.fail_node(name, "NodeStatusUnknown")


@pytest.mark.parametrize("since_s", [10.0, 1200.0])
def test_a_machine_whose_kubelet_is_dead_is_replaced_and_the_rest_after_it(since_s: float) -> None:
    world = MemoryWorld.simple(4, replicas=8, max_unavailable=2)
    found = world.cluster.nodes()[2]
    dead(world, found.name)
    world.clock.wait(since_s)
    run = run_for(world, drain={"timeout": "15m"}, gate={"settle": "3s", "timeout": "15m"})
    assert run.plan.batches[0].machines[0].instance_id == found.instance_id
    result = engine.rotate(run)
    assert result.ok, result
    world.clock.wait(60.0)
    assert after(world).old == 0
    assert not after(world).residue


def test_its_volumes_stay_attached_to_the_end() -> None:
    world = stateful()
    home = next(pod.node for pod in world.cluster.pods() if pod.claims)
    dead(world, home)
    world.clock.wait(1200.0)
    policy: dict[str, Any] = {"drain": {"timeout": "15m"}, "gate": {"settle": "3s", "timeout": "15m"}}
    result = engine.rotate(run_for(world, strategy="detach", **policy))
    assert result.ok, result


def test_a_pod_that_does_not_end_on_a_machine_that_is_heard_of_keeps_it() -> None:
    world = MemoryWorld.simple(1, replicas=0)
    world.add_workload(seeds.Workload("stuck", stops_after=7200.0))
    world.clock.wait(5.0)
    ((_, why),) = engine.rotate(run_for(world)).failed
    assert "1 pods did not leave" in why.reason
