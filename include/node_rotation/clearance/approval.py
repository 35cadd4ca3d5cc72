"""Whether somebody has to approve a plan, and the plan as a table to decide on."""

from __future__ import annotations

from collections.abc import Iterator

from node_rotation import prices
from node_rotation.configuration.words import given
from node_rotation.model import Plan, Role
from node_rotation.policy import ApprovalPolicy


def needed(plan: Plan, policy: ApprovalPolicy) -> str:
    """Why somebody has to approve a plan; "" if nobody has to.

    :param plan: one without batches does nothing, so nobody is asked.
    """
    return "; ".join(_reasons(plan, policy)) if plan.batches else ""


def table(plan: Plan, why: str) -> str:
    """A plan as Markdown: what it does, group by group, what it takes, and what is worth knowing.

    :param why: why somebody has to approve it.
    """
    rows = [
        f"| {g.name} | {g.role} | {_count(plan, g.name)} of {g.size} | {g.slots} | {g.strategy} "
        f"| {_cell(g.target.image.name)} | {g.target.image.id} |"
        for g in plan.groups
    ]
    own = ["", f"With, on top of the fleet file: {', '.join(given(plan.overrides))}."] if plan.overrides else []
    notes = [f"- {_cell(note)}" for note in plan.notes]
    return "\n".join(
        [
            f"**{plan.environment}.{plan.cluster}**: {plan.machines} machines in {len(plan.batches)} batches, "
            f"about {plan.estimate.duration_s / 60:.0f} min, {prices.say_extra(plan.estimate)}. {_about(plan)}",
            "",
            f"Asked because {why}. Nothing is touched before it is approved.",
            *own,
            "",
            "| group | role | machines | at once | strategy | image | id |",
            "|---|---|---|---|---|---|---|",
            *rows,
            *(["", *notes] if notes else []),
        ]
    )


def asks_about(plan: Plan, question: str) -> bool:
    """Whether a question that was put once is about this plan.

    :param question: as :func:`table` made it.
    """
    return _about(plan) in question


def _about(plan: Plan) -> str:
    return f"Plan {plan.id}."


def _reasons(plan: Plan, policy: ApprovalPolicy) -> Iterator[str]:
    if policy.required:
        yield f"{plan.environment} asks for every rotation"
    if policy.above.control_plane and (masters := [g.name for g in plan.groups if g.role is Role.CONTROL_PLANE]):
        yield f"control planes are replaced: {', '.join(masters)}"
    share = policy.above.share
    if isinstance(share, int) and plan.machines > share:
        yield f"{plan.machines} machines are replaced, more than {share}"
    elif isinstance(share, str) and plan.machines * 100 > int(share[:-1]) * plan.cluster_machines:
        yield f"{plan.machines} of {plan.cluster_machines} machines are replaced, more than {share}"


def _count(plan: Plan, group: str) -> int:
    return sum(len(batch.machines) for batch in plan.batches if batch.group == group)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
