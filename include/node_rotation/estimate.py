"""How long a plan takes and what it costs on top of what runs anyway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from node_rotation.model import Batch, Estimate, GroupPlan
from node_rotation.policy import Policy


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the parts of a replacement usually take, seconds.

    :param boot_s: from launch to Ready.
    :param drain_s: from cordon to empty.
    :param terminate_s: from the call to EC2's ``terminated``.
    """

    boot_s: float = 150.0
    drain_s: float = 90.0
    terminate_s: float = 45.0


def estimate(
    groups: Sequence[GroupPlan],
    batches: Sequence[Batch],
    policies: Mapping[str, Policy],
    *,
    cluster_slots: int,
    timing: Timing | None = None,
) -> Estimate:
    """Estimate duration and cost of a plan.

    :param policies: node group name → its policy.
    :param cluster_slots: machines of the whole cluster that may be in flight at once.
    """
    return Estimate(duration_s=0.0, extra_instance_hours=0.0)
