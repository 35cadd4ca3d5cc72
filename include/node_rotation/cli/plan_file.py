"""A plan that was made earlier: read it, and carry out exactly it or refuse."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from node_rotation.configuration.complaint import explain
from node_rotation.errors import BadInputError, BlockedError
from node_rotation.fleet import Settings
from node_rotation.managed.planning import managed_plan
from node_rotation.model import (
    PLAN_SCHEMA_VERSION,
    Batch,
    GroupDrift,
    GroupPlan,
    ManagedPlan,
    Plan,
    Target,
    TemplateVersion,
)
from node_rotation.outcome import Blocked
from node_rotation.planning import cluster_slots, group_slots, make_plan
from node_rotation.world.snapshot import Snapshot


def read(path: Path) -> Plan:
    """Read a plan.

    :param path: a file that ``plan --output json`` wrote; ``-`` is stdin.
    :raises BadInputError: if it is no plan, or one of a newer schema.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
        data = json.loads(text)
    except OSError as error:
        raise BadInputError(str(path), f"can't be read: {error.strerror}.", "Give the path of a plan.") from error
    except ValueError as error:
        raise BadInputError(str(path), "is not JSON.", "Make it with: node-rotation -o json plan CLUSTER.") from error
    _check_version(path, data)
    try:
        return Plan.model_validate(data)
    except ValidationError as error:
        where, problem, _ = explain(error, data, Plan)
        remedy = "Make the plan again; docs/plan.schema.json describes it."
        raise BadInputError(f"{path}: {where}", problem, remedy) from error


def _check_version(path: Path, data: Any) -> None:
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, int):
        remedy = "Make one with: node-rotation -o json plan CLUSTER."
        raise BadInputError(f"{path}: schema_version", "is missing: this is no plan.", remedy)
    if version > PLAN_SCHEMA_VERSION:
        raise BadInputError(
            f"{path}: schema_version",
            f"this plan has schema {version}, this node-rotation reads up to {PLAN_SCHEMA_VERSION}.",
            "Upgrade node-rotation, or make the plan again with this one.",
        )


def completed(plan: Plan, layer: Mapping[str, Any], options: Sequence[str]) -> Plan:
    """A plan with what it was made with: one of schema 1 does not have that, so it is said again beside it.

    :param layer: what was said beside the plan, ``mode`` apart.
    :param options: the options that said it, as typed, e.g. ``--strategy``.
    :raises BadInputError: if the plan has its own; names the options.
    """
    if not options:
        return plan
    if plan.schema_version > 1:
        said = f"{' and '.join(options)} {'belongs' if len(options) == 1 else 'belong'} to the plan."
        raise BadInputError("--plan", said, "Make one with that, look at it, and carry it out.")
    return plan.model_copy(update={"schema_version": PLAN_SCHEMA_VERSION, "overrides": dict(layer)})


def accept(plan: Plan, settings: Settings, drifts: Sequence[GroupDrift], snapshot: Snapshot) -> Plan:
    """What is left of a plan: machines that are gone, or right by now, count as done. It is blocked by what blocks now.

    :param plan: as it was made.
    :param settings: the cluster as the fleet file has it now, the run's policy on top.
    :param drifts: the plan's groups as they are now.
    :param snapshot: the same observation.
    :raises BadInputError: if the plan is for another cluster or names a group that is not there.
    :raises BlockedError: if a target, a budget, a template or what EKS would do changed, or a machine was added.
    """
    if (plan.environment, plan.cluster) != (settings.environment, settings.cluster.name):
        made_for = f"{plan.environment}.{plan.cluster}"
        remedy = f"Rotate {made_for} with it, or make one for {settings.name}."
        raise BadInputError("--plan", f"this plan is for {made_for}, not for {settings.name}.", remedy)
    found = {drift.group: drift for drift in drifts}
    changes = [
        change
        for group in plan.groups
        for change in (
            *_changes(plan, group, settings, found[group.name]),
            *_budget_changes(group, settings, found[group.name].asg, snapshot),
        )
    ]
    total = cluster_slots(settings, plan.groups)
    if total != plan.slots:
        changes.append(f"the budget of {settings.name} allows {total} at once, planned were {plan.slots}")
    if changes:
        raise BlockedError(
            Blocked(
                f"the plan {plan.id} no longer fits {settings.name}: {'; '.join(changes)}",
                (f"cluster {settings.name}",),
                "Make a new plan and look at it.",
            )
        )
    drifted = frozenset(m.instance_id for drift in drifts for m in drift.drifted)
    fresh = make_plan(settings, drifts, snapshot, snapshot.taken_at, planned=[group.name for group in plan.groups])
    # Counted anew: what the share of machines is that needs approval, a file that anybody can edit must not say.
    counted = {"cluster_machines": fresh.cluster_machines, "blockers": fresh.blockers}
    return plan.model_copy(update={"batches": tuple(_left(plan.batches, drifted)), **counted})


def groups_of(plan: Plan, settings: Settings) -> tuple[str, ...]:
    """The plan's groups, as the fleet file knows them.

    :raises BadInputError: if it names one that is not there (any more).
    """
    for group in plan.groups:
        if group.name not in settings.groups:
            raise BadInputError("--plan", f"{settings.name} has no node group {group.name!r}.", "Make a new plan.")
    return tuple(group.name for group in plan.groups)


def _changes(plan: Plan, group: GroupPlan, settings: Settings, now: GroupDrift) -> Iterator[str]:
    policy = settings.groups[group.name]
    if now.target is None:
        if not now.blockers:  # else they say why, and what to do
            yield f"group {group.name} has no target any more"
    elif now.target.image.id != group.target.image.id:
        yield f"the target of group {group.name} is {now.target.image.id}, planned was {group.target.image.id}"
    else:
        yield from _template_changes(group, now.target)
    role = next(one.role for one in settings.cluster.groups if one.name == group.name)
    if role is not group.role:
        yield f"the role of group {group.name} is {role}, planned was {group.role}"
    if policy.strategy != group.strategy:
        yield f"the strategy of group {group.name} is {policy.strategy}, planned was {group.strategy}"
    planned_ids = {m.instance_id for batch in plan.batches for m in batch.machines}
    added = sorted(m.instance_id for m in now.drifted if m.instance_id not in planned_ids)
    if added:
        yield f"machines of group {group.name} that the plan does not know: {', '.join(added)}"


def _template_changes(group: GroupPlan, now: Target) -> Iterator[str]:
    """Also of a version that the image step is to start from; that the step has been done meanwhile is no change."""
    own = group.target.template is not None
    planned, current = (group.target.template, now.template) if own else (group.target.based_on, now.based_on)
    done = now.template is not None and group.target.template is None
    if planned is not None and planned != current and not done:
        yield f"the template of group {group.name} is {_say(current)}, planned was {_say(planned)}"


def _budget_changes(group: GroupPlan, settings: Settings, asg: str, snapshot: Snapshot) -> Iterator[str]:
    """By the size that the group had when it was planned: machines that are gone by now change no percentage."""
    if asg not in snapshot.groups:
        return
    scaling, policy = replace(snapshot.groups[asg], desired=group.size), settings.groups[group.name]
    if group.managed is not None:
        if asg in snapshot.managed:
            now = managed_plan(snapshot.managed[asg], scaling, policy)
            yield from _managed_changes(group.name, group.managed, now)
        return
    allowed = group_slots(group.role, policy, scaling)
    if allowed != group.slots:
        yield f"the budget of group {group.name} allows {allowed} at once, planned were {group.slots}"


def _managed_changes(name: str, planned: ManagedPlan, now: ManagedPlan) -> Iterator[str]:
    """What EKS would do otherwise than somebody saw: its update configuration changed, or drain.force_after.

    :param name: the node group's in the fleet.
    """
    if now.at_once != planned.at_once:
        yield f"EKS takes {now.at_once} machines of group {name} away at once, planned were {planned.at_once}"
    if now.extra != planned.extra:
        yield f"EKS adds {now.extra} machines to group {name}, planned were {planned.extra}"
    if now.force != planned.force:
        may, might = ("may", "may not") if now.force else ("may not", "may")
        yield f"EKS {may} delete pods of group {name} that don't leave in 15 minutes, planned was that it {might}"


def _say(template: TemplateVersion | None) -> str:
    return f"{template.name} version {template.version}".strip() if template else "none that launches it"


def _left(batches: Sequence[Batch], drifted: frozenset[str]) -> Iterator[Batch]:
    """The batches that still have machines; where the canary has none any more, the next one is the canary."""
    canary = False
    for batch in batches:
        canary = canary or batch.canary
        machines = tuple(m for m in batch.machines if m.instance_id in drifted)
        if machines:
            yield batch.model_copy(update={"machines": machines, "canary": canary})
            canary = False
