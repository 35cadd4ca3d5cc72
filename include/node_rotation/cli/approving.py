"""Approval on a terminal: asked where a plan's policy asks for it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from node_rotation.clearance.approval import needed
from node_rotation.cli import session
from node_rotation.errors import BlockedError
from node_rotation.model import Plan
from node_rotation.outcome import Blocked
from node_rotation.policy import ApprovalPolicy

if TYPE_CHECKING:
    from rich.console import Console


def approve(plan: Plan, policy: ApprovalPolicy, out: Console, *, yes: bool) -> str | None:
    """Have the plan that was just shown approved.

    :param yes: it is already (``--yes``).
    :returns: who approved it; None if nobody had to.
    :raises BlockedError: if it was not approved, or there is nobody to ask.
    """
    why = needed(plan, policy)
    if not why:
        return None
    if not yes:
        _ask(plan, why, out)
    return session.user()


def _ask(plan: Plan, why: str, out: Console) -> None:
    cluster = f"cluster {plan.environment}.{plan.cluster}"
    if not sys.stdin.isatty():
        remedy = "Look at the plan, then start again with --yes, or on a terminal."
        raise BlockedError(Blocked(f"plan {plan.id} needs approval: {why}", (cluster,), remedy))
    out.print(f"Approval is asked for: {why}.", markup=False, soft_wrap=True)
    if not typer.confirm("Rotate?", default=False, err=True):
        remedy = "Start again when it may be carried out; node-rotation plan shows it once more."
        raise BlockedError(Blocked(f"plan {plan.id} was not approved: nothing was touched", (cluster,), remedy))
