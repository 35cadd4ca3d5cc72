"""Any group, any budget, any crash, any hiccup of AWS or Kubernetes: drift 0 or healed, and nothing is left."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.node_rotation.crashes import STRATEGIES, after, by, dies, rotate, run_for, sweep_all

from node_rotation import engine, names
from node_rotation.ledger import parse
from node_rotation.model import Plan
from node_rotation.run import Run
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld

HICCUPS = ("throttle", "lost_answer")
AWS = (
    "CreateTags",
    "DescribeAutoScalingGroups",
    "DescribeInstances",
    "DetachInstances",
    "TerminateInstanceInAutoScalingGroup",
    "TerminateInstances",
    "UpdateAutoScalingGroup",
)
KUBERNETES = ("annotate", "cordon", "delete_node", "evict", "nodes", "pods", "untaint", "update_lease")

hiccups = st.builds(
    lambda kind, action, calls: seeds.Fault(kind, action=action, calls=tuple(sorted(calls))),
    st.sampled_from(HICCUPS),
    st.sampled_from(AWS + KUBERNETES),
    st.sets(st.integers(1, 120), min_size=1, max_size=3),
)


@dataclass(frozen=True)
class Story:
    """One rotation that may go wrong, and what is done afterwards."""

    seed: int
    machines: int
    zones: int
    slots: int
    strategy: str
    faults: tuple[seeds.Fault, ...]
    crash: int | None
    before: bool
    then: str
    behaviour: str
    unavailable: int = 1

    def world(self) -> MemoryWorld:
        return MemoryWorld.simple(
            self.machines,
            replicas=2 * self.machines,
            zones=self.zones,
            max_unavailable=self.unavailable,
            seed=self.seed,
            behaviour=self.behaviour,
            boot_jitter=0.3,
            stop_jitter=0.3,
            detach=1.0,
        )

    @property
    def policy(self) -> dict[str, Any]:
        return by(self.strategy, self.slots)

    @property
    def lost(self) -> int:
        """Machines that a bad image may cost: what goes first can't come back, but the canary goes alone."""
        return int(self.strategy == "terminate_first")


stories = st.builds(
    Story,
    seed=st.integers(0, 999),
    machines=st.integers(2, 6),
    zones=st.integers(1, 3),
    slots=st.integers(1, 3),
    strategy=st.sampled_from(STRATEGIES),
    faults=st.lists(hiccups, max_size=3).map(tuple),
    crash=st.none() | st.integers(1, 90),
    before=st.booleans(),
    then=st.sampled_from(["sweep", "same run", "new run"]),
    behaviour=st.sampled_from(["good", "good", "good", "never-joins", "joins-not-ready"]),
)


beside = st.builds(
    Story,
    seed=st.integers(0, 999),
    machines=st.integers(3, 7),
    zones=st.integers(2, 3),
    slots=st.integers(2, 4),
    strategy=st.just("surge"),
    faults=st.lists(hiccups, max_size=3).map(tuple),
    crash=st.none() | st.integers(40, 190),
    before=st.booleans(),
    then=st.sampled_from(["sweep", "same run", "new run"]),
    behaviour=st.just("good"),
    unavailable=st.just(4),
)
"""Budgets with room, so that zones are evened out beside the last batches, and deaths late enough to meet it."""


def count_claims(world: MemoryWorld) -> None:
    def in_use(annotations: dict[str, str]) -> Counter[str]:
        text = annotations.get(names.LEDGER)
        return Counter({"workers": sum(len(c.machines) for c in parse(text).claims if c.open) if text else 0})

    world.monitor.claims_in_use = in_use


def planned(world: MemoryWorld, story: Story, run_id: str = "run-1", plan: Plan | None = None) -> Run:
    """A run whose plan was made in peace: who plans meets a hiccup as an error and starts again."""
    world.journal.faults = []
    run = run_for(world, run_id, plan=plan, **story.policy)
    world.journal.faults = list(story.faults)
    return run


def go_on(world: MemoryWorld, run: Run, story: Story) -> None:
    if story.then == "sweep":
        assert not sweep_all(world, run).left
    elif story.then == "same run":
        engine.rotate(planned(world, story, run.id, run.plan))
    else:
        world.clock.wait(run.settings.policy.lock_duration * 2)
        engine.rotate(planned(world, story, "run-2"))
    world.clock.wait(60.0)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(stories)
def test_whatever_happens_it_ends_well(story: Story) -> None:
    ends_well(story)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(beside)
def test_so_it_does_where_zones_are_evened_out_beside_the_last_batches(story: Story) -> None:
    ends_well(story)


def ends_well(story: Story) -> None:
    world = story.world()
    count_claims(world)
    run = planned(world, story)
    world.journal.calls.clear()
    if story.crash is None:
        engine.rotate(run)
        world.clock.wait(60.0)
    elif dies(run, world, story.crash, before=story.before):
        go_on(world, run, story)
    world.clock.wait(60.0)
    left = after(world)
    assert left.clean, left
    assert world.monitor.max_claimed["workers"] <= story.slots
    assert len(world.on_image("base-old")) + len(world.on_image("base-new")) == story.machines
    if story.strategy == "terminate_first":
        assert world.monitor.max_extra[world.asg("workers")] == 0
        assert world.monitor.max_unavailable[world.asg("workers")] <= story.slots

    if story.behaviour != "good":
        assert len(world.on_image("base-old")) >= story.machines - story.lost
        return
    world.journal.faults = []  # whatever was healed, and is old still, goes in the next run
    rotate(world, "the-last", **story.policy)
    world.clock.wait(60.0)
    assert after(world).clean
    assert after(world).old == 0
