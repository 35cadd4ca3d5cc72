"""An API server that is away: what nobody could look at in that time is held against nobody, an image least of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from tests.node_rotation.balancers import served_world
from tests.node_rotation.builders import STOPPED, not_ready
from tests.node_rotation.crashes import after, run_for

from node_rotation import engine, machine
from node_rotation.errors import TransientError
from node_rotation.model import StepName
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.kubernetes import Node

AWAY_S = 90.0  # longer than a gate, or a launch, may take in these stories
LATER_S = 20.0


@dataclass
class Outage:
    """The API server is away for a while; afterwards new machines' kubelets are heard of later than old ones'.

    :param joined: whether the new machines were Nodes before.
    :param for_good: they are never heard of again.
    :param others: nor are the old ones' kubelets, from then on.
    :param away_s: how long.
    :param delay_s: how long after the step has begun.
    """

    world: MemoryWorld
    step: StepName
    joined: bool = True
    for_good: bool = False
    others: bool = False
    away_s: float = AWAY_S
    delay_s: float = 1.5
    began: float = float("inf")

    def __post_init__(self) -> None:
        self._nodes = self.world.cluster.nodes
        self.world.journal.away = self._away

    def hear(self, event: engine.Event) -> None:
        """It begins a moment after the canary has begun a step."""
        if self.began == float("inf") and isinstance(event, engine.BatchMoved) and event.step is self.step:
            self.began = self.world.clock.now() + self.delay_s

    def _away(self, service: str) -> str:
        kubernetes = service == "kubernetes"
        return "the API server is away" if kubernetes and 0 <= self._since() < self.away_s else ""

    def _since(self) -> float:
        return self.world.clock.now() - self.began

    def nodes(self) -> tuple[Node, ...]:
        """As the API server has them."""
        seen, new = self._nodes(), self.world.on_image("base-new")
        if self._since() < 0 or (self._since() > self.away_s + LATER_S and not self.for_good):
            return seen
        lost = {node.name for node in seen if node.instance_id in new}
        here = tuple(node for node in seen if self.joined or node.name not in lost)
        return tuple(not_ready(n, *STOPPED) if self.others or n.name in lost else n for n in here)


def rotated(monkeypatch: pytest.MonkeyPatch, outage: Outage) -> engine.Result:
    monkeypatch.setattr(outage.world.cluster, "nodes", outage.nodes)
    return engine.rotate(run_for(outage.world), outage.hear)


@pytest.mark.parametrize(
    ("step", "joined"),
    [(StepName.GATE, True), (StepName.GATE, False), (StepName.LAUNCH, True), (StepName.LAUNCH, False)],
)
def test_a_good_image_goes_on_although_its_machines_are_heard_of_late(
    monkeypatch: pytest.MonkeyPatch, step: StepName, joined: bool
) -> None:
    world = MemoryWorld.simple(3, replicas=0)
    result = rotated(monkeypatch, Outage(world, step, joined))
    assert result.ok, result
    assert result.frozen == ()
    assert after(world).old == 0


@pytest.mark.parametrize("step", [StepName.GATE, StepName.LAUNCH])
def test_an_image_whose_machines_are_never_heard_of_again_has_its_time_and_is_frozen(
    monkeypatch: pytest.MonkeyPatch, step: StepName
) -> None:
    world = MemoryWorld.simple(3, replicas=0)
    outage = Outage(world, step, for_good=True)
    result = rotated(monkeypatch, outage)
    ((name, why),) = result.failed
    assert (name, why.image_fault) == ("workers/1", True)
    assert result.frozen
    assert "1 min" in why.reason


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("step", [StepName.GATE, StepName.LAUNCH])
def test_an_image_is_not_frozen_while_no_kubelet_is_heard_of_old_ones_neither(
    monkeypatch: pytest.MonkeyPatch, step: StepName, joined: bool
) -> None:
    world = MemoryWorld.simple(3, replicas=0)
    result = rotated(monkeypatch, Outage(world, step, joined, for_good=True, others=True))
    ((name, why),) = result.failed
    assert (name, why.image_fault) == ("workers/1", False)
    assert result.frozen == ()


def test_a_gate_that_was_green_before_has_to_be_green_for_its_time_again() -> None:
    world = MemoryWorld.simple(2, replicas=0)
    outage = Outage(world, StepName.GATE)
    passed: list[float] = []

    def hear(event: engine.Event) -> None:
        outage.hear(event)
        if isinstance(event, engine.BatchMoved) and event.batch == "workers/1" and event.step is None:
            passed.append(event.at)

    assert engine.rotate(run_for(world), hear).ok
    assert passed[0] >= outage.began + AWAY_S + 3.0


def under_a_budget(ready_after: float) -> MemoryWorld:
    """One machine whose three pods may only leave one after another."""
    world = MemoryWorld.simple(1, replicas=0)
    tight = seeds.DisruptionBudget(min_available=2)
    world.add_workload(seeds.Workload("web", replicas=3, ready_after=ready_after, budget=tight))
    world.clock.wait(100.0)
    world.monitor.begin({world.asg("workers"): 1})
    return world


@pytest.mark.parametrize(
    ("ready_after", "away_s", "drain"),
    [
        (20.0, 90.0, {"timeout": "10m", "force_after": "60s"}),
        (20.0, 90.0, {"timeout": "80s"}),
        (40.0, 190.0, {"timeout": "100s"}),  # nor does whoever drives the step count them
    ],
)
def test_a_drain_has_its_time_anew_and_breaks_no_budget_for_moments_in_which_nobody_could_evict(
    ready_after: float, away_s: float, drain: dict[str, Any]
) -> None:
    world = under_a_budget(ready_after)
    outage = Outage(world, StepName.DRAIN, away_s=away_s)
    result = engine.rotate(run_for(world, drain=drain), outage.hear)
    assert result.ok, result
    assert world.clock.now() > outage.began + away_s
    assert not [m for m in world.mutations if m.action == "delete_pod"]
    assert not world.monitor.violations


def test_pods_are_forced_after_an_outage_once_they_had_their_time_again() -> None:
    world = under_a_budget(9e9)
    outage = Outage(world, StepName.DRAIN)
    engine.rotate(run_for(world, drain={"timeout": "10m", "force_after": "60s"}), outage.hear)
    forced = [m.at for m in world.mutations if m.action == "delete_pod"]
    assert len(forced) == 3
    assert min(forced) >= outage.began + AWAY_S + 60.0


def test_nothing_is_forced_whose_eviction_was_not_asked_for_since(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API server answers looks again, but no evictions yet."""
    world = under_a_budget(20.0)
    evict, acts = world.cluster.evict, len(world.mutations)
    until = world.clock.now() + 300.0

    def answer(*told: Any) -> Any:
        if world.clock.now() < until:
            raise TransientError("no answer")
        return evict(*told)

    monkeypatch.setattr(world.cluster, "evict", answer)
    result = engine.rotate(run_for(world, drain={"timeout": "10m", "force_after": "250s"}))
    assert result.ok, result
    first, *others = [m for m in world.mutations[acts:] if m.action in ("evict", "delete_pod")]
    assert first.action == "evict"
    assert first.at >= until
    assert others


def test_one_machine_that_is_drained_by_hand_has_its_time_anew_as_well() -> None:
    world = under_a_budget(20.0)
    outage = Outage(world, StepName.DRAIN, began=world.clock.now() + 3.0)
    world.scaling.set_desired(world.asg("workers"), 2)
    settings = world.settings(drain={"timeout": "10m", "force_after": "60s"})
    with machine.holding(settings, world.cloud, world.cluster, world.clock, "cli-1") as run:
        found = machine.find(settings, run.look(), world.cluster.nodes()[0].name)
        machine.drain(run, found)
    assert world.clock.now() > outage.began + AWAY_S
    assert not world.monitor.violations


def test_leaving_a_target_group_has_its_time_anew_as_well() -> None:
    world = served_world(2, delay=110.0)
    outage = Outage(world, StepName.CORDON, delay_s=8.0)
    result = engine.rotate(run_for(world, deregister_timeout="80s"), outage.hear)
    failed = dict(result.failed)
    assert "workers/1" not in failed, failed["workers/1"]


def test_a_machine_that_is_terminated_has_its_time_anew_as_well() -> None:
    slow = seeds.Hook("ship-logs", "terminating", heartbeat=900.0, result="CONTINUE", completes_after=110.0)
    world = served_world(2, delay=1.0, hooks=(slow,))
    outage = Outage(world, StepName.TERMINATE)
    result = engine.rotate(run_for(world, hook_timeout="20s"), outage.hear)
    failed = dict(result.failed)
    assert "workers/1" not in failed, failed["workers/1"]
