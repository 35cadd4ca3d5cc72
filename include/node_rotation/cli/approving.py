"""Approval on a terminal: asked where a plan's policy asks for it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
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

    from node_rotation.world.clients import Clock


def approve(plan: Plan, policy: ApprovalPolicy, clock: Clock, out: Console, *, yes: bool) -> str | None:
    """Have the plan that was just shown approved.

    :param clock: tells whether an answer comes within ``approval.timeout``.
    :param yes: it is already (``--yes``).
    :returns: who approved it; None if nobody had to.
    :raises BlockedError: if it was not approved, or too late, or there is nobody to ask.
    """
    why = needed(plan, policy)
    if not why:
        return None
    if not yes:
        _ask(plan, why, policy.timeout, clock, out)
    return session.user()


def _ask(plan: Plan, why: str, timeout_s: float, clock: Clock, out: Console) -> None:
    """A terminal can't be told to give up asking: whoever answers after the time is refused."""
    cluster = f"cluster {plan.environment}.{plan.cluster}"
    if not sys.stdin.isatty():
        remedy = "Look at the plan, then start again with --yes, or on a terminal."
        raise BlockedError(Blocked(f"plan {plan.id} needs approval: {why}", (cluster,), remedy))
    deadline = clock.now() + timeout_s
    until = f"{datetime.fromtimestamp(deadline, UTC):%Y-%m-%dT%H:%MZ}"
    out.print(f"Approval is asked for, until {until}: {why}.", markup=False, soft_wrap=True)
    approved = typer.confirm("Rotate?", default=False, err=True)
    if approved and clock.now() <= deadline:
        return
    said = f"was approved too late, after {until} (approval.timeout)" if approved else "was not approved"
    remedy = "Start again when it may be carried out; node-rotation plan shows it once more."
    raise BlockedError(Blocked(f"plan {plan.id} {said}: nothing was touched", (cluster,), remedy))
