"""What a drain does with each pod, and what the API server's answer means."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.node_rotation.builders import NOW, Machine, budget, node, pod

from node_rotation.eviction import (
    Block,
    Evict,
    Force,
    Leave,
    PodDecision,
    WaitFor,
    decide,
    decide_node,
    order,
    read_answer,
    selects,
    structural,
)
from node_rotation.names import DRAINED_SINCE
from node_rotation.policy import DrainPolicy
from node_rotation.world.answers import Denied, Evicted, Misconfigured, PodGone, RefusedByBudget, Throttled
from node_rotation.world.kubernetes import Budget, Node, Pod


def ask(
    subject: Pod, policy: DrainPolicy | None = None, *budgets: Budget, started: float = NOW, now: float = NOW
) -> PodDecision:
    return decide(subject, policy or DrainPolicy(), budgets, drain_started_at=started, now=now)


def test_an_ordinary_pod_is_evicted_with_its_own_grace_period_or_the_policys():
    assert ask(pod("api-1")) == Evict(None)
    assert ask(pod("api-1"), DrainPolicy(grace=30.0)) == Evict(30.0)


@pytest.mark.parametrize(
    "subject",
    [
        pod("log", owner="DaemonSet"),
        pod("etcd", owner=None, mirror=True),
        pod("done", owner="Job", phase="Succeeded"),
        pod("crashed", owner=None, phase="Failed"),
    ],
    ids=lambda p: p.name,
)
def test_pods_that_do_not_keep_a_machine_are_left(subject):
    assert isinstance(ask(subject), Leave)


@pytest.mark.parametrize("budgets", [[], [budget()]], ids=["no budget", "a budget"])
def test_a_pod_that_tolerates_everything_is_evicted_once_and_left_when_it_comes_back(budgets):
    drained = replace(node(Machine("i-1")), unschedulable=True, annotations={DRAINED_SINCE: str(NOW)})
    before = pod("api-1", tolerates_everything=True, created_at=NOW - 1)
    again = pod("api-2", tolerates_everything=True, created_at=NOW + 1)

    def asked(subject: Pod, on: Node | None) -> PodDecision:
        return decide(subject, DrainPolicy(), budgets, node=on, drain_started_at=NOW, now=NOW + 2)

    assert asked(before, drained) == Evict(None)
    left = asked(again, drained)
    assert isinstance(left, Leave)
    assert "it came back to this machine" in left.why
    assert asked(again, None) == Evict(None)
    assert asked(again, replace(drained, unschedulable=False)) == Evict(None)
    assert asked(again, replace(drained, annotations={DRAINED_SINCE: "monday"})) == Evict(None)
    assert asked(replace(again, tolerates_everything=False), drained) == Evict(None)


@pytest.mark.parametrize(
    ("subject", "setting"),
    [
        (pod("bare", owner=None), "bare_pods"),
        (pod("job", owner="Job"), "jobs"),
        (pod("cache", empty_dir=True), "empty_dir"),
        (pod("kept", annotations={"karpenter.sh/do-not-disrupt": "true"}), "do_not_disrupt"),
        (pod("kept", annotations={"karpenter.sh/do-not-disrupt": "30m"}, started_at=NOW - 1799), "do_not_disrupt"),
        (pod("kept", annotations={"karpenter.sh/do-not-disrupt": "until friday"}), "do_not_disrupt"),
        (pod("kept", annotations={"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}), "do_not_disrupt"),
    ],
)
def test_pods_that_would_lose_something_follow_the_policy(subject, setting):
    blocked = ask(subject, DrainPolicy(**{setting: "block"}))
    assert isinstance(blocked, Block)
    assert f"drain.{setting}" in blocked.blocked.remedy
    assert "for the next run" in blocked.blocked.remedy
    assert isinstance(ask(subject, DrainPolicy(**{setting: "wait"})), WaitFor)
    assert ask(subject, DrainPolicy(**{setting: "evict"})) == Evict(None)


def test_a_pod_that_asked_for_a_while_goes_when_its_time_is_over():
    kept = pod("kept", annotations={"karpenter.sh/do-not-disrupt": "1h30m"}, started_at=NOW)
    waits = ask(kept, now=NOW + 5399)
    assert isinstance(waits, WaitFor)
    assert "(karpenter.sh/do-not-disrupt: 1h30m) until 2026-11-09 03:30:00 UTC" in waits.why
    assert ask(kept, now=NOW + 5400) == Evict(None)
    assert ask(pod("free", annotations={"karpenter.sh/do-not-disrupt": "false"})) == Evict(None)


def test_a_node_that_asks_follows_the_same_rule_and_only_true_counts_on_it():
    asks = replace(node(Machine("i-1")), annotations={"karpenter.sh/do-not-disrupt": "true"})
    assert node_says(asks, do_not_disrupt="evict") is None
    assert node_says(asks, do_not_disrupt="wait") == WaitFor(
        "node node-i-1 asks not to be disrupted (karpenter.sh/do-not-disrupt: true); drain.do_not_disrupt: wait"
    )
    blocked = node_says(asks, do_not_disrupt="block")
    assert isinstance(blocked, Block)
    assert blocked.blocked.objects == ("node node-i-1",)
    assert node_says(asks, do_not_disrupt="block", force_after=0.0) is None
    assert node_says(replace(asks, annotations={"karpenter.sh/do-not-disrupt": "30m"}), do_not_disrupt="block") is None


def node_says(asking: Node, **policy: Any) -> Block | WaitFor | None:
    return decide_node(asking, DrainPolicy(**policy), drain_started_at=NOW, now=NOW)


def test_the_strictest_rule_counts():
    subject = pod("bare", owner=None, empty_dir=True)
    assert isinstance(ask(subject, DrainPolicy(bare_pods="wait", empty_dir="block")), Block)


def test_a_terminating_pod_is_waited_for_and_what_holds_it_is_named():
    stuck = pod("stuck", terminating_since=NOW - 100, grace_s=30, finalizers=("example.com/hold",))
    decision = ask(stuck)
    assert isinstance(decision, WaitFor)
    assert "past its grace period of 30s, finalizers example.com/hold" in decision.why


def test_force_is_by_policy_only_and_after_its_deadline():
    policy = DrainPolicy(force_after=600.0, bare_pods="block")
    bare = pod("bare", owner=None)
    assert isinstance(ask(bare, policy, started=NOW - 599), Block)
    assert ask(bare, policy, started=NOW - 600) == Force(None)
    stuck = pod("stuck", terminating_since=NOW - 100)
    assert ask(stuck, policy, started=NOW - 600) == Force(0.0)
    leaving = pod("leaving", terminating_since=NOW - 10)
    assert isinstance(ask(leaving, policy, started=NOW - 600), WaitFor)


def test_whose_eviction_was_not_asked_for_is_asked_before_it_is_forced():
    late = {"drain_started_at": NOW - 600, "now": NOW, "asked": False}
    policy = DrainPolicy(force_after=600.0, grace=5.0)
    assert decide(pod("api-1"), policy, [budget(allowed=0)], **late) == Evict(5.0)
    assert decide(pod("api-1"), policy, [budget(expected=3, desired=3)], **late) == Force(5.0)
    assert decide(pod("api-1"), DrainPolicy(force_after=0.0), [], **late) == Force(None)
    stuck = pod("stuck", terminating_since=NOW - 100)
    assert decide(stuck, policy, [], **late) == Force(0.0)


def test_a_budget_that_can_never_allow_blocks_at_once_and_a_tight_one_does_not():
    never = ask(pod("api-1"), None, budget(expected=3, desired=3))
    assert isinstance(never, Block)
    assert "shop/api can never allow an eviction: it wants 3 healthy of 3" in never.blocked.reason
    assert ask(pod("api-1"), None, budget(allowed=0, healthy=2)) == Evict(None)


def test_several_budgets_over_one_pod_block():
    blocked = structural(pod("api-1"), [budget("one"), budget("two")])
    assert blocked is not None
    assert blocked.objects == ("pod shop/api-1", "pdb shop/one", "pdb shop/two")


def test_pending_pods_and_unready_ones_under_always_allow_may_go():
    never = budget(expected=3, desired=3, always_allow_unhealthy=True)
    assert structural(pod("api-1", phase="Pending", ready=False), [budget(expected=3, desired=3)]) is None
    assert structural(pod("api-1", ready=False), [never]) is None
    assert structural(pod("api-1"), [never]) is not None


def test_an_unready_pod_may_go_as_long_as_its_budget_has_the_healthy_pods_it_wants():
    unready = pod("api-1", ready=False)
    assert structural(unready, [budget(expected=3, desired=3, healthy=3)]) is None
    assert structural(unready, [budget(expected=3, desired=3, healthy=2)]) is not None


def test_a_budget_whose_status_is_not_current_is_not_judged():
    assert structural(pod("api-1"), [budget(expected=3, desired=3, observed=False)]) is None


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        (("app", "In", ("api", "web")), True),
        (("app", "NotIn", ("web",)), True),
        (("app", "NotIn", ("api",)), False),
        (("tier", "NotIn", ("db",)), True),
        (("app", "Exists", ()), True),
        (("tier", "Exists", ()), False),
        (("tier", "DoesNotExist", ()), True),
        (("app", "Unheard", ()), False),
    ],
)
def test_expressions_are_read_as_kubernetes_reads_them(expression, matches):
    assert selects(budget(selector={}, expressions=(expression,)), pod("api-1")) is matches


def test_an_empty_selector_selects_all_of_its_namespace_only():
    everything = budget(selector={})
    assert selects(everything, pod("api-1", labels={}))
    assert not selects(everything, pod("api-1", namespace="other"))


def test_low_priority_goes_first_and_two_actors_agree_on_the_rest():
    pods = [pod("b"), pod("high", priority=1000), pod("a"), pod("low", priority=-1)]
    assert [p.name for p in order(pods)] == [p.name for p in order(reversed(pods))] == ["low", "a", "b", "high"]


def test_answers():
    subject, tight = pod("api-1"), budget(allowed=0)
    assert isinstance(read_answer(PodGone(), subject, []), Leave)
    assert isinstance(read_answer(Evicted(), subject, []), WaitFor)
    assert read_answer(Throttled(7.0), subject, []) == WaitFor("pod shop/api-1: the API server is busy", 7.0)
    assert read_answer(Denied("by X"), subject, [tight]) == WaitFor("pod shop/api-1: by X")
    refused = read_answer(RefusedByBudget("no", 3.0), subject, [tight])
    assert refused == WaitFor("pod shop/api-1: pdb shop/api allows no disruption now", 3.0)
    assert isinstance(read_answer(RefusedByBudget("no"), subject, [budget(expected=3, desired=3)]), Block)
    wrong = read_answer(Misconfigured("more than one"), subject, [])
    assert isinstance(wrong, Block)
    assert "more than one" in wrong.blocked.reason
