"""Whatever size others give a group while it rotates, it has at the end, whoever dies when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.node_rotation.crashes import after, run_for, sweep_all

from node_rotation import engine
from node_rotation.run import Run
from node_rotation.testing.faults import Crash, Mutation
from node_rotation.testing.scaling_values import GroupChange
from node_rotation.testing.world import MemoryWorld

MACHINES = 3
STRATEGIES = pytest.mark.parametrize("strategy", ["surge", "detach"])
Act = Callable[[MemoryWorld], None]


@dataclass(frozen=True)
class Other:
    """What somebody else does to the group, and the sizes (min, max, desired) it must have at the end."""

    name: str
    act: Act
    sizes: tuple[int, int, int]


def _desired(by: int) -> Act:
    def act(world: MemoryWorld) -> None:
        asg = world.asg("workers")
        world.scaling.set_desired(asg, world.scaling.group(asg).desired + by)

    return act


def _sizes(**change: Any) -> Act:
    return lambda world: world.scaling.update(world.asg("workers"), GroupChange(**change))


def _scale_in(image: str) -> Act:
    """As the cluster-autoscaler does: one machine by name, with decrement; not one that is on its way out anyway."""

    def act(world: MemoryWorld) -> None:
        going = {n.instance_id for n in world.objects.nodes.values() if n.unschedulable}
        members = [m.instance_id for m in world.scaling.group(world.asg("workers")).live()]
        found = [m for m in members if m in world.on_image(image) and m not in going]
        world.scaling.terminate((found or [m for m in members if m not in going])[-1], decrement=True)

    return act


def _more(world: MemoryWorld) -> None:
    desired = world.scaling.group(world.asg("workers")).desired
    world.scaling.update(world.asg("workers"), GroupChange(max_size=9, desired=desired + 2))


OTHERS = (
    Other("raises desired by 2", _desired(2), (1, 7, 5)),
    Other("lowers desired by 1", _desired(-1), (1, 7, 2)),
    Other("scales an old machine in", _scale_in("base-old"), (1, 7, 2)),
    Other("scales a new machine in", _scale_in("base-new"), (1, 7, 2)),
    Other("raises min above it all", _sizes(min_size=6), (6, 7, 6)),
    Other("raises min a little", _sizes(min_size=2), (2, 7, 3)),
    Other("lowers max below it", _sizes(max_size=2), (1, 2, 2)),
    Other("raises max", _sizes(max_size=9), (1, 9, 3)),
    Other("raises max and desired", _more, (1, 9, 5)),
)
BY_NAME = pytest.mark.parametrize("other", OTHERS, ids=lambda other: other.name)


def a_world() -> MemoryWorld:
    world = MemoryWorld.simple(MACHINES, replicas=MACHINES)
    asg = world.asg("workers")
    world.scaling.update(asg, GroupChange(min_size=1))
    return world


def a_run(world: MemoryWorld, strategy: str, run: Run | None = None) -> Run:
    policy: dict[str, Any] = {"strategy": strategy, "canary": False, "budget": {"max_surge": 1}}
    return run_for(world, run.id, plan=run.plan, **policy) if run else run_for(world, **policy)


def sizes(world: MemoryWorld) -> tuple[int, int, int]:
    group = world.scaling.group(world.asg("workers"))
    return group.min_size, group.max_size, group.desired


def wrong(world: MemoryWorld, expected: tuple[int, int, int]) -> list[str]:
    """What is not as it should be: no machine lost or left over, no mark left."""
    group = world.scaling.group(world.asg("workers"))
    left = after(world)
    lines = [*left.orphans, *(line for line in left.residue if "min, max, desired" not in line)]
    if sizes(world) != expected:
        lines.append(f"min, max, desired {sizes(world)} instead of {expected}")
    if len(group.live()) != group.desired:
        lines.append(f"{len(group.live())} machines instead of {group.desired}")
    return lines


class Heard:
    """A rotation during which somebody acts once, when a batch begins a step."""

    def __init__(self, world: MemoryWorld, run: Run, at: tuple[str, str], act: Act) -> None:
        self._world, self._at, self._act = world, at, act
        self.said: list[str] = []
        self.result = engine.rotate(run, self._listen)
        world.clock.wait(60.0)

    def _listen(self, event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step is not None and (event.batch, event.step) == self._at:
            self._at = ("", "")
            self._act(self._world)
        elif isinstance(event, engine.Note):
            self.said.append(event.text)


@STRATEGIES
@BY_NAME
@pytest.mark.parametrize("step", ["launch", "drain", "health_gate"])
def test_a_size_that_somebody_else_changes_midway_is_kept(strategy: str, other: Other, step: str) -> None:
    world = a_world()
    heard = Heard(world, a_run(world, strategy), ("workers/2", step), other.act)
    assert heard.result.ok, heard.result
    assert not wrong(world, other.sizes)
    assert after(world).old == 0


class AtOnce:
    """Somebody acts right after the first change of a kind that a rotation makes."""

    def __init__(self, world: MemoryWorld, after: str, act: Act) -> None:
        self._world, self._after, self._act = world, after, act
        self.acted = False
        world.journal.on_mutation = self

    def __call__(self, mutation: Mutation) -> None:
        if mutation.action == self._after and not self.acted:
            self.acted = True
            self._act(self._world)


@dataclass(frozen=True)
class Dead:
    """A rotation that died, and the world it left."""

    at: int
    before: bool
    world: MemoryWorld
    run: Run

    def goes_on(self, strategy: str, *, swept: bool) -> None:
        if swept:
            assert not sweep_all(self.world, self.run).left, self.at
        else:
            result = engine.rotate(a_run(self.world, strategy, self.run))
            assert result.ok, f"{self.at}: {result}"
        self.world.clock.wait(60.0)


def every_death(strategy: str, other: Other, acts_after: str | None, *, before: bool) -> Iterator[Dead]:
    """A rotation of its own for every other change that it makes; somebody acts before its death, or after it."""
    for at in range(1 + before, 500, 2):
        world = a_world()
        run = a_run(world, strategy)
        somebody = AtOnce(world, acts_after, other.act) if acts_after else None
        (world.crash_before if before else world.crash_after)(at)
        try:
            engine.rotate(run)
        except Crash:
            world.journal.alive_again()
            world.journal.on_mutation = None
        else:
            return
        if somebody is None:
            world.clock.wait(30.0)
            other.act(world)
            world.clock.wait(5.0)
        elif not somebody.acted:
            continue
        yield Dead(at, before, world, run)


@STRATEGIES
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("other", OTHERS[:3], ids=lambda other: other.name)
def test_a_run_that_dies_after_somebody_changed_the_size_keeps_it(strategy: str, other: Other, before: bool) -> None:
    deaths = 0
    for dead in every_death(strategy, other, "evict", before=before):
        dead.goes_on(strategy, swept=dead.at % 4 < 2)
        assert not wrong(dead.world, other.sizes), f"{dead.at}: {wrong(dead.world, other.sizes)}"
        deaths += 1
    assert deaths > 10


@STRATEGIES
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("other", OTHERS[:3], ids=lambda other: other.name)
def test_what_somebody_changes_while_nobody_is_at_work_is_kept(strategy: str, other: Other, before: bool) -> None:
    deaths = 0
    for dead in every_death(strategy, other, None, before=before):
        dead.goes_on(strategy, swept=dead.at % 4 < 2)
        assert not wrong(dead.world, other.sizes), f"{dead.at}: {wrong(dead.world, other.sizes)}"
        deaths += 1
    assert deaths > 20
