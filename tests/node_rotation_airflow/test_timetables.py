"""Night × cluster: one partition per cluster in promotion order, a minute apart, backfillable."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pendulum
import pytest
from airflow.exceptions import InvalidPartitionKeyError
from airflow.timetables.base import TimeRestriction
from pendulum import DateTime

from node_rotation_airflow.nights import Night
from node_rotation_airflow.timetables import FleetTimetable

CLUSTERS = ["dev.one", "staging.one", "prod.eu-1"]


@pytest.fixture
def timetable() -> FleetTimetable:
    return FleetTimetable(CLUSTERS)


FIRST = pendulum.datetime(2026, 11, 8, tz="UTC")


def following(timetable: FleetTimetable, last: Any, catchup: bool = True, earliest: DateTime = FIRST) -> Any:
    restriction = TimeRestriction(earliest=earliest, latest=None, catchup=catchup)
    return timetable.next_dagrun_info_v2(last_dagrun_info=last, restriction=restriction)


def test_a_night_goes_through_the_clusters_and_then_comes_the_next(timetable: FleetTimetable) -> None:
    found, last = [], None
    for _ in range(4):
        last = following(timetable, last)
        found.append((last.partition_key, last.run_after.strftime("%d %H:%M")))

    assert found == [
        ("2026-11-08~dev.one", "08 01:00"),
        ("2026-11-08~staging.one", "08 01:01"),
        ("2026-11-08~prod.eu-1", "08 01:02"),
        ("2026-11-09~dev.one", "09 01:00"),
    ]


@pytest.mark.parametrize("key", ["tonight", "2026-11-08", "2026-11-08~", "~dev.one", "08.11.2026~dev.one"])
def test_a_run_by_hand_with_a_malformed_key_is_refused_with_an_example(timetable: FleetTimetable, key: str) -> None:
    with pytest.raises(InvalidPartitionKeyError, match=r"is no night and cluster. Write one like 20\d\d-"):
        timetable.resolve_partition_date(key)


def test_unpausing_it_the_first_time_waits_for_the_coming_night(timetable: FleetTimetable) -> None:
    info = following(timetable, None, catchup=False)

    assert info.partition_key.endswith("~dev.one")
    assert pendulum.duration() < info.run_after - pendulum.now("UTC") <= pendulum.duration(days=1)


@pytest.mark.parametrize("cluster", [0, 2])
def test_a_backfill_of_past_nights_does_not_start_tonight(timetable: FleetTimetable, cluster: int) -> None:
    earlier = pendulum.now("UTC").subtract(days=3)  # a night that began within the last hour is still to be started
    last = list(timetable.iter_partition_dagrun_infos(earliest=earlier.subtract(days=1), latest=earlier))[cluster]

    info = following(timetable, last, catchup=False)

    assert info.partition_key.endswith("~dev.one")
    assert info.run_after > pendulum.now("UTC")


@pytest.mark.parametrize(("ago", "goes_on"), [({"minutes": 90}, True), ({"hours": 5}, False)])
def test_a_night_that_has_begun_goes_on_for_a_while_whoever_held_it_up(ago: dict[str, int], goes_on: bool) -> None:
    """The first eight clusters give no answer, and their checks went on asking for half an hour each."""
    began = pendulum.now("UTC").start_of("minute").subtract(**ago)
    timetable = FleetTimetable([f"prod.eu-{number}" for number in range(20)], Night(began.strftime("%H:%M")))
    last = None
    for _ in range(8):
        last = following(timetable, last, earliest=began)

    info = following(timetable, last, catchup=False, earliest=began)

    tonight = f"{began:%Y-%m-%d}~prod.eu-8"
    assert (info.partition_key == tonight) is goes_on
    assert goes_on or info.run_after > pendulum.now("UTC")


def test_a_cluster_that_left_the_fleet_does_not_stop_the_nights(timetable: FleetTimetable) -> None:
    last = following(timetable, None)._replace(partition_key="2026-11-08~gone.one")

    assert following(timetable, last).partition_key == "2026-11-09~dev.one"


@pytest.mark.parametrize("hour", [0, 23])
def test_a_backfill_has_every_partition_once_in_order(timetable: FleetTimetable, hour: int) -> None:
    infos = list(
        timetable.iter_partition_dagrun_infos(
            earliest=datetime(2026, 11, 8, tzinfo=UTC), latest=datetime(2026, 11, 9, hour, tzinfo=UTC)
        )
    )

    assert [info.partition_key for info in infos] == [f"2026-11-0{day}~{c}" for day in (8, 9) for c in CLUSTERS]
    assert len({info.partition_date for info in infos}) == len(infos)


def test_it_survives_serialization(timetable: FleetTimetable) -> None:
    again = FleetTimetable.deserialize(timetable.serialize())

    assert again.serialize() == {"clusters": CLUSTERS, "at": "01:00", "zone": "UTC"}
    assert again.summary == "01:00 UTC, 3 clusters"


def test_a_fleet_without_clusters_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one cluster"):
        FleetTimetable([])


BERLIN = Night("02:30", "Europe/Berlin")


def test_the_hour_is_the_fleet_files_and_keys_are_its_zones_dates() -> None:
    timetable = FleetTimetable(CLUSTERS, Night("01:00", "Asia/Tokyo"))
    first = following(timetable, None)
    assert (first.partition_key, first.run_after) == ("2026-11-09~dev.one", pendulum.datetime(2026, 11, 8, 16))
    again = FleetTimetable.deserialize(timetable.serialize())
    assert following(again, first).partition_key == "2026-11-09~staging.one"
    assert again.summary == "01:00 Asia/Tokyo, 3 clusters"


@pytest.mark.parametrize(("night", "days"), [("2026-03-28", 3), ("2026-10-24", 3)])
def test_over_a_shift_of_the_clock_every_date_has_its_night_once(night: str, days: int) -> None:
    timetable = FleetTimetable(CLUSTERS, BERLIN)
    start = pendulum.parse(night)
    dates = [start.add(days=n).to_date_string() for n in range(days)]
    keys = [f"{day}~{cluster}" for day in dates for cluster in CLUSTERS]
    backfilled = timetable.iter_partition_dagrun_infos(earliest=start, latest=start.add(days=days - 1))
    assert [info.partition_key for info in backfilled] == keys

    scheduled, last = [], None
    for _ in keys:
        restriction = TimeRestriction(earliest=start, latest=None, catchup=True)
        last = timetable.next_dagrun_info_v2(last_dagrun_info=last, restriction=restriction)
        scheduled.append(last.partition_key)
    assert scheduled == keys


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
@pytest.mark.parametrize("at", ["00:00", "01:00", "23:30"])
def test_a_backfill_has_the_nights_of_its_dates_and_no_other(at: str, zone: str) -> None:
    timetable = FleetTimetable(["dev.one"], Night(at, zone))
    infos = timetable.iter_partition_dagrun_infos(
        earliest=datetime(2026, 11, 8, tzinfo=UTC), latest=datetime(2026, 11, 9, tzinfo=UTC)
    )
    assert [info.partition_key for info in infos] == ["2026-11-08~dev.one", "2026-11-09~dev.one"]


def test_who_moves_the_hour_has_no_night_twice_and_misses_none() -> None:
    last = following(FleetTimetable(["dev.one"]), None)
    assert last.partition_key == "2026-11-08~dev.one"
    for at in ("05:00", "00:30"):
        assert following(FleetTimetable(["dev.one"], Night(at)), last).partition_key == "2026-11-09~dev.one"
    assert following(FleetTimetable(["dev.one"], Night("23:00", "Asia/Tokyo")), last).partition_key.startswith(
        "2026-11-09"
    )


def test_a_timetable_that_an_older_version_wrote_down_is_read() -> None:
    again = FleetTimetable.deserialize({"clusters": CLUSTERS, "cron": "0 1 * * *"})
    assert again.serialize() == {"clusters": CLUSTERS, "at": "01:00", "zone": "UTC"}
