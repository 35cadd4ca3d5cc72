"""Gates of batches whose drains overlap: each answers for what nobody else has taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.node_rotation.crashes import run_for

from node_rotation import engine
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld

MACHINES = 9
IMAGES = (
    seeds.Image("base-old", created="2026-11-01T06:00:00Z"),
    seeds.Image("base-new", created="2026-11-08T06:00:00Z"),
)
SHOP = ("Deployment", "default", "shop")


@dataclass
class Night:
    """A shop without a budget, a pod on every machine, beside others that take long to stop: drains overlap.

    :param breaks: once the canary has passed, no new pod of the shop is ever Ready.
    :param fewest: so few pods of it were Ready at some moment.
    """

    slots: int
    breaks: bool = False
    fewest: int = MACHINES
    broken: bool = False
    world: MemoryWorld = field(init=False)

    def __post_init__(self) -> None:
        group = seeds.Group(
            "workers", image="base-old", next_image="base-new", desired=MACHINES, max=2 * MACHINES, zones=("a",)
        )
        shop = seeds.Workload("shop", replicas=MACHINES, spread="hostname", ready_after=10.0)
        others = [
            seeds.Workload(f"other-{n}", replicas=MACHINES, spread="hostname", stops_after=40.0 + 7 * n)
            for n in range(2)
        ]
        timing = seeds.Timing(stop_jitter=0.5)
        self.world = MemoryWorld.of(groups=(group,), images=IMAGES, workloads=(shop, *others), timing=timing)
        self.world.clock.wait(60.0)

    def hear(self, event: engine.Event) -> None:
        canary_passed = isinstance(event, engine.BatchMoved) and event.batch == "workers/1" and event.step is None
        if self.breaks and canary_passed and not self.broken:
            self.broken = True
            never = seeds.Workload("shop", replicas=MACHINES, spread="hostname", ready_after=9e9)
            self.world.objects.workloads[SHOP].seed = never
        self.fewest = min(
            self.fewest, sum(pod.ready for pod in self.world.cluster.pods() if pod.labels["app"] == "shop")
        )

    def passes(self) -> engine.Result:
        policy: dict[str, Any] = {
            "budget": {"max_surge": self.slots},
            "gate": {"settle": "15s", "timeout": "600s"},
            "drain": {"timeout": "600s"},
        }
        return engine.rotate(run_for(self.world, **policy), self.hear)


@pytest.mark.parametrize("slots", [3, 4])
def test_an_application_that_does_not_come_back_shrinks_by_what_is_in_flight_and_no_more(slots: int) -> None:
    night = Night(slots, breaks=True)
    result = night.passes()
    assert not result.ok
    assert any("Deployment default/shop" in why.reason for _, why in result.failed)
    assert result.passed == ("workers/1",)
    assert night.fewest >= MACHINES - slots


def test_gates_end_while_other_batches_drain() -> None:
    alone, together = Night(1), Night(3)
    for night in (alone, together):
        assert night.passes().ok
    spans = [night.world.clock.now() for night in (alone, together)]
    assert spans[1] < spans[0]
