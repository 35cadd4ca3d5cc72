"""Machines that a group is asked for and that are not there: where one goes first, each of them is unavailable."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from node_rotation.budget import shortage
from node_rotation.ledger import ClaimState, Ledger
from node_rotation.model import GroupPlan, Plan, Strategy
from node_rotation.steps.assignment import newcomers
from node_rotation.steps.scene import gone, staying
from node_rotation.world.aws import ScalingGroup
from node_rotation.world.snapshot import Snapshot


def absent(
    plan: Plan, group: GroupPlan, snapshot: Snapshot, ledger: Ledger, counted: Collection[str]
) -> Mapping[str, str]:
    """What counts against a group's budget although nobody is there to be NotReady.

    A machine of the plan that is gone without having been replaced, a canary's that failed say, is named by its own
    id: its batch may take it up again. Launch-first strategies take nothing away before somebody has come.

    :param counted: members that count already, on their way out perhaps.
    :returns: instance id, or which of how many → why it counts.
    """
    scaling = snapshot.groups.get(group.asg)
    if scaling is None or group.strategy is not Strategy.TERMINATE_FIRST:
        return {}
    here = staying(scaling)
    lacking = scaling.desired - len(here | set(counted)) - _awaited(ledger, group.name, scaling)
    if lacking < 1:
        return {}
    lost = _lost(plan, group.name, snapshot, ledger)[:lacking]
    nameless = [f"{n} of {scaling.desired}" for n in range(scaling.desired, scaling.desired - lacking + len(lost), -1)]
    why = shortage(scaling)
    return {**dict.fromkeys(lost, f"is gone ({why})"), **dict.fromkeys(nameless, f"is missing ({why})")}


def _awaited(ledger: Ledger, group: str, scaling: ScalingGroup) -> int:
    """Replacements that our claims wait for: they hold slots for them. Who has just come is to be one of these."""
    here, baseline = staying(scaling), ledger.groups.get(group)
    claims = [claim for claim in ledger.claims_of(group) if claim.open]
    waiting = {old for c in claims for old in c.machines if old not in here and c.replacements.get(old) not in here}
    came = newcomers(ledger, baseline, scaling, {}) if baseline is not None else ()
    return max(len(waiting) - len(came), 0)


def _lost(plan: Plan, group: str, snapshot: Snapshot, ledger: Ledger) -> list[str]:
    """Machines of batches that are yet to begin, or to begin again, and that are gone."""
    begun = {claim.batch for claim in ledger.claims if claim.state is not ClaimState.HEALED}
    batches = (batch for batch in plan.batches if batch.group == group and batch.name not in begun)
    ids = [machine.instance_id for batch in batches for machine in batch.machines]
    return [machine for machine in ids if gone(snapshot.instances.get(machine))]
