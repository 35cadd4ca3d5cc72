"""A cleared step's new attempt overlaps its old trigger: two actors of one run do no harm to each other."""

from __future__ import annotations

import pytest
from tests.node_rotation.crashes import STRATEGIES, after, by, dies, run_for

from node_rotation import engine, lock, names, sweep
from node_rotation.errors import RotationError
from node_rotation.model import Batch, StepName
from node_rotation.outcome import Done, Outcome, Waiting
from node_rotation.planning import empty_plan
from node_rotation.run import Run
from node_rotation.steps import ORDER, STEPS
from node_rotation.steps.prepare import prepare
from node_rotation.steps.scene import ledger_of
from node_rotation.testing.faults import Mutation
from node_rotation.testing.world import MemoryWorld


class Shadow:
    """A second actor that repeats the step of every open batch right after each change of the first."""

    def __init__(self, world: MemoryWorld, run: Run, every: int) -> None:
        self._world, self._run, self._every = world, run, every
        self._busy, self._count = False, 0
        self.acted = 0

    def __call__(self, mutation: Mutation) -> None:
        self._count += 1
        if self._busy or self._count % self._every:
            return
        self._busy = True
        try:
            self._act()
        finally:
            self._busy = False

    def _act(self) -> None:
        ledger = ledger_of(self._run.look().lease, self._run.id)
        for batch in self._run.plan.batches:
            claim = ledger.claim(batch.name) if ledger else None
            if claim is None or claim.state != "admitted":
                continue
            for name in ORDER[1:]:
                self._try(name, batch)

    def _try(self, name: StepName, batch: Batch) -> None:
        try:
            done = type(STEPS[name].look(self._run, batch)).__name__ == "Done"
            if not done:
                STEPS[name].act(self._run, batch)
                self.acted += 1
        except RotationError:
            pass


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_a_shadow_changes_nothing_in_the_end(strategy: str, every: int) -> None:
    world = MemoryWorld.simple(4, replicas=8, zones=1)
    policy = by(strategy)
    run = run_for(world, **policy)
    shadow = Shadow(world, run_for(world, run.id, plan=run.plan, **policy), every)
    world.journal.on_mutation = shadow
    result = engine.rotate(run)
    world.journal.on_mutation = None
    world.clock.wait(60.0)
    assert shadow.acted
    assert result.ok, result
    assert after(world).clean, after(world)
    assert after(world).old == 0
    assert world.monitor.max_extra[world.asg("workers")] <= 2


@pytest.mark.parametrize("overtaking", ["run-2", "run-3"])
def test_who_sweeps_a_dead_run_leaves_a_faster_ones_preparation_alone(
    overtaking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both tasks of one run, or two runs, find the dead one; the slower sweep looks for strays when all is prepared."""
    world = MemoryWorld.simple(2)
    dead = run_for(world, "run-1")
    assert dies(dead, world, 12, before=False)
    world.clock.wait(dead.settings.policy.lock_duration * 2)
    slow, fast = run_for(world, "run-2"), run_for(world, overtaking)
    stray = sweep._stray

    def overtaken(run: Run, did: list[str]) -> list[str]:
        monkeypatch.setattr(sweep, "_stray", stray)
        while isinstance(prepare(fast, "workers"), Waiting):
            world.clock.wait(5.0)
        return stray(run, did)

    monkeypatch.setattr(sweep, "_stray", overtaken)
    swept = sweep.until_done(slow.settings, world.cloud, world.cluster, world.clock, slow.id)

    ledger = ledger_of(world.cluster.lease(), fast.id)
    assert ledger is not None
    assert ledger.groups.keys() == {"workers"}
    assert names.BASELINE in world.cloud.groups([world.asg("workers")])[world.asg("workers")].tags
    assert swept.held_by == ("" if overtaking == slow.id else fast.id)


@pytest.mark.parametrize("polls", [1, 2])
def test_a_sibling_task_waits_for_the_search_for_strays_and_keeps_its_lock(
    polls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = MemoryWorld.simple(2)
    slow, fast = strays(world), run_for(world, "run-2")
    settle, outcomes = sweep._settle_group, list[Outcome]()

    def overtaken(run: Run, asg: str, did: list[str]) -> list[str]:
        monkeypatch.setattr(sweep, "_settle_group", settle)
        outcomes.extend(prepare(fast, "workers") for _ in range(polls))
        return settle(run, asg, did)

    monkeypatch.setattr(sweep, "_settle_group", overtaken)
    sweep.sweep(slow.settings, world.cloud, world.cluster, world.clock, slow.id)

    assert [type(outcome) for outcome in outcomes] == [Waiting] * polls
    assert isinstance(prepare(fast, "workers"), Done)
    assert lock.require(fast).ledger.groups.keys() == {"workers"}


def test_a_search_for_strays_whose_task_died_keeps_its_run_no_longer_than_its_lock() -> None:
    world = MemoryWorld.simple(2)
    run = strays(world)
    lock.acquire(run_for(world, run.id, empty_plan(names.SWEEP, run.settings, world.clock.now())))

    assert isinstance(prepare(run, "workers"), Waiting)
    for _ in range(8):  # asking again does not keep it alive
        world.clock.wait(run.settings.policy.lock_duration / 5)
        outcome = prepare(run, "workers")

    assert isinstance(outcome, Done)
    assert lock.require(run).ledger.plan == run.plan.id


def strays(world: MemoryWorld) -> Run:
    """The next run after a dead one whose Lease is gone, but not what it left."""
    assert dies(run_for(world, "run-1"), world, 12, before=False)
    lease = world.cluster.lease()
    assert lease is not None
    world.cluster.delete_lease(lease)
    return run_for(world, "run-2")
