"""What is going on in a cluster, read from its lock alone: wherever a run started, everybody sees it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum

from node_rotation import intake, lock
from node_rotation.ledger import Ledger
from node_rotation.model import Value
from node_rotation.world.kubernetes import Lease

AIRFLOW_RUNS = ("manual__", "scheduled__", "asset_triggered__", "backfill__")
SWEEP = "sweep "
CLI = "cli-"


class Place(StrEnum):
    """Where a run was started."""

    LAPTOP = "command line"
    AIRFLOW = "Airflow"
    LIBRARY = "library"


class Origin(Value):
    """Where a run was started, and by whom: ``user@host``, Airflow's run id, or the id a library call gave."""

    place: Place
    who: str


class Status(Value):
    """A run that holds a cluster; times are epoch seconds.

    :param holder: who holds the lock now: the run, or a sweep that took over.
    :param since: when it changed something first; None while it has not.
    :param dead_in_s: seconds until its silence counts as death; 0 once it does.
    :param shut: the intake that is closed meanwhile; empty if none is.
    :param batches: how many batches are in each state; those to come are not counted, the lock does not know them.
    """

    cluster: str
    holder: str
    run: str
    plan: str
    began: Origin
    since: float | None
    silent_s: float
    dead_in_s: float
    batches: Mapping[str, int]
    advice: str
    shut: str = ""

    @property
    def dead(self) -> bool:
        """Whether nobody is behind it any more."""
        return self.dead_in_s <= 0


def cli_run_id(moment: str, token: str, who: str) -> str:
    """The id of a run from the command line: unique, and says who started it.

    :param moment: the time as text.
    :param token: what nobody else has.
    :param who: ``user@host``.
    """
    return f"{CLI}{moment}-{token}-{who}"


def origin(run: str) -> Origin:
    """Where a run was started, by its id."""
    said = run.removeprefix(SWEEP)
    if said.startswith(CLI):
        *_, who = said.split("-", 3)
        return Origin(place=Place.LAPTOP, who=who)
    if said.startswith(AIRFLOW_RUNS):
        return Origin(place=Place.AIRFLOW, who=said)
    return Origin(place=Place.LIBRARY, who=said)


def status(cluster: str, lease: Lease, ledger: Ledger, now: float) -> Status:
    """Who holds a cluster, how far it is and what to do about it.

    :param cluster: ``environment.cluster``.
    :param now: epoch seconds.
    """
    silent_s = now - lease.renewed_at
    dead_in_s = 0.0 if lock.expired(lease, now) else lock.dead_after_s(lease.duration_s) - silent_s
    begun = [baseline.taken_at for baseline in ledger.groups.values()] + [claim.since for claim in ledger.claims]
    return Status(
        cluster=cluster,
        holder=lease.holder,
        run=ledger.run,
        plan=ledger.plan,
        began=origin(ledger.run),
        since=min(begun, default=None),
        silent_s=round(silent_s, 1),
        dead_in_s=round(dead_in_s, 1),
        batches=Counter(claim.state.value for claim in ledger.claims),
        advice=_advice(cluster, lease, silent_s, dead_in_s),
        shut=intake.shut(ledger),
    )


def _advice(cluster: str, lease: Lease, silent_s: float, dead_in_s: float) -> str:
    if dead_in_s <= 0:
        return (
            f"It is dead. node-rotation rotate {cluster} puts back what it left and does the rest; "
            f"node-rotation sweep {cluster} only puts back."
        )
    if silent_s > lease.duration_s / 2:
        return f"It has not been heard of for a while; if it stays silent it counts as dead in {dead_in_s:.0f} s."
    return "It is alive: let it finish."
