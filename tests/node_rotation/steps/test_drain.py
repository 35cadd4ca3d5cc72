"""Drains of pods and nodes that have a say of their own."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from tests.node_rotation.crashes import after, run_for

from node_rotation import engine, lock, names
from node_rotation.model import StepName
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld
from node_rotation.workloads.do_not_disrupt import DO_NOT_DISRUPT
from node_rotation.world.answers import Denied, Evicted, EvictionAnswer, Misconfigured, Throttled
from node_rotation.world.kubernetes import Node, Pod


def heard(world: MemoryWorld, **policy: Any) -> tuple[engine.Result, list[engine.BatchWaits]]:
    """A rotation, and what its batches waited for."""
    waits: list[engine.BatchWaits] = []

    def listen(event: engine.Event) -> None:
        if isinstance(event, engine.BatchWaits):
            waits.append(event)

    return engine.rotate(run_for(world, **policy), listen), waits


def kept(world: MemoryWorld, value: str | None) -> Node:
    node = world.cluster.nodes()[0]
    world.cluster.annotate(node.name, node.uid, {DO_NOT_DISRUPT: value})
    return node


def test_a_pod_that_asked_for_ten_minutes_is_evicted_after_them() -> None:
    world = MemoryWorld.simple(1, replicas=0)
    world.add_workload(seeds.Workload("import", annotations={DO_NOT_DISRUPT: "10m"}))
    world.clock.wait(5.0)
    started = world.clock.now() - 5.0
    result, waits = heard(world, drain={"timeout": "15m"})
    assert result.ok
    assert result.ended_at - started > 600.0
    assert any("(karpenter.sh/do-not-disrupt: 10m) until 20" in reason for w in waits for reason in w.reasons)


def test_a_node_that_asks_keeps_its_machine_until_the_annotation_goes() -> None:
    world = MemoryWorld.simple(2, replicas=2)
    node = kept(world, "true")
    world.clock.after(90.0, lambda: kept(world, None))
    result, waits = heard(world)
    assert result.ok
    assert result.ended_at - result.started_at > 90.0
    assert any(f"node {node.name} asks not to be disrupted" in reason for w in waits for reason in w.reasons)
    assert not world.monitor.violations


def test_a_node_that_goes_on_asking_is_named_and_everything_goes_back() -> None:
    world = MemoryWorld.simple(2, replicas=2)
    node = kept(world, "true")
    result, _ = heard(world)
    named = [why for _, why in result.failed if f"node {node.name}" in why.objects]
    assert len(named) == 1
    assert "asks not to be disrupted (karpenter.sh/do-not-disrupt: true)" in named[0].reason
    world.clock.wait(60.0)
    kept(world, None)
    assert after(world).clean


def test_a_single_replica_under_a_budget_that_never_allows_is_rolled_and_never_down() -> None:
    world = MemoryWorld.simple(1, replicas=0)
    only_one = seeds.DisruptionBudget(min_available=1)
    world.add_workload(seeds.Workload("solo", ready_after=20.0, budget=only_one))
    world.clock.wait(30.0)
    refused, _ = heard(world)
    assert refused.blocked is not None
    assert "can never allow" in refused.blocked.reason
    world.monitor.begin({world.asg("workers"): 1})
    result, waits = heard(world, drain={"timeout": "2m", "roll_single_replicas": True})
    assert result.ok
    assert not [m for m in world.mutations if m.action in ("evict", "delete_pod")]
    assert len([m for m in world.mutations if m.action == "roll"]) == 1
    assert world.monitor.min_healthy["default/solo"] == 1
    assert any("leaves once its successor is Ready: Deployment default/solo" in r for w in waits for r in w.reasons)


def test_a_single_replica_whose_successor_never_comes_up_stays_and_is_named() -> None:
    world = MemoryWorld.simple(1, replicas=0)
    world.add_workload(seeds.Workload("solo", ready_after=20.0))
    world.clock.wait(30.0)
    (old,) = [pod for pod in world.cluster.pods() if pod.labels["app"] == "solo"]
    run = run_for(world, drain={"timeout": "2m", "roll_single_replicas": True})

    def spoil(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step == "drain":
            world.objects.workloads["Deployment", "default", "solo"].seed = seeds.Workload("solo", ready_after=9e9)

    result = engine.rotate(run, spoil)
    ((_, why),) = result.failed
    assert f"pod {old.key}" in why.objects
    assert next(pod for pod in world.cluster.pods() if pod.uid == old.uid).ready


def test_a_single_replica_that_was_broken_before_is_evicted_and_stops_nobody() -> None:
    world = MemoryWorld.simple(2, replicas=2)
    world.add_workload(seeds.Workload("solo", ready_after=9e9))
    world.clock.wait(60.0)
    result, _ = heard(world, drain={"timeout": "2m", "roll_single_replicas": True})
    assert result.ok, result
    assert not [m for m in world.mutations if m.action == "roll"]


def test_without_the_policy_a_single_replica_is_evicted() -> None:
    world = MemoryWorld.simple(1, replicas=1)
    result, _ = heard(world)
    assert result.ok
    assert not [m for m in world.mutations if m.action == "roll"]


def test_a_pod_whose_end_never_comes_is_named_in_time() -> None:
    world = MemoryWorld.simple(1, replicas=0)
    world.add_workload(seeds.Workload("stuck", stops_after=7200.0))
    world.clock.wait(5.0)
    result, _ = heard(world)
    ((_, why),) = result.failed
    assert "1 pods did not leave: 2 min 0 s are over" in why.reason
    assert "force_after in the fleet file has the next run" in why.remedy
    assert why.objects[0].startswith("pod default/stuck-")
    assert why.objects[0].endswith(", terminating")


def test_a_pod_that_is_waited_for_is_asked_to_go_at_the_deadline_before_anything_is_forced() -> None:
    world = MemoryWorld.simple(1, replicas=0)
    world.add_workload(seeds.Workload("bare", kind="Pod"))
    world.clock.wait(5.0)
    result, _ = heard(world, drain={"timeout": "15m", "bare_pods": "wait", "force_after": "5m"})
    assert result.ok
    (asked,) = [m for m in world.mutations if m.action in ("evict", "delete_pod")]
    drained = next(m for m in world.mutations if m.action == "cordon")
    assert asked.action == "evict"
    assert 300.0 <= asked.at - drained.at < 320.0


def test_force_comes_only_after_its_deadline_and_frees_the_machine() -> None:
    world = MemoryWorld.simple(1, replicas=0)
    never = seeds.DisruptionBudget(min_available=1)
    world.add_workload(seeds.Workload("solo", budget=never, annotations={DO_NOT_DISRUPT: "true"}))
    world.clock.wait(60.0)
    result, _ = heard(world, drain={"timeout": "15m", "force_after": "5m"})
    assert result.ok, result
    (forced,) = [m for m in world.mutations if m.action == "delete_pod"]
    drained = next(m for m in world.mutations if m.action == "cordon")
    assert 300.0 <= forced.at - drained.at < 320.0


def answering(world: MemoryWorld, monkeypatch: pytest.MonkeyPatch, answers: list[EvictionAnswer]) -> list[float]:
    """Let the API server give these answers first; when it was asked."""
    asked: list[float] = []
    evict = world.cluster.evict

    def answer(pod: Pod, grace_s: float | None = None) -> EvictionAnswer:
        asked.append(world.clock.now())
        return answers.pop(0) if answers else evict(pod, grace_s)

    monkeypatch.setattr(world.cluster, "evict", answer)
    return asked


def test_a_busy_api_server_is_asked_again_after_the_time_it_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    world = MemoryWorld.simple(1, replicas=1)
    asked = answering(world, monkeypatch, [Throttled(40.0), Throttled(40.0)])
    result, waits = heard(world)
    assert result.ok
    assert [b - a for a, b in itertools.pairwise(asked)] == [40.0, 40.0]
    assert any("the API server is busy" in reason for w in waits for reason in w.reasons)


def test_an_eviction_that_can_never_be_answered_ends_the_drain_in_the_api_servers_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = MemoryWorld.simple(1, replicas=1)
    said = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    asked = answering(world, monkeypatch, [Misconfigured(said)] * 99)
    result, _ = heard(world)
    ((_, why),) = result.failed
    assert why.reason == f"the API server can't evict: {said}"
    assert why.objects[0].startswith("pod default/")
    assert len(asked) == 1
    world.clock.wait(60.0)
    assert after(world).clean


def test_a_pod_whose_budget_refuses_takes_no_turn_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    world = MemoryWorld.simple(1, replicas=0)
    world.add_workload(seeds.Workload("zz-app", replicas=6))
    one_of_three = seeds.DisruptionBudget(max_unavailable=1)
    world.add_workload(seeds.Workload("aa-db", replicas=3, budget=one_of_three, ready_after=1.0))
    world.clock.wait(30.0)
    (*_, broken) = (pod for pod in world.cluster.pods() if pod.name.startswith("aa-db"))
    world.objects.change_pod(broken.uid, "crash loop", ready=False)
    world.clock.wait(5.0)
    granted = evictions(world, monkeypatch)
    result, _ = heard(world, drain={"timeout": "2m", "wait_between_evictions": "5s"})
    assert result.ok, result
    assert [name.startswith("zz-app") for name, _ in granted].count(True) == 6
    assert all(later - at >= 5.0 for (_, at), (_, later) in itertools.pairwise(granted))


def test_pods_that_tolerate_everything_are_evicted_and_the_gate_answers_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = MemoryWorld.simple(4, replicas=0)
    api = seeds.Workload("api", replicas=4, spread="hostname", tolerate_everything=True, ready_after=5.0)
    world.add_workload(api)
    world.clock.wait(60.0)
    died: list[str] = []
    world.objects.on_pod.append(lambda workload, _b, _a, cause: died.append(f"{workload.seed.name} {cause}"))
    granted = evictions(world, monkeypatch)
    run = run_for(world, budget={"max_surge": 4})
    counted: set[str] = set()

    def listen(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step == StepName.GATE:
            counted.update(key for claim in lock.require(run).ledger.claims for key in claim.evicted)

    assert engine.rotate(run, listen).ok
    assert len(granted) == 4
    assert "api machine gone" not in died
    assert counted == {"Deployment default/api"}
    assert after(world).clean


def test_what_an_earlier_drain_wrote_down_does_not_count_once_the_node_took_pods_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = MemoryWorld.simple(1, replicas=0)
    world.add_workload(seeds.Workload("api", replicas=3, tolerate_everything=True))
    world.clock.wait(30.0)
    (node,) = world.cluster.nodes()
    world.cluster.annotate(node.name, node.uid, {names.DRAINED_SINCE: "1.0"})
    granted = evictions(world, monkeypatch)
    result, _ = heard(world)
    assert result.ok, result
    assert len(granted) == 3


def test_what_a_drain_wrote_down_is_taken_back_with_its_cordon() -> None:
    world = MemoryWorld.simple(1, replicas=0)
    world.add_workload(seeds.Workload("api", replicas=3, tolerate_everything=True, stops_after=7200.0))
    world.clock.wait(30.0)
    written: list[bool] = []

    def listen(event: engine.Event) -> None:
        if isinstance(event, engine.BatchWaits):
            written.extend(names.DRAINED_SINCE in node.annotations for node in world.cluster.nodes())

    result = engine.rotate(run_for(world, drain={"timeout": "2m"}), listen)
    assert not result.ok
    assert any(written)
    assert not any(names.DRAINED_SINCE in node.annotations for node in world.cluster.nodes())


def test_a_pod_that_comes_back_with_its_volume_keeps_no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    world = MemoryWorld.simple(1, replicas=0)
    queue = seeds.Workload("queue", kind="StatefulSet", tolerate_everything=True, volume=True)
    world.add_workload(queue)
    world.clock.wait(30.0)
    granted = evictions(world, monkeypatch)
    result, waits = heard(world, strategy="terminate_first")
    assert result.ok, result
    assert len(granted) == 1
    assert not any("still attached" in reason for w in waits for reason in w.reasons)
    assert after(world).clean


STRIMZI = 'admission webhook "strimzi.io" denied the request: The pod will be rolled by the Strimzi Cluster Operator'


def kafka(monkeypatch: pytest.MonkeyPatch, rolled_after_s: float | None = None) -> MemoryWorld:
    """A broker whose evictions an admission webhook denies; its operator rolls it once it was asked for, or never."""
    world = MemoryWorld.simple(1, replicas=0)
    world.add_workload(seeds.Workload("aa-kafka", kind="StatefulSet", replicas=1))
    world.add_workload(seeds.Workload("zz-app", replicas=6))
    world.clock.wait(30.0)
    evict = world.cluster.evict
    asked: set[str] = set()

    def answer(pod: Pod, grace_s: float | None = None) -> EvictionAnswer:
        if pod.labels["app"] != "aa-kafka":
            return evict(pod, grace_s)
        if rolled_after_s is not None and not asked:
            world.clock.after(rolled_after_s, lambda: world.cluster.delete_pod(pod))
        asked.add(pod.uid)
        return Denied(STRIMZI)

    monkeypatch.setattr(world.cluster, "evict", answer)
    return world


@pytest.mark.parametrize("wait", ["0s", "1s"])
def test_a_pod_that_a_webhook_denies_waits_with_its_words_and_the_others_go(
    wait: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = kafka(monkeypatch, 400.0)
    granted = evictions(world, monkeypatch)
    began = world.clock.now()
    result, waits = heard(world, drain={"timeout": "15m", "wait_between_evictions": wait})
    assert result.ok, result
    assert len(granted) == 6
    assert max(at for _, at in granted) < began + 60.0
    assert {r.partition(": ")[2] for w in waits for r in w.reasons if "denied" in r} == {STRIMZI}


def test_a_pod_that_a_webhook_denies_for_ever_ends_the_drain_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    world = kafka(monkeypatch)
    result, _ = heard(world, drain={"timeout": "15m"})
    ((_, why),) = result.failed
    assert why.reason == "1 pods did not leave: 15 min 0 s are over"
    assert why.objects == (f"pod default/aa-kafka-0, {STRIMZI}",)
    world.clock.wait(60.0)
    assert after(world).clean


def evictions(world: MemoryWorld, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """The pods whose eviction is granted from now on, and when."""
    granted: list[tuple[str, float]] = []
    evict = world.cluster.evict

    def noted(pod: Pod, grace_s: float | None = None) -> EvictionAnswer:
        answer = evict(pod, grace_s)
        if isinstance(answer, Evicted):
            granted.append((pod.name, world.clock.now()))
        return answer

    monkeypatch.setattr(world.cluster, "evict", noted)
    return granted
