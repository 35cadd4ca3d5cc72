"""When a cluster may be touched: maintenance windows and blackout dates, in local time and safe over its shifts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from node_rotation.configuration.words import said
from node_rotation.model import Value

HORIZON = timedelta(days=400)
"""So far ahead the next opening is looked for: past any yearly blackout."""
MIDNIGHT = "24:00"
_CLOCK = re.compile(r"([01]?\d|2[0-3]):[0-5]\d|24:00")

Span = tuple[float, float]
"""From and to, epoch seconds; the end is not in it."""


class Day(StrEnum):
    """A day of the week, as YAML says it."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


def _clock(value: Any) -> Any:
    """With two digits for the hour. A number is none: 22 may be meant as hours, and 1320 as minutes."""
    if not isinstance(value, str) or not _CLOCK.fullmatch(value):
        raise ValueError(f'{said(value)} is no time of day: write it like "22:00"')
    return value.zfill(len(MIDNIGHT))


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{value!r} is no time zone: write one like Europe/Berlin, or UTC") from error
    return value


TimeOfDay = Annotated[
    str, BeforeValidator(_clock), WithJsonSchema({"type": "string", "pattern": _CLOCK.pattern, "examples": ["22:00"]})
]
Zone = Annotated[str, AfterValidator(_zone)]


class Window(Value):
    """Hours in which machines may be replaced; one that ends before it begins ends on the next day."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    days: tuple[Day, ...] = Field(default=tuple(Day), min_length=1, description="on which it begins; all by default")
    opens: TimeOfDay = Field(alias="from", description="local time, e.g. 22:00")
    closes: TimeOfDay = Field(alias="to", examples=["05:00"], description="local time, e.g. 05:00; 24:00 is midnight")
    zone: Zone = Field(
        default="UTC", examples=["Europe/Berlin"], description="e.g. Europe/Berlin; its shifts are followed"
    )

    @model_validator(mode="after")
    def _has_length(self) -> Window:
        if self.opens in (self.closes, MIDNIGHT):
            raise ValueError(
                f"a window from {self.opens} to {self.closes} can never open: "
                'give it an end other than its beginning, "00:00" to "24:00" for the whole day'
            )
        return self

    def __str__(self) -> str:
        """As the fleet file says it."""
        return f"{'/'.join(self.days)} {self.opens}-{self.closes} {self.zone}"


class Blackout(Value):
    """Dates on which nothing is touched, windows or not; both included."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    first: date = Field(alias="from", description="the first day, e.g. 2026-12-21")
    last: date = Field(alias="to", description="the last day, included")
    zone: Zone = Field(default="UTC", description="whose midnight counts, e.g. Europe/Berlin")

    @model_validator(mode="after")
    def _in_order(self) -> Blackout:
        if self.last < self.first:
            raise ValueError(f"a blackout from {self.first} to {self.last} ends before it begins")
        return self

    def __str__(self) -> str:
        """As the fleet file says it."""
        return f"{self.first} to {self.last} {self.zone}"


@dataclass(frozen=True, slots=True)
class Hours:
    """When one cluster may be touched. Without windows: always, but for blackouts."""

    windows: tuple[Window, ...] = ()
    blackouts: tuple[Blackout, ...] = ()


@dataclass(frozen=True, slots=True)
class Open:
    """It may be touched now, until ``closes_at`` (epoch seconds; None if that never comes)."""

    closes_at: float | None


@dataclass(frozen=True, slots=True)
class Closed:
    """It may not; ``opens_at`` is epoch seconds, None if no opening is in sight."""

    opens_at: float | None


def state(hours: Hours, now: float) -> Open | Closed:
    """Whether a cluster may be touched now, and until or from when.

    :param now: epoch seconds.
    """
    if not hours.windows and not hours.blackouts:
        return Open(None)
    for begin, end in spans(hours, now):
        if begin <= now < end:
            return Open(end if end < now + HORIZON.total_seconds() else None)
        if begin > now:
            return Closed(begin)
    return Closed(None)


def spans(hours: Hours, now: float) -> Iterator[Span]:
    """The times in which a cluster may be touched that end after now, in order, none touching the next.

    :param now: epoch seconds.
    """
    day = int(now // 86400)  # windows are laid out by the day: every look of that day shares them
    return ((begin, end) for begin, end in _laid_out(hours, day) if end > now)


def longest_s(windows: Sequence[Window]) -> float:
    """How long the windows stay open at a stretch at best, blackouts and clock changes aside, seconds; inf without.

    :param windows: of one cluster.
    """
    if not windows:
        return float("inf")
    start = datetime(2026, 1, 5, tzinfo=UTC).timestamp()  # a week that no zone's clock changes in
    found = _merged(span for window in windows for span in _of_window(window, start, start + 14 * 86400))
    return max(end - begin for begin, end in found)


def waits_for(hours: Hours, now: float, need_s: float = 0.0) -> str:
    """Why nothing that takes so long may begin now, in one line; "" if it may.

    :param now: epoch seconds.
    :param need_s: what is to be done takes about so long, seconds.
    """
    found = state(hours, now)
    if isinstance(found, Closed):
        until = (
            f"it opens at {_said(hours, found.opens_at)}" if found.opens_at is not None else "no opening is in sight"
        )
        return f"the maintenance window is closed: {until}"
    if found.closes_at is None or now + need_s <= found.closes_at:
        return ""
    return f"window closes at {_said(hours, found.closes_at)}, a batch takes about {need_s / 60:.0f} min"


def _said(hours: Hours, at: float) -> str:
    zones = (*(window.zone for window in hours.windows), *(blackout.zone for blackout in hours.blackouts))
    zone = next(iter(zones), "UTC")
    return f"{datetime.fromtimestamp(at, ZoneInfo(zone)):%Y-%m-%d %H:%M} {zone}"


@lru_cache(maxsize=64)
def _laid_out(hours: Hours, day: int) -> tuple[Span, ...]:
    since = float(day * 86400)
    until = since + HORIZON.total_seconds() + 86400
    allowed = [(since, until + 86400)] if not hours.windows else []
    allowed += [span for window in hours.windows for span in _of_window(window, since, until)]
    return tuple(_without(_merged(allowed), _merged(_of_blackout(one) for one in hours.blackouts)))


def _of_window(window: Window, since: float, until: float) -> Iterator[Span]:
    """A window's spans around a time.

    Where the clock jumps it opens late and closes early, never the other way: at every moment in it a clock on the
    wall of its zone shows a time in the window.
    """
    zone = ZoneInfo(window.zone)
    wanted = {tuple(Day).index(day) for day in window.days}
    first, last = (datetime.fromtimestamp(at, zone).date() for at in (since, until))
    for number in range(-2, (last - first).days + 1):
        day = first + timedelta(days=number)
        if day.weekday() in wanted:
            begin = max(_moments(day, window.opens, zone))
            ends_on = day if window.closes > window.opens else day + timedelta(days=1)
            end = min(_moments(ends_on, window.closes, zone))
            if begin < end:
                yield begin, end


def _of_blackout(blackout: Blackout) -> Span:
    zone = ZoneInfo(blackout.zone)
    return min(_moments(blackout.first, "00:00", zone)), max(_moments(blackout.last, MIDNIGHT, zone))


def _moments(day: date, clock: str, zone: ZoneInfo) -> tuple[float, float]:
    """When a clock on the wall shows this: twice where it is put back, around the gap where it is put forward."""
    if clock == MIDNIGHT:
        day, clock = day + timedelta(days=1), "00:00"
    wall = datetime.combine(day, time.fromisoformat(clock), zone)
    return wall.timestamp(), wall.replace(fold=1).timestamp()


def _merged(spans: Iterator[Span] | Sequence[Span]) -> list[Span]:
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return found


def _without(allowed: Sequence[Span], forbidden: Sequence[Span]) -> Iterator[Span]:
    for begin, end in allowed:
        at = begin
        for no_from, no_to in forbidden:
            if no_to <= at or no_from >= end:
                continue
            if at < no_from:
                yield at, no_from
            at = max(at, no_to)
        if at < end:
            yield at, end
