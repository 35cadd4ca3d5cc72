"""Who may start now: one decision for the engine and for Airflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from node_rotation.budget import Claim
from node_rotation.model import Plan
from node_rotation.policy import Policy


@dataclass(frozen=True, slots=True)
class Admit:
    """The batch may start (or has started already)."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet.

    :param reasons: each naming its object.
    """

    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refuse:
    """Not in this run.

    :param how: ``skip`` leaves the batch out, ``fail`` fails it.
    """

    how: Literal["skip", "fail"]
    reason: str


Decision = Admit | Wait | Refuse


def decide(
    plan: Plan,
    batch: str,
    claims: Mapping[str, Claim],
    policies: Mapping[str, Policy],
    *,
    foreign: Mapping[str, Mapping[str, str]],
    lock_held: bool,
    now: float,
) -> Decision:
    """Decide whether a batch may start.

    Safe with any number of askers only if the claim is then written by compare-and-swap on the ledger that
    ``claims`` was read from.

    :param plan: the plan.
    :param batch: the asking batch's name.
    :param claims: the ledger: batch name → claim.
    :param policies: node group name → its policy.
    :param foreign: node group name → :func:`node_rotation.budget.foreign` of that group.
    :param lock_held: this run holds the cluster's lock.
    :param now: epoch seconds.
    """
    return Admit() if lock_held else Refuse("fail", "this run does not hold the lock")
