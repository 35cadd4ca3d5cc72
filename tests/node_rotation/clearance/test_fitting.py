"""A batch that can't finish inside the window is not started; windows that no batch fits into are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.node_rotation.builders import Machine, plan, pod, settings, world
from tests.node_rotation.crashes import after, rotate, run_for

from node_rotation import engine
from node_rotation.admission import Admit, Refuse, Wait, decide
from node_rotation.errors import BadInputError
from node_rotation.estimate import batch_s
from node_rotation.ledger import Claim
from node_rotation.testing.world import MemoryWorld

NIGHT = {"windows": [{"from": "22:00", "to": "05:00"}]}


def moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def ask(now: float, **policy: Any) -> Admit | Wait | Refuse:
    told = settings(canary=False, gate={"settle": "15s"}, **policy)
    made = plan(told, world({"dev-workers": [Machine("i-1")]}))
    return decide(made, "workers/1", {}, told.groups, foreign={}, lock_held=True, now=now)


def late(answer: Admit | Wait | Refuse) -> str:
    assert isinstance(answer, Refuse)
    assert answer.how == "later"
    return answer.reason


def test_a_batch_starts_in_the_window_and_not_outside() -> None:
    assert ask(moment("2026-11-09 23:00"), **NIGHT) == Admit()
    closed = ask(moment("2026-11-09 12:00"), **NIGHT)
    assert late(closed) == "the maintenance window is closed: it opens at 2026-11-09 22:00 UTC"


def test_a_batch_that_cannot_finish_inside_is_left_to_a_run_to_come() -> None:
    assert ask(moment("2026-11-10 04:54"), **NIGHT) == Admit()
    closing = ask(moment("2026-11-10 04:57"), **NIGHT)
    assert late(closing) == "window closes at 2026-11-10 05:00 UTC, a batch takes about 5 min"


def test_nor_does_one_whose_pods_go_one_by_one_until_it_closes() -> None:
    eleven = [pod(f"api-{n}", "node-i-1") for n in range(11)]
    told = settings(canary=False, drain={"wait_between_evictions": "1m"}, **NIGHT)
    made = plan(told, world({"dev-workers": [Machine("i-1")]}, pods=eleven))
    closing = moment("2026-11-10 04:54")
    answer = decide(made, "workers/1", {}, told.groups, foreign={}, lock_held=True, now=closing)
    assert late(answer) == "window closes at 2026-11-10 05:00 UTC, a batch takes about 15 min"


def test_who_comes_after_one_that_is_too_late_is_left_as_well() -> None:
    """Workers go after the masters: without them there is nothing to wait for."""
    master = {"name": "masters", "role": "control-plane", "policy": {"launch_timeout": "1h"}}
    told = settings([master, {"name": "workers"}], canary=False, **NIGHT)
    two = world({"dev-masters": [Machine("i-1")], "dev-workers": [Machine("i-2")]})
    made = plan(told, two)
    masters_s = batch_s(1, told.groups["masters"])
    workers_s = batch_s(1, told.groups["workers"])
    assert workers_s <= masters_s
    now = moment("2026-11-10 05:00") - masters_s + 1.0
    answer = decide(made, "workers/1", {}, told.groups, foreign={}, lock_held=True, now=now)
    assert "window closes" in late(answer)


def test_a_plan_that_takes_more_than_one_night_says_so() -> None:
    short = {"windows": [{"from": "22:00", "to": "22:10"}]}
    eight = world({"dev-workers": [Machine(f"i-{n}") for n in range(8)]})
    assert any("is left to a run to come" in note for note in plan(settings(**short), eight).notes)
    assert not any("is left to a run to come" in note for note in plan(settings(**NIGHT), eight).notes)


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


SHORT = {
    "windows": [{"from": "00:00", "to": "02:07"}],
    "launch_timeout": "5m",
    "budget": {"max_surge": 1},
    "intake": {"http": {"url": "http://installer", "close": {"path": "/close"}, "open": {"path": "/open"}}},
}
"""The world begins at two, and a batch takes about two minutes."""


def test_a_window_that_closes_midway_gives_everything_back_and_the_next_nights_run_goes_on() -> None:
    world_now = MemoryWorld.simple(4, boot=60.0)
    before = sizes(world_now)

    first = rotate(world_now, "night-1", **SHORT)

    assert (first.ok, first.failed, first.skipped, first.blocked) == (False, (), (), None)
    assert 0 < len(first.passed) < 4
    assert {why for _, why in first.postponed} == {"window closes at 2026-11-09 02:07 UTC, a batch takes about 5 min"}
    assert first.ended_at < moment("2026-11-09 02:30")
    found = after(world_now)
    assert found.clean
    assert found.old == len(first.postponed) == 4 - len(first.passed)
    assert (world_now.cluster.current_lease, world_now.outside.http.closed) == (None, False)
    assert sizes(world_now) == before

    second = rotate(world_now, "night-2", **SHORT)  # begun at once, it waits for its window by itself

    assert second.ok
    assert len(second.passed) == len(first.postponed)
    assert min(m.at for m in world_now.mutations if m.at > first.ended_at) >= moment("2026-11-10 00:00")
    assert (after(world_now).old, after(world_now).clean) == (0, True)


def sizes(world_now: MemoryWorld) -> tuple[Any, ...]:
    """Sizes and suspended processes of the group."""
    (group,) = world_now.cloud.groups([world_now.asg("workers")]).values()
    return group.min, group.max, group.desired, group.suspended


def test_what_is_in_flight_when_the_window_closes_is_finished_first() -> None:
    """The drain takes longer than anybody thought."""
    world_now = MemoryWorld.simple(4, boot=20.0, stops_after=900.0)
    result = rotate(world_now, **{**SHORT, "drain": {"timeout": "30m"}})

    assert len(result.passed) >= 1
    assert result.ended_at > moment("2026-11-09 02:07")
    assert result.failed == ()
    assert len(result.passed) + len(result.postponed) == 4
    assert after(world_now).clean


def test_a_run_that_is_held_by_a_failure_gives_back_when_the_window_closes() -> None:
    """Nobody clears a gate at night; Airflow's later batches ask on, and are told."""
    told = settings(canary=False, **NIGHT)
    made = plan(told, world({"dev-workers": [Machine("i-1"), Machine("i-2")]}))
    failed = Claim(batch="workers/1", group="workers", machines=("i-1",), strategy="surge", state="healed", since=0.0)
    answer = decide(
        made,
        "workers/2",
        {"workers/1": failed},
        told.groups,
        foreign={},
        lock_held=True,
        now=moment("2026-11-10 06:00"),
    )
    assert "is closed" in late(answer)


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
    with pytest.raises(BadInputError, match="group workers of dev.dev: windows: belongs to a whole cluster"):
        settings([{"name": "workers", "policy": NIGHT}])


def test_switching_windows_off_for_good_is_refused() -> None:
    with pytest.raises(BadInputError, match="for a single run"):
        settings(outside_windows="never mind", **NIGHT)


def test_pinning_for_good_is_refused() -> None:
    with pytest.raises(BadInputError, match="pin: would switch newer images off for good. Say it for a single run"):
        settings(pin=True)
    with pytest.raises(BadInputError, match="node group workers of dev.dev: pin: would switch"):
        settings([{"name": "workers", "policy": {"pin": True}}])


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
