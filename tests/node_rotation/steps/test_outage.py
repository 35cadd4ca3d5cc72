"""An API server that is away: what nobody could look at in that time is held against nobody, an image least of all."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from tests.node_rotation.builders import STOPPED, not_ready
from tests.node_rotation.crashes import after, run_for

from node_rotation import engine
from node_rotation.model import StepName
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
    """

    world: MemoryWorld
    step: StepName
    joined: bool = True
    for_good: bool = False
    others: bool = False
    began: float = float("inf")

    def __post_init__(self) -> None:
        self._nodes = self.world.cluster.nodes
        self.world.journal.away = self._away

    def hear(self, event: engine.Event) -> None:
        """It begins a moment after the canary has begun a step."""
        if self.began == float("inf") and isinstance(event, engine.BatchMoved) and event.step is self.step:
            self.began = self.world.clock.now() + 1.5

    def _away(self, service: str) -> str:
        kubernetes = service == "kubernetes"
        return "the API server is away" if kubernetes and 0 <= self._since() < AWAY_S else ""

    def _since(self) -> float:
        return self.world.clock.now() - self.began

    def nodes(self) -> tuple[Node, ...]:
        """As the API server has them."""
        seen, new = self._nodes(), self.world.on_image("base-new")
        if self._since() < 0 or (self._since() > AWAY_S + LATER_S and not self.for_good):
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
