"""Pods, budgets and evictions, as both worlds answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node_rotation.errors import GoneError
from node_rotation.eviction import covering
from node_rotation.world.answers import Evicted, Misconfigured, PodGone, RefusedByBudget

ANOTHER = "00000000-0000-0000-0000-000000000000"


def budget(world, name: str = "web"):
    (found,) = (b for b in world.cluster.budgets() if b.name == name)
    return found


def test_a_pod_says_where_it_runs_and_who_owns_it(world):
    pods = world.pods("web")
    nodes = {n.name for n in world.cluster.nodes()}

    assert len(pods) == 3
    for pod in pods:
        assert (pod.namespace, pod.phase, pod.ready) == ("default", "Running", True)
        assert pod.node in nodes
        assert pod.owner is not None
        assert pod.owner.kind == "ReplicaSet"
        assert pod.started_at is not None
        assert pod.started_at <= world.clock.now() + 1
        assert (pod.mirror, pod.finalizers, pod.terminating_since) == (False, (), None)


def test_a_daemon_runs_on_every_node(world):
    pods = world.pods("agent")

    assert {p.owner.kind for p in pods} == {"DaemonSet"}
    assert {p.node for p in pods} == {n.name for n in world.cluster.nodes()}


def test_workloads_say_what_they_want_and_have(world):
    found = {w.key: (w.desired, w.ready) for w in world.cluster.workloads()}

    assert found["Deployment default/web"] == (3, 3)
    assert found["StatefulSet default/queue"] == (1, 1)
    assert found["DaemonSet kube-system/agent"] == (len(world.cluster.nodes()),) * 2


def test_a_deployment_that_is_rolled_starts_the_new_pod_first_and_the_same_reason_rolls_it_once(world):
    def solo():
        return next(w for w in world.cluster.workloads() if w.name == "twice")

    (old,) = world.pods("twice")
    assert (solo().surges, solo().rolled_for) == (True, "")
    world.cluster.roll(solo(), old.uid)
    world.cluster.roll(solo(), old.uid)

    (new,) = world.eventually(lambda: [p for p in world.pods("twice") if p.uid != old.uid and p.ready])
    world.eventually(lambda: [p.uid for p in world.pods("twice")] == [new.uid])
    assert (solo().rolled_for, solo().ready) == (old.uid, 1)
    with pytest.raises(GoneError):
        world.cluster.roll(replace(solo(), uid=ANOTHER), "again")


def test_a_budget_says_what_it_allows(world):
    found = budget(world)

    assert found.key == "default/web"
    assert (found.disruptions_allowed, found.expected, found.healthy, found.desired_healthy) == (1, 3, 3, 2)
    assert found.selector.items() <= world.pods("web")[0].labels.items()
    assert found.observed
    assert not found.always_allow_unhealthy


def test_an_evicted_pod_terminates_and_is_replaced(world):
    (pod, *_) = world.pods("web")

    assert world.cluster.evict(pod) == Evicted()

    now = next((p for p in world.cluster.pods() if p.uid == pod.uid), None)
    assert now is None or abs(now.terminating_since - world.clock.now()) < 5
    world.eventually(lambda: pod.uid not in {p.uid for p in world.cluster.pods()})
    world.eventually(lambda: len([p for p in world.pods("web") if p.ready]) == 3)


def test_a_budget_refuses_the_second_eviction(world):
    first, second, _ = world.pods("web")
    assert world.cluster.evict(first) == Evicted()

    refused = world.cluster.evict(second)

    assert isinstance(refused, RefusedByBudget)
    assert "disruption budget" in refused.message
    assert refused.retry_after_s > 0
    assert second.uid in {p.uid for p in world.pods("web")}


def test_a_pod_that_is_gone_can_t_be_evicted(world):
    (pod, *_) = world.pods("web")
    world.cluster.delete_pod(pod, grace_s=0)
    world.eventually(lambda: pod.uid not in {p.uid for p in world.cluster.pods()})

    assert world.cluster.evict(pod) == PodGone()


def test_another_pod_of_the_same_name_is_not_evicted(world):
    (pod,) = world.pods("queue")

    assert world.cluster.evict(replace(pod, uid=ANOTHER)) == PodGone()
    assert world.pods("queue")[0].uid == pod.uid


def test_a_stateful_pod_comes_back_under_its_name_and_the_old_one_is_gone(world):
    (pod,) = world.pods("queue")
    assert world.cluster.evict(pod) == Evicted()

    (new,) = world.eventually(lambda: [p for p in world.pods("queue") if p.uid != pod.uid])

    assert new.name == pod.name
    assert world.cluster.evict(pod) == PodGone()


@pytest.fixture
def twice(world):
    """Two budgets over one pod; gone at the end, for they would block every other story's rotation."""
    names = ("twice-a", "twice-b")
    for name in names:
        world.add_budget(name, {"app": "twice"})
    yield
    for name in names:
        world.drop_budget(name)


@pytest.mark.usefixtures("twice")
def test_a_pod_under_two_budgets_can_never_be_evicted(world):
    (pod,) = world.pods("twice")
    world.eventually(
        lambda: len([b for b in world.cluster.budgets() if b.name[:6] == "twice-" and b.expected == 1]) == 2
    )

    answer = world.cluster.evict(pod)

    assert isinstance(answer, Misconfigured)
    assert "more than one PodDisruptionBudget" in answer.message


@pytest.fixture
def nobodys(world):
    """A budget without a selector."""
    world.add_budget("nobodys", None)
    yield
    world.drop_budget("nobodys")


@pytest.mark.usefixtures("nobodys")
def test_a_budget_without_a_selector_is_over_no_pod(world):
    (pod, *_) = world.pods("web")

    assert covering(pod, world.cluster.budgets()) == (budget(world),)
    assert world.cluster.evict(pod) == Evicted()

    world.eventually(lambda: pod.uid not in {p.uid for p in world.cluster.pods()})
    world.eventually(lambda: len([p for p in world.pods("web") if p.ready]) == 3)


def test_a_deleted_pod_goes_without_asking_its_budget(world):
    first, second, _ = world.pods("web")

    world.cluster.delete_pod(first, grace_s=0)
    world.cluster.delete_pod(second, grace_s=0)

    world.eventually(lambda: not {first.uid, second.uid} & {p.uid for p in world.cluster.pods()})
    world.cluster.delete_pod(first)


def test_another_pod_of_the_same_name_is_not_deleted(world):
    (pod,) = world.pods("queue")

    world.cluster.delete_pod(replace(pod, uid=ANOTHER))

    assert [p.uid for p in world.pods("queue")] == [pod.uid]
