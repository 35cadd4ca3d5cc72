"""Partition keys: read, refused with what to write instead, and answered as of their night."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from node_rotation.errors import BadInputError
from node_rotation_airflow.nights import Night
from node_rotation_airflow.partitions import Partition, parse

NOW = datetime(2026, 11, 9, 14, 30, tzinfo=UTC)


def test_a_key_is_a_night_and_a_cluster() -> None:
    partition = parse("2026-11-08~prod.eu-1", NOW)

    assert partition == Partition(date(2026, 11, 8), "prod.eu-1")
    assert (partition.key, partition.environment) == ("2026-11-08~prod.eu-1", "prod")


def test_a_past_night_is_answered_as_of_its_check_and_tonight_as_it_is() -> None:
    assert parse("2026-11-08~dev.one", NOW).as_of(NOW) == datetime(2026, 11, 8, 1, tzinfo=UTC)
    assert parse("2026-11-09~dev.one", NOW).as_of(NOW) is None


def test_a_night_is_answered_as_of_the_hour_of_its_zone() -> None:
    tokyo = Night("22:00", "Asia/Tokyo")
    assert parse("2026-11-08~dev.one", NOW, tokyo).as_of(NOW, tokyo) == datetime(2026, 11, 8, 13, tzinfo=UTC)
    assert parse("2026-11-09~dev.one", NOW, tokyo).as_of(NOW, tokyo) is None


def test_a_night_that_begins_before_its_date_does_in_utc_is_no_night_to_come() -> None:
    now, tokyo = datetime(2026, 11, 9, 16, 0, 5, tzinfo=UTC), Night("01:00", "Asia/Tokyo")
    assert parse("2026-11-10~dev.one", now, tokyo).as_of(now, tokyo) is None


@pytest.mark.parametrize("key", ["", "dev.one", "2026-11-09", "2026-13-09~dev.one", "2026-11-09~", "2026-11-09~a~b"])
def test_a_malformed_key_is_refused_with_an_example(key: str) -> None:
    with pytest.raises(BadInputError, match=r"Write one like 2026-11-09~prod\.eu-1"):
        parse(key, NOW)


def test_a_night_to_come_can_not_be_answered() -> None:
    with pytest.raises(BadInputError, match="lies in the future"):
        parse("2026-11-10~dev.one", NOW)
