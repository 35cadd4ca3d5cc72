"""Maintenance windows: by the clock on the wall, over its shifts, but for blackout dates."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pydantic import ValidationError

from node_rotation.clearance.windows import (
    Blackout,
    Closed,
    Day,
    Hours,
    Open,
    Window,
    longest_s,
    spans,
    state,
    waits_for,
)
from node_rotation.configuration import document

BERLIN = "Europe/Berlin"
NIGHTS = Window.model_validate({"from": "22:00", "to": "05:00", "zone": BERLIN})
HOUR_S = 3600.0


def window(**said: Any) -> Window:
    return Window.model_validate({"zone": BERLIN, **said})


def at(text: str, zone: str = BERLIN, *, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def test_a_night_opens_in_the_evening_and_closes_on_the_next_day():
    hours = Hours((NIGHTS,))
    assert state(hours, at("2026-11-09 21:59")) == Closed(at("2026-11-09 22:00"))
    assert state(hours, at("2026-11-09 22:00")) == Open(at("2026-11-10 05:00"))
    assert state(hours, at("2026-11-10 04:59")) == Open(at("2026-11-10 05:00"))
    assert state(hours, at("2026-11-10 05:00")) == Closed(at("2026-11-10 22:00"))


def test_a_day_is_the_one_on_which_the_window_begins():
    hours = Hours((window(days=["mon"], **{"from": "22:00", "to": "05:00"}),))
    assert isinstance(state(hours, at("2026-11-10 03:00")), Open)  # Tuesday morning
    assert state(hours, at("2026-11-09 03:00")) == Closed(at("2026-11-09 22:00"))  # Monday morning


def test_windows_that_touch_are_one():
    hours = Hours((window(**{"from": "00:00", "to": "24:00"}),))
    assert state(hours, at("2026-11-09 12:00")) == Open(None)
    late, early = window(**{"from": "22:00", "to": "24:00"}), window(**{"from": "00:00", "to": "02:00"})
    assert state(Hours((early, late)), at("2026-11-09 23:00")) == Open(at("2026-11-10 02:00"))


def test_without_windows_only_a_blackout_closes():
    christmas = Blackout.model_validate({"from": "2026-12-24", "to": "2026-12-26", "zone": BERLIN})
    assert state(Hours(), at("2026-12-25 12:00")) == Open(None)
    assert state(Hours((), (christmas,)), at("2026-12-23 12:00")) == Open(at("2026-12-24 00:00"))
    assert state(Hours((), (christmas,)), at("2026-12-26 23:59")) == Closed(at("2026-12-27 00:00"))


def test_a_blackout_cuts_a_window_short():
    eve = Blackout(first=date(2026, 12, 31), last=date(2026, 12, 31), zone=BERLIN)
    assert state(Hours((NIGHTS,), (eve,)), at("2026-12-30 23:00")) == Open(at("2026-12-31 00:00"))
    assert state(Hours((NIGHTS,), (eve,)), at("2026-12-31 23:00")) == Closed(at("2027-01-01 00:00"))


def test_the_night_the_clock_is_put_forward_is_an_hour_shorter_and_the_other_an_hour_longer():
    def length_s(evening: str) -> float:
        begin, end = next(iter(spans(Hours((NIGHTS,)), at(evening))))
        return end - begin

    assert length_s("2026-03-27 22:00") == 7 * HOUR_S
    assert length_s("2026-03-28 22:00") == 6 * HOUR_S
    assert length_s("2026-10-24 22:00") == 8 * HOUR_S


def test_an_hour_that_does_not_exist_tonight_opens_nothing():
    hours = Hours((window(**{"from": "02:00", "to": "03:00"}),))
    assert state(hours, at("2026-03-29 01:30")) == Closed(at("2026-03-30 02:00"))


def test_an_hour_that_comes_twice_opens_the_second_time():
    hours = Hours((window(**{"from": "02:00", "to": "04:00"}),))
    second = at("2026-10-25 02:00", fold=1)
    assert state(hours, at("2026-10-25 02:30")) == Closed(second)
    assert state(hours, second) == Open(at("2026-10-25 04:00"))


SHIFTS = [
    ("Europe/Berlin", "2026-03-29 01:00"),
    ("Europe/Berlin", "2026-10-25 01:00"),
    ("America/New_York", "2026-03-08 07:00"),
    ("America/New_York", "2026-11-01 06:00"),
    ("Australia/Lord_Howe", "2026-04-04 15:00"),  # half an hour
    ("America/Santiago", "2026-09-06 04:00"),  # at midnight
]
CLOCKS = st.builds(lambda hour, quarter: f"{hour:02}:{quarter * 15:02}", st.integers(0, 23), st.integers(0, 3))


def on_the_wall(rule: Window, moment: float) -> bool:
    """Whether a clock on the wall shows a time in the window: the definition, written down a second time."""
    wall = datetime.fromtimestamp(moment, ZoneInfo(rule.zone))
    now, night = f"{wall:%H:%M}", rule.opens >= rule.closes
    today, yesterday = (tuple(Day)[(wall - timedelta(days=back)).weekday()] in rule.days for back in (0, 1))
    if not night:
        return today and rule.opens <= now < rule.closes
    return (today and now >= rule.opens) or (yesterday and now < rule.closes)


@st.composite
def rules(draw: st.DrawFn, zone: str) -> Window:
    opens, closes = draw(CLOCKS), draw(CLOCKS)
    days = draw(st.sets(st.sampled_from(list(Day)), min_size=1))
    if opens == closes:
        opens, closes = "00:00", "24:00"
    return Window.model_validate({"days": sorted(days), "from": opens, "to": closes, "zone": zone})


@effort(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(SHIFTS), st.integers(-48 * 4, 48 * 4))
def test_around_a_shift_it_is_open_only_while_the_clock_on_the_wall_says_so(data, shift, quarters):
    zone, when = shift
    rule = data.draw(rules(zone))
    moment = at(when, "UTC") + quarters * 900.0
    found = state(Hours((rule,)), moment)
    if isinstance(found, Open):
        assert on_the_wall(rule, moment)
    else:  # closed: the wall disagrees only within the shift itself
        assert not on_the_wall(rule, moment) or abs(moment - at(when, "UTC")) <= 25 * HOUR_S


@effort(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from(SHIFTS), st.integers(-200, 200))
def test_what_it_announces_comes_true(data, shift, hours_away):
    zone, when = shift
    hours = Hours((data.draw(rules(zone)),))
    moment = at(when, "UTC") + hours_away * HOUR_S
    found = state(hours, moment)
    if isinstance(found, Closed):
        assert found.opens_at is not None
        assert found.opens_at > moment
        assert isinstance(state(hours, found.opens_at), Open)
        assert isinstance(state(hours, found.opens_at - 1), Closed)
    elif found.closes_at is not None:
        assert isinstance(state(hours, found.closes_at - 1), Open)
        assert isinstance(state(hours, found.closes_at), Closed)


def test_what_takes_longer_than_it_is_open_waits_for_the_next_time():
    hours = Hours((NIGHTS,))
    assert waits_for(hours, at("2026-11-10 04:00"), 3600.0) == ""
    assert waits_for(hours, at("2026-11-10 04:01"), 3600.0) == (
        "window closes at 2026-11-10 05:00 Europe/Berlin, a batch takes about 60 min"
    )
    assert waits_for(hours, at("2026-11-10 12:00")) == (
        "the maintenance window is closed: it opens at 2026-11-10 22:00 Europe/Berlin"
    )


def test_the_longest_stretch_counts_windows_that_touch_as_one():
    assert longest_s([NIGHTS]) == 7 * HOUR_S
    assert longest_s([NIGHTS, window(**{"from": "05:00", "to": "06:00"})]) == 8 * HOUR_S
    assert longest_s([]) == float("inf")


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"from": "22:00", "to": "22:00"}, "can never open"),
        ({"from": "24:00", "to": "05:00"}, "can never open"),
        ({"from": "22:00", "to": "05:00", "days": []}, "at least 1 item"),
        ({"from": "22:00", "to": "05:00", "zone": "Europe/Berlinn"}, "no time zone"),
        ({"from": "10pm", "to": "05:00"}, "no time of day"),
    ],
)
def test_a_window_that_can_never_open_is_refused(said, problem):
    with pytest.raises(ValidationError, match=problem):
        Window.model_validate(said)


def test_a_time_without_quotes_is_the_time_that_stands_there():
    found = window(**document.read("{from: 22:00, to: 5:00}"))

    assert found == NIGHTS.model_copy(update={"days": tuple(Day)})
    assert window(**document.read("{from: 0:30, to: 24:00}")).opens == "00:30"


@pytest.mark.parametrize("hour", ["22", "5", "0", "59", "2200", "0730", "-1:30"])
def test_an_hour_alone_is_no_time_of_day(hour):
    """As minutes, which YAML 1.1 makes of 22:00, from 22 to 5 would be open nearly all day."""
    with pytest.raises(ValidationError, match='is no time of day: write it like "22:00"'):
        window(**document.read(f"{{from: {hour}, to: 05:00}}"))


def test_a_blackout_that_ends_before_it_begins_is_refused():
    with pytest.raises(ValidationError, match="ends before it begins"):
        Blackout(first=date(2026, 12, 26), last=date(2026, 12, 24))


def test_a_blackout_without_end_in_sight_says_so():
    long = Blackout(first=date(2026, 1, 1), last=date(2029, 1, 1))
    assert waits_for(Hours((), (long,)), datetime(2026, 6, 1, tzinfo=UTC).timestamp()).endswith(
        "no opening is in sight"
    )
