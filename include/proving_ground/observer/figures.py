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


def bound(constants: dict[str, float], machines: int) -> float:
    """The shortest time that the scenario's constants allow, with a canary first.

    :param constants: ``boot``, ``drain``, ``gate`` in seconds and ``slots``.
    :param machines: how many are to be replaced.
    """
    if not machines:
        return 0.0
    one = constants["boot"] + constants["drain"] + constants["gate"]
    return one + (machines - 1) * one / constants["slots"]


def figures(
    seen: Seen, before: Aws, after: Aws, left: list[str], finished: dict[str, Any], constants: dict[str, float]
) -> Figures:
    """Fold everything into the figures.

    :param left: the residue, one line each.
    :param finished: ``environment``, ``run_id`` and ``at`` (epoch seconds, when verify ended).
    """
    target = before.target_image
    old = {i for i, instance in before.instances.items() if instance["ImageId"] != target}
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
        bound_s=round(bound(constants, len(old)), 1),
        started_at=_iso(started),
        finished_at=_iso(finished["at"]),
    )


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
