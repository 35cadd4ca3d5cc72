"""One observation for all who wait, and how long it is good for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from node_rotation import detect
from node_rotation.errors import BlockedError, RotationError, TransientError
from node_rotation.outcome import Blocked
from node_rotation.run import BLIND_S, LONGEST_UNSEEN_S, SharedLook
from node_rotation.testing.clock import VirtualClock
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.snapshot import Snapshot

POLL_S = 1.0


def looking(world: MemoryWorld, takes_s: float) -> tuple[SharedLook, Callable[[], int]]:
    """A look at a world that takes its time, and how often it was really looked."""
    settings = world.settings()
    seen: list[Snapshot] = []

    def observe() -> Snapshot:
        snapshot = detect.observe(settings, world.cloud, world.cluster, world.clock)
        world.clock.wait(takes_s)
        seen.append(snapshot)
        return snapshot

    return SharedLook(observe, world.clock, POLL_S), lambda: len(seen)


def test_an_observation_is_shared_until_its_interval_is_over() -> None:
    world = MemoryWorld.simple(2)
    look, looks = looking(world, takes_s=0.1)
    first = look()
    world.clock.wait(0.9 * POLL_S)
    assert look() is first
    world.clock.wait(0.2 * POLL_S)
    assert look() is not first
    assert looks() == 2


def test_where_looking_takes_longer_than_the_interval_it_is_not_looked_all_the_time() -> None:
    world = MemoryWorld.simple(2)
    look, looks = looking(world, takes_s=4 * POLL_S)
    first = look()
    assert look() is first
    world.clock.wait(3 * POLL_S)
    assert look() is first
    world.clock.wait(1.5 * POLL_S)
    assert look() is not first
    assert looks() == 2


def test_who_changes_the_world_looks_anew() -> None:
    world = MemoryWorld.simple(2)
    look, looks = looking(world, takes_s=0.1)
    look()
    look.forget()
    look()
    assert looks() == 2


@dataclass
class Eye:
    """Looks at a world that takes its time, or gives no answer: when each look began and ended."""

    clock: VirtualClock
    seen: Snapshot
    takes_s: float = 15.0
    fails: bool = True
    refused: RotationError | None = None
    looks: list[tuple[float, float]] = field(default_factory=list)

    def observe(self) -> Snapshot:
        began = self.clock.now()
        self.clock.wait(self.takes_s)
        self.looks.append((began, self.clock.now()))
        if self.refused is not None:
            raise self.refused
        if self.fails:
            raise TransientError(f"no answer at {self.clock.now()}")
        return self.seen


def silent() -> tuple[SharedLook, Eye]:
    world = MemoryWorld.simple(1)
    seen = detect.observe(world.settings(), world.cloud, world.cluster, world.clock)
    eye = Eye(world.clock, seen)
    return SharedLook(eye.observe, eye.clock, POLL_S), eye


def test_who_waits_behind_a_look_that_failed_is_told_so_and_does_not_make_it_again() -> None:
    look, eye = silent()
    for _ in range(64):
        with pytest.raises(TransientError, match="no answer"):
            look()
    assert len(eye.looks) == 1


def test_a_cluster_that_answers_again_is_seen_once_the_interval_of_the_failed_look_is_over() -> None:
    look, eye = silent()
    with pytest.raises(TransientError):
        look()
    eye.fails = False
    eye.clock.wait(14.0)
    with pytest.raises(TransientError):
        look()
    eye.clock.wait(1.0)
    assert look() is eye.seen


def test_who_changes_the_world_looks_anew_also_after_a_look_that_failed() -> None:
    look, eye = silent()
    with pytest.raises(TransientError):
        look()
    eye.fails = False
    look.forget()
    assert look() is eye.seen


def test_what_was_seen_before_a_look_that_failed_is_not_shown_again() -> None:
    look, eye = silent()
    eye.fails, eye.takes_s = False, 0.1
    look()
    eye.clock.wait(POLL_S)
    eye.fails = True
    for _ in range(2):
        with pytest.raises(TransientError):
            look()
    assert len(eye.looks) == 2


def test_a_look_that_is_refused_is_told_to_nobody_else_so_that_a_token_that_is_renewed_fails_one_batch_only() -> None:
    look, eye = silent()
    eye.refused, eye.fails = BlockedError(Blocked("the token has expired")), False
    with pytest.raises(BlockedError, match="expired"):
        look()
    eye.refused = None
    assert look() is eye.seen


def test_after_a_while_in_which_nobody_could_look_a_new_series_begins() -> None:
    look, eye = silent()
    eye.fails, eye.takes_s = False, 1.0
    assert look().watched_since == 0.0
    eye.fails = True
    eye.clock.wait(POLL_S + BLIND_S)
    with pytest.raises(TransientError):
        look()
    eye.fails = False
    eye.clock.wait(POLL_S)
    again = eye.clock.now()
    assert look().watched_since == again
    eye.clock.wait(POLL_S)
    assert look().watched_since == again


def test_a_look_that_fails_and_one_that_takes_long_break_no_series() -> None:
    look, eye = silent()
    eye.fails, eye.takes_s = False, 2 * BLIND_S
    look()
    eye.fails, eye.takes_s = True, 1.0
    eye.clock.wait(2 * BLIND_S)
    with pytest.raises(TransientError):
        look()
    eye.fails = False
    eye.clock.wait(POLL_S)
    assert look().watched_since == 0.0


ASKED = st.tuples(st.floats(0, 200), st.floats(0, 300), st.booleans(), st.booleans())


@effort(deadline=None)
@given(st.lists(ASKED, max_size=30))
def test_looks_keep_their_distance_and_no_failure_is_told_for_longer_than_a_minute(
    asked: list[tuple[float, float, bool, bool]],
) -> None:
    look, eye = silent()
    due = 0.0
    for pause_s, takes_s, fails, changed in asked:
        eye.clock.wait(pause_s)
        eye.takes_s, eye.fails = takes_s, fails
        if changed:
            look.forget()
        now, before = eye.clock.now(), len(eye.looks)
        with suppress(TransientError):
            look()
        anew = len(eye.looks) > before
        assert anew is (changed or now >= due)
        if anew:
            began, ended = eye.looks[-1]
            due = ended + max(POLL_S, min(ended - began, LONGEST_UNSEEN_S) if fails else ended - began)
