"""A batch that can't finish inside the window is not started; windows that no batch fits into are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.node_rotation.builders import Machine, plan, settings, world
from tests.node_rotation.crashes import after, rotate, run_for

from node_rotation import engine
from node_rotation.admission import Admit, Wait, decide
from node_rotation.errors import BadInputError
from node_rotation.testing.world import MemoryWorld

NIGHT = {"windows": [{"from": "22:00", "to": "05:00"}]}


def moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def ask(now: float, **policy: Any) -> Admit | Wait:
    told = settings(canary=False, gate={"settle": "15s"}, **policy)
    made = plan(told, world({"dev-workers": [Machine("i-1")]}))
    answer = decide(made, "workers/1", {}, told.groups, foreign={}, lock_held=True, now=now)
    assert isinstance(answer, Admit | Wait)
    return answer


def test_a_batch_starts_in_the_window_and_not_outside() -> None:
    assert ask(moment("2026-11-09 23:00"), **NIGHT) == Admit()
    assert ask(moment("2026-11-09 12:00"), **NIGHT) == Wait(
        ("the maintenance window is closed: it opens at 2026-11-09 22:00 UTC",)
    )


def test_a_batch_that_cannot_finish_inside_is_not_started() -> None:
    assert ask(moment("2026-11-10 04:54"), **NIGHT) == Admit()
    assert ask(moment("2026-11-10 04:57"), **NIGHT) == Wait(
        ("window closes at 2026-11-10 05:00 UTC, a batch takes about 5 min",)
    )


def test_a_reason_takes_a_run_outside() -> None:
    told = {**NIGHT, "outside_windows": "CVE-2026-1"}
    world_now = MemoryWorld.simple(2)
    assert run_for(world_now, **told).plan.notes[0] == (
        "maintenance windows and blackouts don't count for this run: CVE-2026-1"
    )


def test_nothing_is_touched_before_the_window_opens() -> None:
    world_now = MemoryWorld.simple(2)
    opens = {"windows": [{"from": "04:00", "to": "12:00"}]}
    events: list[engine.Event] = []
    result = engine.rotate(run_for(world_now, **opens), events.append)

    assert result.ok
    assert world_now.mutations[0].at >= moment("2026-11-09 04:00")
    assert after(world_now).old == 0
    (waits, *_) = [e.text for e in events if isinstance(e, engine.Note)]
    assert waits == "waits: the maintenance window is closed: it opens at 2026-11-09 04:00 UTC"


def test_a_window_that_closes_midway_holds_later_batches_until_it_opens_again() -> None:
    world_now = MemoryWorld.simple(4, boot=60.0)
    night = {"windows": [{"from": "00:00", "to": "02:07"}], "launch_timeout": "5m"}
    result = rotate(world_now, budget={"max_surge": 1}, **night)

    assert result.ok
    assert result.ended_at > moment("2026-11-10 00:00")


def test_interrupted_while_it_waits_it_has_touched_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world_now = MemoryWorld.simple(2)
    run = run_for(world_now, windows=[{"from": "12:00", "to": "13:00"}])

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(world_now.clock, "wait", interrupted)
    result = engine.rotate(run)
    assert result.blocked is not None
    assert "before it began" in result.blocked.reason
    assert world_now.mutations == []


def test_a_window_shorter_than_a_batch_is_refused_when_the_fleet_is_read() -> None:
    with pytest.raises(BadInputError, match="no batch of group workers would ever start: a batch takes about 5 min"):
        settings(windows=[{"from": "22:00", "to": "22:04"}])


def test_windows_of_a_single_group_are_refused() -> None:
    with pytest.raises(BadInputError, match="group workers of dev.dev: windows: differs from the cluster's"):
        settings([{"name": "workers", "policy": NIGHT}])


def test_switching_windows_off_for_good_is_refused() -> None:
    with pytest.raises(BadInputError, match="for a single run"):
        settings(outside_windows="never mind", **NIGHT)


def test_a_batch_of_many_machines_drains_side_by_side_and_fits_as_one_does() -> None:
    told = settings(
        budget={"max_surge": 100},
        canary=False,
        wait_between_drains="10m",
        windows=[{"from": "22:00", "to": "22:10"}],
    )
    made = plan(told, world({"dev-workers": [Machine(f"i-{n:03}") for n in range(100)]}))
    assert max(len(batch.machines) for batch in made.batches) > 1
    assert made.blockers == ()
