"""The hour of the nightly check, in any zone, over the shifts of its clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from node_rotation_airflow.nights import Night, night_of

BERLIN = Night("02:30", "Europe/Berlin")
TOKYO = Night("01:00", "Asia/Tokyo")
LOS_ANGELES = Night("22:00", "America/Los_Angeles")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("night", "day", "begins"),
    [
        (Night(), "2026-11-09", "2026-11-09 01:00"),
        (TOKYO, "2026-11-09", "2026-11-08 16:00"),
        (LOS_ANGELES, "2026-11-09", "2026-11-10 06:00"),
        (BERLIN, "2026-03-28", "2026-03-28 01:30"),
        (BERLIN, "2026-03-29", "2026-03-29 01:30"),  # 02:30 is left out: 03:30
        (BERLIN, "2026-03-30", "2026-03-30 00:30"),
        (BERLIN, "2026-10-25", "2026-10-25 00:30"),  # 02:30 comes twice: the first
        (BERLIN, "2026-10-26", "2026-10-26 01:30"),
    ],
)
def test_every_date_has_one_night(night: Night, day: str, begins: str) -> None:
    assert night.begins(date.fromisoformat(day)) == utc(begins)


@pytest.mark.parametrize("night", [Night(), BERLIN, TOKYO, LOS_ANGELES, Night("00:00", "Pacific/Auckland")])
def test_from_night_to_night_none_is_left_out_and_none_comes_twice(night: Night) -> None:
    at, days = night.begins(date(2026, 1, 1)), []
    for _ in range(400):
        nearly = at - timedelta(minutes=1)
        assert night.after(nearly) == at
        following = night.after(at)
        assert night.before(following) == at
        days.append(following)
        at = following
    assert days == [night.begins(date(2026, 1, 2) + timedelta(days=n)) for n in range(400)]


@pytest.mark.parametrize("minute", range(0, 180, 7))
def test_while_an_hour_comes_twice_the_next_night_is_tomorrows(minute: int) -> None:
    now = utc("2026-10-25 00:31") + timedelta(minutes=minute)
    assert BERLIN.after(now) == utc("2026-10-26 01:30")


@pytest.mark.parametrize(
    ("night", "day", "now", "passed", "to_come"),
    [
        (Night(), "2026-11-09", "2026-11-09 14:30", False, False),
        (Night(), "2026-11-08", "2026-11-09 14:30", True, False),
        (Night(), "2026-11-10", "2026-11-09 14:30", False, True),
        (TOKYO, "2026-11-10", "2026-11-09 16:00", False, False),  # it begins now: by UTC, the day before
        (TOKYO, "2026-11-09", "2026-11-09 17:00", False, False),  # whoever posts an event calls it by UTC
        (TOKYO, "2026-11-08", "2026-11-09 17:00", True, False),
        (LOS_ANGELES, "2026-11-09", "2026-11-10 06:00", False, False),  # it begins now: by UTC, the day after
        (LOS_ANGELES, "2026-11-09", "2026-11-10 18:00", False, False),  # until the next one begins
        (LOS_ANGELES, "2026-11-09", "2026-11-11 06:00", True, False),
        (LOS_ANGELES, "2026-11-10", "2026-11-10 02:00", False, False),  # by UTC it is the 10th already
    ],
)
def test_a_night_is_tonight_until_the_next_begins(
    night: Night, day: str, now: str, passed: bool, to_come: bool
) -> None:
    when = date.fromisoformat(day)
    assert (night.passed(when, utc(now)), night.to_come(when, utc(now))) == (passed, to_come)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (None, Night()),
        ({"at": "22:30", "zone": "Europe/Berlin"}, Night("22:30", "Europe/Berlin")),
        ({"at": 22 * 60 + 30}, Night("22:30")),
        ({"at": "0:30"}, Night("00:30")),
        ({"at": 3}, Night()),
        ({"zone": "Asia/Tokyo"}, TOKYO),
        ({"at": "half past ten"}, Night()),
        ({"at": "24:00"}, Night()),
        ({"at": True}, Night()),
        ({"zone": "Berlin"}, Night()),
        ({"zone": 3}, Night()),
        ("22:30", Night()),
    ],
)
def test_what_the_fleet_file_says_wrong_is_left_to_the_first_task(said: Any, found: Night) -> None:
    assert night_of({"night": said}) == found
    assert night_of(said if isinstance(said, str) else [said]) == Night()
