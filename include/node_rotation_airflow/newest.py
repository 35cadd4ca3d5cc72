"""Which run of a cluster is the newest: one that still waits gives way to it. Kept in an Airflow variable."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import Variable

from node_rotation_airflow.documents import Document, Rotation

KEY = "node_rotation_newest_{cluster}"
TRIES = 5


class Waiter(Document):
    """A run that got as far as waiting for its turn.

    :param since: when it was made; clearing its tasks does not make it any newer.
    :param groups: the node groups of its plan.
    """

    run_id: str
    since: datetime
    groups: tuple[str, ...]


def supersedes(other: Waiter, mine: Waiter) -> bool:
    """Whether another run does all that mine would do, and is newer."""
    return other.run_id != mine.run_id and other.since > mine.since and set(mine.groups) <= set(other.groups)


def waiter(run_id: str, since: datetime, rotation: Rotation) -> Waiter:
    """What a run says of itself.

    :param since: when it was made.
    """
    return Waiter(run_id=run_id, since=since, groups=tuple(group.name for group in rotation.plan.groups))


def announce(cluster: str, mine: Waiter) -> None:
    """Say that this run is the newest of its cluster, if it is.

    A Variable knows no compare-and-swap: an older run that looked before may write after, so it is read once more.

    :param cluster: ``environment.cluster``.
    """
    for _ in range(TRIES):
        known = _read(cluster)
        if known is not None and known.since >= mine.since:
            return
        Variable.set(KEY.format(cluster=cluster), mine.model_dump_json(), "node-rotation: the newest run here")


def newer(cluster: str, mine: Waiter) -> str:
    """The run that takes the place of this one; "" if there is none. Blocks: call it off the event loop."""
    known = _read(cluster)
    return known.run_id if known is not None and supersedes(known, mine) else ""


def _read(cluster: str) -> Waiter | None:
    text = Variable.get(KEY.format(cluster=cluster), default=None)
    return Waiter.model_validate_json(text) if text else None
