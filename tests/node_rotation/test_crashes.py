"""Whenever a rotation dies, a sweep, the same run again, or a new run ends with nothing lost and nothing left."""

from __future__ import annotations

import pytest
from tests.node_rotation.crashes import STRATEGIES, After, after, by, dies, gone_uncordoned, rotate, run_for, sweep_all

from node_rotation import engine
from node_rotation.testing.world import MemoryWorld

LEAST = 40  # so many mutations a rotation of three machines takes at least
STRIDE = 4  # how many crash points one test takes; together they take every one


def dead(strategy: str, at: int, *, before: bool) -> tuple[MemoryWorld, engine.Run] | None:
    world = MemoryWorld.simple(3, replicas=6)
    run = run_for(world, **by(strategy))
    return (world, run) if dies(run, world, at, before=before) else None


def every_crash(strategy: str, offset: int, *, before: bool):
    """Between any two mutations: right after the one, or right before the other."""
    for at in range(1 + offset, 500, STRIDE):
        found = dead(strategy, at, before=before)
        if found is None:
            assert at > LEAST, f"the rotation ended before mutation {at}: hardly a crash was tried"
            return
        yield at, *found


@pytest.mark.parametrize("strategy", ["detach", "surge"])
@pytest.mark.parametrize("behaviour", ["never-joins", "joins-not-ready"])
@pytest.mark.parametrize("again", [True, False])
def test_a_run_that_died_with_a_bad_image_goes_back_whole(strategy: str, behaviour: str, again: bool) -> None:
    for at in range(1, 60, 2):
        world = MemoryWorld.simple(3, replicas=6, behaviour=behaviour)
        policy = by(strategy)
        run = run_for(world, **policy)
        if not dies(run, world, at, before=False):
            return
        if again:
            engine.rotate(run_for(world, run.id, plan=run.plan, **policy))
            world.clock.wait(60.0)
        else:
            sweep_all(world, run)
        assert after(world).clean, wrong(at, after(world))
        assert after(world).old == 3, wrong(at, after(world))


def wrong(at: int, left: After) -> str:
    return f"died at mutation {at}: {left}"


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("offset", range(STRIDE))
def test_a_sweep_leaves_no_orphan_no_residue_and_breaks_no_budget(strategy: str, offset: int) -> None:
    for at, world, run in every_crash(strategy, offset, before=True):
        uncordoned = gone_uncordoned(world)
        swept = sweep_all(world, run)
        assert not uncordoned, wrong(at, after(world))
        assert not swept.left, wrong(at, after(world))
        assert after(world).clean, wrong(at, after(world))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("offset", range(STRIDE))
def test_the_same_run_again_goes_on_to_the_end(strategy: str, offset: int) -> None:
    for at, world, run in every_crash(strategy, offset, before=False):
        result = engine.rotate(run_for(world, run.id, plan=run.plan, **by(strategy)))
        world.clock.wait(60.0)
        assert result.ok, f"{at}: {result}"
        assert after(world).clean, wrong(at, after(world))
        assert after(world).old == 0, wrong(at, after(world))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("offset", range(0, STRIDE, 2))
def test_a_new_run_takes_over_and_the_one_after_it_finds_nothing_old(strategy: str, offset: int) -> None:
    for at, world, run in every_crash(strategy, offset, before=False):
        world.clock.wait(run.settings.policy.lock_duration * 2)
        for name in ("run-2", "run-3"):  # what was healed on the way into run-2 is no part of its plan
            rotate(world, name, **by(strategy))
            world.clock.wait(60.0)
        assert after(world).clean, wrong(at, after(world))
        assert after(world).old == 0, wrong(at, after(world))
