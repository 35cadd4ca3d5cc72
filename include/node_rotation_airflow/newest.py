"""Which run of a cluster is the newest: one that still waits gives way to it. Kept in an Airflow variable."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from pydantic import ValidationError

from node_rotation.fleet import Settings
from node_rotation.model import GroupPlan
from node_rotation_airflow.constants import ROTATE_NODES, WAIT_TASK
from node_rotation_airflow.documents import Document, Rotation

KEY = "node_rotation_newest_{cluster}"
TRIES = 5
LIVES = ["queued", "running"]
NEVER_BEGINS = frozenset({"failed", "skipped", "upstream_failed"})


class Aim(Document):
    """The image that a run brings a node group to.

    :param created: when the image was made.
    :param given: by its id: no newer one is meant.
    """

    group: str
    image: str
    created: datetime
    given: bool = False


class Waiter(Document):
    """A run that got as far as waiting for its turn.

    :param since: when it was made; clearing its tasks does not make it any newer.
    :param aims: one per node group of its plan.
    """

    run_id: str
    since: datetime
    aims: tuple[Aim, ...]


def supersedes(other: Waiter, mine: Waiter) -> bool:
    """Whether another run is newer, and brings all groups of mine to the same images or newer ones."""
    theirs = {aim.group: aim for aim in other.aims}
    newer = other.run_id != mine.run_id and other.since > mine.since
    return newer and all(_as_good(theirs.get(aim.group), aim) for aim in mine.aims)


def waiter(run_id: str, since: datetime, rotation: Rotation) -> Waiter:
    """What a run says of itself.

    :param since: when it was made.
    """
    aims = tuple(_aim(group, rotation.settings) for group in rotation.plan.groups)
    return Waiter(run_id=run_id, since=since, aims=aims)


def announce(cluster: str, mine: Waiter) -> None:
    """Say that this run is the newest of its cluster, if it is.

    A Variable knows no compare-and-swap: an older run that looked before may write after, so it is read once more.

    :param cluster: ``environment.cluster``.
    """
    for _ in range(TRIES):
        known = _read(cluster)
        if known is not None and (known == mine or _comes_after(known, mine)):
            return
        Variable.set(KEY.format(cluster=cluster), mine.model_dump_json(), "node-rotation: the newest run here")


def newer(cluster: str, mine: Waiter) -> str:
    """The run that takes the place of this one; "" if there is none. Blocks: call it off the event loop."""
    known = _read(cluster)
    return known.run_id if known is not None and supersedes(known, mine) and _goes_on(known.run_id) else ""


def _aim(group: GroupPlan, settings: Settings) -> Aim:
    image = group.target.image
    return Aim(
        group=group.name, image=image.id, created=image.created, given=bool(settings.groups[group.name].image.id)
    )


def _as_good(theirs: Aim | None, mine: Aim) -> bool:
    """Whether it is the same image, or a newer one where nobody named either."""
    if theirs is None or theirs.image == mine.image:
        return theirs is not None
    return theirs.created > mine.created and not (theirs.given or mine.given)


def _comes_after(known: Waiter, mine: Waiter) -> bool:
    return known.run_id != mine.run_id and known.since >= mine.since and _goes_on(known.run_id)


def _goes_on(run_id: str) -> bool:
    """Whether a run is neither over nor about to be, having ended as it waited; where Airflow can't say, it is not."""
    try:
        if not RuntimeTaskInstance.get_dr_count(ROTATE_NODES, run_ids=[run_id], states=LIVES):
            return False
        states = RuntimeTaskInstance.get_task_states(ROTATE_NODES, run_ids=[run_id], task_ids=[WAIT_TASK])
    except AirflowRuntimeError:
        return False
    return states.get(run_id, {}).get(WAIT_TASK) not in NEVER_BEGINS


def _read(cluster: str) -> Waiter | None:
    """What the newest run said of itself; one of a version that named no images counts for nothing."""
    text = Variable.get(KEY.format(cluster=cluster), default=None)
    try:
        return Waiter.model_validate_json(text) if text else None
    except ValidationError:
        return None
