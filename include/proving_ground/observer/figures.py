"""The figures of the report, from what was seen."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from proving_ground.observer.residue import Aws
    from proving_ground.observer.seen import Seen

ZERO = ("drift_after", "orphans", "residue", "pdb_violations")
"""The figures that must be 0 for a rotation to count as well done."""
NOTHING_LOST = ("machines_lost", "machines_on_it", "orphans", "residue", "pdb_violations")
"""The figures that must be 0 where an image was refused."""


class Figures(BaseModel):
    """One environment's line in the report. Times in seconds, or ISO 8601."""

    model_config = ConfigDict(frozen=True)

    environment: str
    cluster: str
    run_id: str
    target_image: str
    machines_rotated: int
    drift_before: int
    drift_after: int
    orphans: int
    residue: int
    pdb_violations: int
    min_available_pct: float
    unready_pod_seconds: float
    makespan_s: float
    bound_s: float
    started_at: str
    finished_at: str

    @property
    def good(self) -> bool:
        """Whether everything that must be 0 is 0."""
        return not any(getattr(self, name) for name in ZERO)


class Refusal(BaseModel):
    """What became of an image that is bad: nothing of what was there before may be lost to it."""

    model_config = ConfigDict(frozen=True)

    environment: str
    cluster: str
    run_id: str
    refused_image: str
    machines: int
    machines_lost: int
    machines_on_it: int
    orphans: int
    residue: int
    pdb_violations: int
    min_available_pct: float
    unready_pod_seconds: float
    started_at: str
    finished_at: str

    @property
    def good(self) -> bool:
        """Whether everything is as it was."""
        return not any(getattr(self, name) for name in NOTHING_LOST)


def refusal(seen: Seen, before: Aws, after: Aws, left: list[str], finished: dict[str, Any]) -> Refusal:
    """The figures of a rotation that was to end where it began; parameters as of :func:`figures`."""
    on_it = [i for i, instance in after.instances.items() if instance["ImageId"] == before.target_image]
    return Refusal(
        environment=finished["environment"],
        cluster=seen.cluster,
        run_id=finished["run_id"],
        refused_image=before.target_image,
        machines=len(before.instances),
        machines_lost=len(set(before.instances) - set(after.instances)),
        machines_on_it=len(on_it),
        orphans=len(after.orphans),
        residue=len(left),
        pdb_violations=len(seen.violations),
        min_available_pct=round(100 * seen.min_available, 1),
        unready_pod_seconds=round(seen.unready_pod_seconds, 1),
        started_at=_iso(seen.first_change or finished["at"]),
        finished_at=_iso(finished["at"]),
    )


def figures(seen: Seen, before: Aws, after: Aws, left: list[str], finished: dict[str, Any], bound_s: float) -> Figures:
    """Fold everything into the figures.

    :param left: the residue, one line each.
    :param finished: ``environment``, ``run_id`` and ``at`` (epoch seconds, when verify ended).
    :param bound_s: the shortest time possible, in seconds.
    """
    target, old = before.target_image, before.old
    started = seen.first_change or finished["at"]
    return Figures(
        environment=finished["environment"],
        cluster=seen.cluster,
        run_id=finished["run_id"],
        target_image=target,
        machines_rotated=len(old - set(after.instances)),
        drift_before=len(old),
        drift_after=sum(1 for instance in after.instances.values() if instance["ImageId"] != target),
        orphans=len(after.orphans),
        residue=len(left),
        pdb_violations=len(seen.violations),
        min_available_pct=round(100 * seen.min_available, 1),
        unready_pod_seconds=round(seen.unready_pod_seconds, 1),
        makespan_s=round(finished["at"] - started, 1),
        bound_s=round(bound_s, 1),
        started_at=_iso(started),
        finished_at=_iso(finished["at"]),
    )


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
