"""Budgets say what Kubernetes' disruption controller says, and evictions are answered from that."""

from __future__ import annotations

import pytest

from node_rotation.testing.seeds import DisruptionBudget, Workload
from node_rotation.world.answers import Evicted, Misconfigured, PodGone, RefusedByBudget


def web(replicas=4, **budget):
    return Workload("web", replicas=replicas, ready_after=5, stops_after=20, budget=DisruptionBudget(**budget))


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ({"max_unavailable": 1}, (4, 3, 1)),
        ({"max_unavailable": "30%"}, (4, 2, 2)),  # rounded up: 1.2 are 2
        ({"max_unavailable": 0}, (4, 4, 0)),
        ({"min_available": 3}, (4, 3, 1)),
        ({"min_available": "51%"}, (4, 3, 1)),  # rounded up: 2.04 are 3
        ({"min_available": 5}, (4, 5, 0)),
    ],
)
def test_a_budget_allows_what_its_numbers_say(build, budget, expected):
    (found,) = build(web(**budget)).cluster.budgets()

    assert (found.expected, found.desired_healthy, found.disruptions_allowed) == expected
    assert found.healthy == 4


def test_two_evictions_of_one_instant_can_not_overspend(build, pods):
    world = build(web(max_unavailable=1))
    first, second, *_ = pods(world, "web")

    assert world.cluster.evict(first) == Evicted()
    refused = world.cluster.evict(second)

    assert isinstance(refused, RefusedByBudget)
    assert "Cannot evict pod as it would violate the pod's disruption budget." in refused.message


def test_a_budget_allows_again_once_the_replacement_is_ready(build, pods):
    world = build(web(max_unavailable=1))
    first, second, *_ = pods(world, "web")
    world.cluster.evict(first)

    world.clock.wait(4)
    assert isinstance(world.cluster.evict(second), RefusedByBudget)
    world.clock.wait(2)
    assert world.cluster.evict(second) == Evicted()


def test_a_terminating_pod_may_be_evicted_again(build, pods):
    world = build(web(max_unavailable=1))
    pod = pods(world, "web")[0]

    assert world.cluster.evict(pod) == Evicted()
    assert world.cluster.evict(pod) == Evicted()
    assert world.cluster.budgets()[0].disruptions_allowed == 0


def test_a_pod_that_is_gone_or_another_one_is_not_evicted(build, pods):
    world = build(web(max_unavailable=1))
    pod = pods(world, "web")[0]
    world.cluster.evict(pod)
    world.clock.wait(30)

    assert world.cluster.evict(pod) == PodGone()


def test_several_budgets_over_one_pod_are_a_mistake(build, pods):
    second = DisruptionBudget(max_unavailable=1, name="web-too", selector={"app": "web"})
    world = build(web(max_unavailable=1), budgets=(second,))

    answer = world.cluster.evict(pods(world, "web")[0])

    assert isinstance(answer, Misconfigured)


def test_an_unready_pod_may_go_while_the_budget_is_healthy(build, pods):
    world = build(web(max_unavailable=1), machines=4)
    sick = pods(world, "web")[0]
    world.fail_node(sick.node)
    world.clock.wait(1)
    assert world.cluster.budgets()[0].disruptions_allowed == 0

    assert world.cluster.evict(sick) == Evicted()


def test_an_unready_pod_may_not_go_once_the_budget_is_short(build, pods):
    world = build(web(max_unavailable=1), machines=4)
    first, second, *_ = pods(world, "web")
    world.fail_node(first.node)
    world.fail_node(second.node)
    world.clock.wait(1)

    assert isinstance(world.cluster.evict(first), RefusedByBudget)


def test_unless_its_policy_always_allows_that(build, pods):
    world = build(web(max_unavailable=1, always_allow_unhealthy=True), machines=4)
    first, second, *_ = pods(world, "web")
    world.fail_node(first.node)
    world.fail_node(second.node)
    world.clock.wait(1)

    assert world.cluster.evict(first) == Evicted()


def test_a_pending_pod_is_not_protected(build, pods):
    world = build(web(replicas=1, max_unavailable=0), machines=1)
    node = world.cluster.nodes()[0]
    world.cluster.cordon(node.name, node.uid)
    world.cluster.delete_pod(pods(world, "web")[0])
    waiting = pods(world, "web")[-1]

    assert world.cluster.evict(waiting) == Evicted()
