"""What was broken before a run, as its ledger keeps it: until it is well."""

from __future__ import annotations

from node_rotation.health import Baseline, baseline_of
from node_rotation.ledger import Ledger, Sickness
from node_rotation.world.snapshot import Snapshot


def found(snapshot: Snapshot) -> Sickness:
    """What is broken now, to be written down before anything changes."""
    now = baseline_of(snapshot)
    return Sickness(
        not_ready=tuple(sorted(now.not_ready)),
        unhealthy=dict(sorted(now.unhealthy.items())),
        broken_budgets=dict(sorted(now.broken_budgets.items())),
        unready_system_pods=tuple(sorted(now.unready_system_pods)),
    )


def before(sick: Sickness | None) -> Baseline:
    """What a gate leaves out as long as it gets no worse."""
    if sick is None:
        return Baseline()
    return Baseline(frozenset(sick.not_ready), sick.unhealthy, sick.broken_budgets, frozenset(sick.unready_system_pods))


def without_recovered(ledger: Ledger, snapshot: Snapshot) -> Ledger:
    """The same ledger without the workloads and budgets that are well by now: what they lack later is a regression.

    One that wants no pods, a paused autoscaler say, has not shown that it is well.
    """
    sick = ledger.sick
    if sick is None or not (sick.unhealthy or sick.broken_budgets):
        return ledger
    workloads = {w.key for w in snapshot.workloads if 0 < w.desired <= w.ready}
    budgets = {b.key for b in snapshot.budgets if b.expected and b.healthy >= b.desired_healthy}
    kept = {
        "unhealthy": {key: count for key, count in sick.unhealthy.items() if key not in workloads},
        "broken_budgets": {key: count for key, count in sick.broken_budgets.items() if key not in budgets},
    }
    return ledger.model_copy(update={"sick": sick.model_copy(update=kept)})
