"""Lifecycle hooks: who holds a machine, until when, and for how long we let it. Others own them, we only wait.

https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks-overview.html
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from node_rotation.world.aws import Hook, Member, ScalingGroup

LAUNCHING, TERMINATING = "launching", "terminating"
WAITS = {"Pending:Wait": LAUNCHING, "Terminating:Wait": TERMINATING}
RETAINED = "Terminating:Retained"
"""A terminating hook was abandoned, and the group's instance lifecycle policy keeps the machine: nobody ends that."""


def waiting(group: ScalingGroup, member: Member | None, since: float) -> str:
    """What to say of a member that a hook holds; empty if none does.

    AWS tells neither which of several hooks holds a machine nor when it began to.

    :param since: when the machine came into the transition, epoch seconds.
    """
    transition = WAITS.get(member.lifecycle) if member is not None else None
    if transition is None:
        return ""
    hooks = group.hooks_of(transition)
    if not hooks:
        return f"a {transition} hook of asg {group.name}, since about {_at(since)}"
    names = " or ".join(hook.name for hook in hooks)
    first, last = min(h.heartbeat_s for h in hooks), max(h.longest_s for h in hooks)
    results = "/".join(dict.fromkeys(hook.result for hook in hooks))
    ends = f"AWS ends it at about {_at(since + first)} ({results})"
    later = f", with heartbeats of its owner at {_at(since + last)}" if last > first else ""
    return f"{transition} hook {names} of asg {group.name}, since about {_at(since)}; {ends}{later}"


def patience_s(group: ScalingGroup, transition: str, hook_timeout_s: float) -> float:
    """How much longer than usual a transition may take because of the group's hooks, seconds.

    :param hook_timeout_s: the policy's ``hook_timeout``.
    """
    hooks = group.hooks_of(transition)
    return min(hook_timeout_s, max(hook.longest_s for hook in hooks)) if hooks else 0.0


def slower_than(hooks: Sequence[Hook], hook_timeout_s: float) -> tuple[Hook, ...]:
    """The hooks that may hold a machine for longer than the policy waits, without any heartbeat."""
    return tuple(hook for hook in hooks if hook.heartbeat_s > hook_timeout_s)


def _at(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%H:%M:%S UTC")
