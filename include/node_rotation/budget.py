"""The budget: how many machines may be on their way at once, and which already are."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from node_rotation.model import Strategy
from node_rotation.policy import BudgetPolicy, Share
from node_rotation.world.aws import LEAVING, Member, ScalingGroup
from node_rotation.world.kubernetes import Node
from node_rotation.world.snapshot import Snapshot

IN_FLIGHT_STATES = frozenset({"admitted", "failed"})
"""Claim states whose machines hold slots: a failed batch holds them until it is healed."""


class Claim(Protocol):
    """What admission reads of a claim in the ledger."""

    @property
    def batch(self) -> str:
        """The batch's name."""
        ...

    @property
    def machines(self) -> Collection[str]:
        """Instance ids of its old machines."""
        ...

    @property
    def state(self) -> str:
        """``admitted``, ``passed``, ``failed`` or ``healed``."""
        ...

    @property
    def passed_at(self) -> float | None:
        """Epoch seconds when its gate passed."""
        ...

    @property
    def in_vain(self) -> bool:
        """Whether it passed without a new machine: its old ones went by themselves."""
        ...


def resolve(share: Share, size: int, *, round_up: bool) -> int:
    """Turn a number or a percentage of the group's desired size into machines.

    Percentages round as a Deployment's do (surge up, unavailable down); one above 0 % gives at least one
    machine, for the reason Kubernetes never lets both resolve to 0: nothing would ever move. An explicit 0 stays 0.

    :param share: ``2`` or ``"25%"``.
    :param size: the group's desired size, machines.
    :param round_up: True for surge, False for unavailable.
    """
    if isinstance(share, int):
        return share
    percent = int(share.removesuffix("%"))
    exact = size * percent / 100
    rounded = math.ceil(exact) if round_up else math.floor(exact)
    return max(rounded, 1) if percent and size else rounded


def slots(policy: BudgetPolicy, strategy: Strategy, size: int) -> int:
    """Machines of a group that may be in flight at once; 0 is a plan's blocker.

    :param policy: the group's budget.
    :param strategy: surge and detach launch first and spend ``max_surge``, terminate_first ``max_unavailable``; EKS
        has a budget of its own.
    :param size: the group's desired size, machines.
    """
    launch_first = strategy in (Strategy.SURGE, Strategy.DETACH)
    share = policy.max_surge if launch_first else policy.max_unavailable
    return min(resolve(share, size, round_up=launch_first), size)


def in_flight(claims: Iterable[Claim]) -> frozenset[str]:
    """Instance ids of the machines that our own claims hold slots for.

    :param claims: the ledger's claims, of one group or of the whole cluster.
    """
    return frozenset(m for claim in claims if claim.state in IN_FLIGHT_STATES for m in claim.machines)


def in_vain(claims: Iterable[Claim]) -> frozenset[str]:
    """Names of the batches that passed and showed nothing of the image.

    :param claims: the ledger's.
    """
    return frozenset(claim.batch for claim in claims if claim.state == "passed" and claim.in_vain)


def foreign(
    snapshot: Snapshot, asg: str, ours: Collection[str], *, known: Collection[str] = (), expected_new: int = 0
) -> Mapping[str, str]:
    """Machines of a group that are NotReady or disrupted by somebody else: they count against the budget.

    :param snapshot: the world.
    :param asg: the Auto Scaling group's name.
    :param ours: instance ids in flight by our claims, old ones and assigned replacements.
    :param known: the baseline's member ids; others that are still coming up may be our replacements.
    :param expected_new: how many replacements our claims still wait for; so many new members are not counted.
    :returns: instance id → why it counts, e.g. ``"NotReady (KubeletNotReady)"``.
    """
    group = snapshot.groups.get(asg)
    if group is None:
        return {}
    nodes = {node.instance_id: node for node in snapshot.nodes if node.instance_id}
    found: dict[str, str] = {}
    spared = expected_new
    for member in group.members:
        why = "" if member.instance_id in ours else disruption(member, nodes.get(member.instance_id))
        if not why:
            continue
        if spared > 0 and member.instance_id not in known:
            spared -= 1
            continue
        found[member.instance_id] = why
    return found


def shortage(group: ScalingGroup) -> str:
    """How a group lacks machines that it is asked for, e.g. ``"asg workers has 5 of 6 machines"``; empty if it has all.

    :param group: as it stands.
    """
    here = sum(not member.lifecycle.startswith(LEAVING) for member in group.members)
    return f"asg {group.name} has {here} of {group.desired} machines" if here < group.desired else ""


def disruption(member: Member, node: Node | None) -> str:
    """Why a group's member is no use to the cluster just now; empty if it is.

    :param member: as its group lists it.
    :param node: its Node, or None.
    """
    if member.lifecycle != "InService":
        return f"is {member.lifecycle}"
    if node is None:
        return "has no Node"
    if not node.ready:
        return f"NotReady ({node.why_not_ready})"
    if node.unschedulable:
        return "cordoned"
    return ""
