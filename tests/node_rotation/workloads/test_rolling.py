"""Which pods get their successor first."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.node_rotation.builders import NOW, budget, pod

from node_rotation.eviction import Block, Evict, Roll, WaitFor, decide
from node_rotation.policy import DrainPolicy
from node_rotation.workloads.rolling import to_roll
from node_rotation.world.kubernetes import Workload

SOLO = Workload("Deployment", "shop", "api", "uid-api", 1, 1, surges=True)
ROLLS = DrainPolicy(roll_single_replicas=True)


def test_the_only_pod_of_a_deployment_that_surges_is_rolled_once():
    subject, never = pod("api-1"), budget(expected=1, desired=1, allowed=0)
    assert decide(subject, ROLLS, [never], workloads=[SOLO], drain_started_at=NOW, now=NOW) == Roll(SOLO)
    rolled = replace(SOLO, rolled_for=subject.uid)
    waits = decide(subject, ROLLS, [never], workloads=[rolled], drain_started_at=NOW, now=NOW)
    assert waits == WaitFor("pod shop/api-1 leaves once its successor is Ready: Deployment shop/api is rolled")
    before = replace(SOLO, rolled_for="another-pod")
    assert decide(subject, ROLLS, [], workloads=[before], drain_started_at=NOW, now=NOW) == Roll(before)


def test_without_the_policy_it_is_a_pod_like_any_other():
    subject, never = pod("api-1"), budget(expected=1, desired=1, allowed=0)
    usual = DrainPolicy()
    assert decide(subject, usual, [], workloads=[SOLO], drain_started_at=NOW, now=NOW) == Evict(None)
    assert isinstance(decide(subject, usual, [never], workloads=[SOLO], drain_started_at=NOW, now=NOW), Block)


@pytest.mark.parametrize(
    ("subject", "workload"),
    [
        (pod("api-1"), replace(SOLO, desired=2)),
        (pod("api-1"), replace(SOLO, surges=False)),
        (pod("api-1"), replace(SOLO, namespace="other")),
        (pod("api-1", claims=("data",)), SOLO),
        (pod("api-0", owner="StatefulSet"), replace(SOLO, kind="StatefulSet")),
        (pod("bare", owner=None), SOLO),
        (pod("api-1", ready=False), SOLO),
    ],
    ids=["two replicas", "stops first", "elsewhere", "has a volume", "stateful", "bare", "not Ready"],
)
def test_who_would_gain_nothing_is_not_rolled(subject, workload):
    assert to_roll(subject, [workload]) is None


def test_a_pod_that_was_rolled_already_is_waited_for_whether_or_not_it_is_ready():
    subject = pod("api-1", ready=False)
    rolled = replace(SOLO, rolled_for=subject.uid)
    found = decide(subject, ROLLS, [], workloads=[rolled], drain_started_at=NOW, now=NOW)
    assert isinstance(found, WaitFor)


def test_a_successor_that_is_not_ready_yet_is_evicted_while_the_old_pod_serves():
    serves = budget(expected=1, healthy=1, desired=1, allowed=0)
    rolled = replace(SOLO, rolled_for="uid-api-0")
    subject = pod("api-1", ready=False)
    assert decide(subject, ROLLS, [serves], workloads=[rolled], drain_started_at=NOW, now=NOW) == Evict(None)
