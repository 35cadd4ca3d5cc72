"""Partition keys ``<night>~<environment>.<cluster>``, e.g. ``2026-11-09~prod.eu-1``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

from node_rotation.errors import BadInputError
from node_rotation_airflow.nights import Night

SEPARATOR = "~"  # Airflow puts keys into run ids, which allow [A-Za-z0-9_.~:+-]
NIGHT_FORMAT = "%Y-%m-%d"
UTC_NIGHT = Night()


@dataclass(frozen=True, slots=True)
class Partition:
    """One night of one cluster; ``cluster`` is ``environment.cluster``."""

    night: date
    cluster: str

    @property
    def key(self) -> str:
        """As Airflow carries it."""
        return f"{self.night.strftime(NIGHT_FORMAT)}{SEPARATOR}{self.cluster}"

    @property
    def environment(self) -> str:
        """The cluster's environment."""
        return self.cluster.partition(".")[0]

    def as_of(self, now: datetime, night: Night = UTC_NIGHT) -> datetime | None:
        """The moment a past night is answered for; None for tonight: the world as it is.

        :param now: the present, with its timezone.
        :param night: when the nightly check runs: a past night is answered as of this hour.
        """
        return night.begins(self.night) if night.passed(self.night, now) else None


def parse(key: str, now: datetime, night: Night = UTC_NIGHT) -> Partition:
    """Read a partition key.

    :param key: e.g. ``2026-11-09~prod.eu-1``.
    :param now: the present, with its timezone: nights to come can't be answered.
    :param night: when nights begin.
    :raises BadInputError: if it is none.
    """
    partition = split(key, now)
    if night.to_come(partition.night, now):
        raise BadInputError(f"partition key {key!r}", "lies in the future.", "Give tonight or a past night.")
    return partition


def split(key: str, now: datetime) -> Partition:
    """Read a partition key, whether its night has come or not.

    :param key: e.g. ``2026-11-09~prod.eu-1``.
    :param now: the present, with its timezone, for an example.
    :raises BadInputError: if it is none.
    """
    date_said, separator, cluster = key.partition(SEPARATOR)
    try:
        partition = Partition(datetime.strptime(date_said, NIGHT_FORMAT).replace(tzinfo=UTC).date(), cluster)
    except ValueError:
        separator = ""
    if not separator or not cluster or SEPARATOR in cluster:
        example = Partition(now.astimezone(UTC).date(), "prod.eu-1").key
        raise BadInputError(f"partition key {key!r}", "is no night and cluster.", f"Write one like {example}.")
    return partition
