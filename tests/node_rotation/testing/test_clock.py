"""Time passes only when somebody waits, and what is due happens in order."""

from __future__ import annotations

from node_rotation.testing.clock import VirtualClock


def test_waiting_runs_what_is_due_each_at_its_own_instant():
    clock, seen = VirtualClock(start=100.0), []
    clock.after(5, lambda: seen.append(("late", clock.now())))
    clock.after(2, lambda: seen.append(("early", clock.now())))
    clock.after(20, lambda: seen.append(("never", clock.now())))

    clock.wait(10)

    assert seen == [("early", 102.0), ("late", 105.0)]
    assert clock.now() == 110.0


def test_events_of_one_instant_run_in_the_order_they_were_asked_for():
    clock, seen = VirtualClock(), []
    for name in "abc":
        clock.after(1, lambda name=name: seen.append(name))

    clock.wait(1)

    assert seen == ["a", "b", "c"]


def test_an_event_may_ask_for_another_one_that_is_due_in_the_same_wait():
    clock, seen = VirtualClock(start=0.0), []
    clock.after(1, lambda: clock.after(1, lambda: seen.append(clock.now())))

    clock.wait(3)

    assert seen == [2.0]


def test_a_cancelled_event_does_not_happen():
    clock, seen = VirtualClock(), []
    clock.after(1, lambda: seen.append("no")).cancel()

    clock.wait(5)

    assert seen == []


def test_run_until_stops_at_the_event_that_makes_it_true():
    clock, seen = VirtualClock(start=0.0), []
    for second in range(1, 10):
        clock.after(second, lambda second=second: seen.append(second))

    assert clock.run_until(lambda: 4 in seen, limit_s=100)
    assert clock.now() == 4.0


def test_run_until_gives_up_at_its_limit():
    clock = VirtualClock(start=0.0)
    clock.after(50, lambda: None)

    assert not clock.run_until(lambda: False, limit_s=10)
    assert clock.now() == 10.0


def test_an_event_that_waits_itself_does_not_turn_time_back():
    clock, seen = VirtualClock(start=0.0), []
    clock.after(1, lambda: clock.wait(10))
    clock.after(5, lambda: seen.append(clock.now()))

    clock.wait(3)

    assert seen == [5.0]
    assert clock.now() == 11.0
