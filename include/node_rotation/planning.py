"""From drift to a plan: which machines, in which order, how many at once, and what stands in the way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from node_rotation import estimate as estimating
from node_rotation.budget import slots
from node_rotation.fleet import Settings
from node_rotation.model import Batch, GroupDrift, GroupPlan, Plan, PlannedMachine
from node_rotation.world import Snapshot


def make_plan(settings: Settings, drifts: Sequence[GroupDrift], snapshot: Snapshot, now: float) -> Plan:
    """Make the plan for one cluster; a pure function of its arguments.

    :param settings: the cluster with its merged policies; groups that a run left out have no drift here.
    :param drifts: what the drift check found, one per group.
    :param snapshot: the same observation.
    :param now: epoch seconds.
    """
    groups, batches = [], []
    for drift in drifts:
        policy, asg = settings.groups[drift.group], snapshot.groups[drift.asg]
        if drift.target is None or not drift.drifted:
            continue
        groups.append(
            GroupPlan(
                name=drift.group,
                asg=drift.asg,
                strategy=policy.strategy,
                image_step=policy.image_step,
                needs_image_step=drift.target.template is None,
                target=drift.target,
                slots=slots(policy.budget, policy.strategy, asg.desired),
                size=asg.desired,
            )
        )
        for number, m in enumerate(drift.drifted, 1):
            machine = PlannedMachine(**m.model_dump(include={"instance_id", "node", "zone", "image_id", "reasons"}))
            canary = not batches and policy.canary
            batches.append(
                Batch(name=f"{drift.group}/{number}", group=drift.group, machines=(machine,), canary=canary)
            )
    cluster_slots = settings.policy.budget.cluster_slots or sum(g.slots for g in groups)
    return Plan(
        id="0",
        environment=settings.environment,
        cluster=settings.cluster.name,
        created=datetime.fromtimestamp(now, UTC),
        groups=tuple(groups),
        batches=tuple(batches),
        slots=cluster_slots,
        estimate=estimating.estimate(groups, batches, settings.groups, cluster_slots=cluster_slots),
        blockers=tuple(b for drift in drifts for b in drift.blockers),
    )
