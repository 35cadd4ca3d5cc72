"""When a night begins, and for how long it is tonight. Imports nothing dear: every task parses its DAG file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAY = timedelta(days=1)
_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


class Night(NamedTuple):
    """The hour of the nightly check.

    A night is called by the date on which it begins in its zone.

    :param at: local time, ``HH:MM``.
    :param zone: e.g. ``Europe/Berlin``.
    """

    at: str = "01:00"
    zone: str = "UTC"

    def __str__(self) -> str:
        """As people say it."""
        return f"{self.at} {self.zone}"

    @property
    def cron(self) -> str:
        """As cron says it, in this zone."""
        hour, minute = self.at.split(":")
        return f"{int(minute)} {int(hour)} * * *"

    def begins(self, day: date) -> datetime:
        """When a night begins, in UTC.

        A time that comes twice counts the first time, one that is left out as soon as the clock has gone on: every
        date has one night.
        """
        return datetime.combine(day, time.fromisoformat(self.at), ZoneInfo(self.zone)).astimezone(UTC)

    def after(self, moment: datetime) -> datetime:
        """The first beginning after a moment, in UTC.

        :param moment: with its timezone.
        """
        return next(at for at in map(self.begins, self._around(moment)) if at > moment)

    def before(self, moment: datetime) -> datetime:
        """The last beginning before a moment, in UTC.

        :param moment: with its timezone.
        """
        return next(at for at in map(self.begins, reversed(self._around(moment))) if at < moment)

    def passed(self, day: date, now: datetime) -> bool:
        """Whether a night is over: the next one has begun, and its date has passed in UTC as well.

        Who posts an event calls tonight by the date in UTC, wherever the zone is.

        :param now: with its timezone.
        """
        return now >= self.begins(day + DAY) and day < now.astimezone(UTC).date()

    def to_come(self, day: date, now: datetime) -> bool:
        """Whether a date lies in the future, both in UTC and in the zone.

        :param now: with its timezone.
        """
        return day > max(now.astimezone(UTC).date(), now.astimezone(ZoneInfo(self.zone)).date())

    def _around(self, moment: datetime) -> tuple[date, ...]:
        here = moment.astimezone(ZoneInfo(self.zone)).date()
        return tuple(here + number * DAY for number in (-2, -1, 0, 1, 2))


def night_of(document: Any) -> Night:
    """The hour that a fleet file asks for; what is wrong with it is said by the first task.

    :param document: the file's, read but not validated.
    """
    said = document.get("night") if isinstance(document, Mapping) else None
    said = said if isinstance(said, Mapping) else {}
    at, zone = said.get("at", "01:00"), said.get("zone", "UTC")
    if isinstance(at, int) and at >= 60:  # YAML 1.1 reads 22:30 without quotes in base 60, from 1:00 on
        at = f"{at // 60:02}:{at % 60:02}"
    at = at.zfill(5) if isinstance(at, str) else at
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError):
        return Night()
    return Night(at, zone) if isinstance(at, str) and _CLOCK.fullmatch(at) else Night()
