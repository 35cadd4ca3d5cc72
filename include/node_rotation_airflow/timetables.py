"""A timetable whose every night has one partition per cluster, in promotion order, a minute apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pendulum
from airflow.exceptions import InvalidPartitionKeyError
from airflow.timetables.base import DagRunInfo
from airflow.timetables.trigger import CronPartitionTimetable

from node_rotation.errors import BadInputError
from node_rotation_airflow.nights import Night
from node_rotation_airflow.partitions import NIGHT_FORMAT, SEPARATOR, split

if TYPE_CHECKING:
    from airflow.timetables.base import TimeRestriction
    from pendulum import DateTime

UTC_NIGHT = Night()
STAGGER = timedelta(minutes=1)
"""A backfill takes runs with the same partition date for one and the same, so no two share theirs."""
LATE = timedelta(hours=1)
"""A scheduler that was away for less makes up for a night; later, rotations would begin in working hours."""
LASTS = timedelta(hours=4)
"""So long a night that has begun goes on: clusters that give no answer keep those behind them waiting."""


class FleetTimetable(CronPartitionTimetable):
    """Night × cluster.

    :param clusters: ``environment.cluster`` names in promotion order.
    :param night: when a night begins.
    """

    def __init__(self, clusters: Sequence[str], night: Night = UTC_NIGHT) -> None:
        if not clusters:
            raise ValueError("a fleet timetable needs at least one cluster")
        super().__init__(night.cron, timezone=night.zone, key_format=NIGHT_FORMAT)
        self._clusters, self._night = tuple(clusters), night

    @property
    def summary(self) -> str:
        """What the UI shows as the schedule."""
        return f"{self._night}, {len(self._clusters)} clusters"

    def serialize(self) -> dict[str, Any]:
        """What :meth:`deserialize` needs."""
        return {"clusters": list(self._clusters), **self._night._asdict()}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> FleetTimetable:
        """Make it again from :meth:`serialize`."""
        return cls(data["clusters"], Night(**{key: data[key] for key in Night._fields if key in data}))

    def iter_partition_dagrun_infos(self, *, earliest: datetime, latest: datetime) -> Iterable[DagRunInfo]:
        """Every partition of a backfill: night by night, and in each night cluster by cluster.

        A last date without a time of day (midnight) means that day's night too.
        """
        if latest.time() == time.min:
            latest += timedelta(days=1, microseconds=-1)
        for night in super().iter_partition_dagrun_infos(earliest=earliest, latest=latest):
            if night.partition_date is not None:
                yield from self._partitions(night.partition_date)

    def next_dagrun_info_v2(
        self, *, last_dagrun_info: DagRunInfo | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """Return the night's next cluster, or the first of the next night.

        Who unpauses the DAG in the afternoon, or backfills past nights, does not mean last night, nor rotations at
        once: without catchup, no night is made up for that began long ago. (Airflow goes on from a backfill's runs
        as from scheduled ones.)
        """
        last = last_dagrun_info
        if last is None and not restriction.catchup:
            return self._coming(last, restriction)
        info = self._after(last, restriction)
        late = info is not None and pendulum.now("UTC") - info.run_after > (LASTS if _one_night(last, info) else LATE)
        return self._coming(last, restriction) if late and not restriction.catchup else info

    def _after(self, last: DagRunInfo | None, restriction: TimeRestriction) -> DagRunInfo | None:
        position = self._position(last)
        if last is not None and last.partition_date is not None and position is not None:
            night = last.partition_date - position * STAGGER
            if position + 1 < len(self._clusters):
                return list(self._partitions(night))[position + 1]
            last = last._replace(run_after=night)
        info = super().next_dagrun_info_v2(last_dagrun_info=last, restriction=restriction)
        return self._first(info.partition_date, last, restriction) if info and info.partition_date else None

    def _coming(self, last: DagRunInfo | None, restriction: TimeRestriction) -> DagRunInfo | None:
        moment = max(pendulum.now("UTC"), restriction.earliest or pendulum.now("UTC"))
        return self._first(self._align_to_next(moment), last, restriction)

    def _first(self, night: DateTime, last: DagRunInfo | None, restriction: TimeRestriction) -> DagRunInfo | None:
        """A night's first cluster. One that has been already, at another hour, is not taken twice."""
        been = last.partition_key.partition(SEPARATOR)[0] if last is not None and last.partition_key else ""
        while self._format_key(night) <= been:
            night = self._get_next(night)
        ended = restriction.latest is not None and restriction.latest < night
        return None if ended else next(self._partitions(night))

    def _get_next(self, current: DateTime) -> DateTime:
        """As Airflow's own, which repeats a night while its hour comes twice."""
        return pendulum.instance(self._night.after(current))

    def _get_prev(self, current: DateTime) -> DateTime:
        return pendulum.instance(self._night.before(current))

    def _partitions(self, night: DateTime) -> Iterator[DagRunInfo]:
        key = self._format_key(night)
        for number, cluster in enumerate(self._clusters):
            moment = night + number * STAGGER
            yield DagRunInfo(
                run_after=moment,
                data_interval=None,
                partition_date=moment,
                partition_key=f"{key}{SEPARATOR}{cluster}",
            )

    def _position(self, last: DagRunInfo | None) -> int | None:
        if last is None or not last.partition_key:
            return None
        cluster = last.partition_key.partition(SEPARATOR)[2]
        return self._clusters.index(cluster) if cluster in self._clusters else None

    def _decode_partition_date(self, partition_key: str) -> datetime:
        """The night of a key; one that is none is refused with an example where a run is asked for by hand."""
        try:
            split(partition_key, pendulum.now("UTC"))
        except BadInputError as error:
            raise InvalidPartitionKeyError(str(error)) from error
        return super()._decode_partition_date(partition_key.partition(SEPARATOR)[0])


def _one_night(last: DagRunInfo | None, info: DagRunInfo) -> bool:
    """Whether a run goes on with the night of the one before it."""
    keys = [one.partition_key for one in (last, info) if one is not None and one.partition_key]
    return len({key.partition(SEPARATOR)[0] for key in keys}) < len(keys)
