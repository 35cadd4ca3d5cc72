"""How long a plan takes and what it costs on top of what runs anyway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from node_rotation.model import Batch, Estimate, GroupPlan, Role, Strategy
from node_rotation.policy import Policy

HOUR_S = 3600.0


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

    @property
    def overlap_s(self) -> float:
        """Old and new machine run side by side for so long, where the new one is launched first."""
        return self.boot_s + self.drain_s + self.terminate_s


USUAL = Timing()


def estimate(
    groups: Sequence[GroupPlan],
    batches: Sequence[Batch],
    policies: Mapping[str, Policy],
    *,
    cluster_slots: int,
    timing: Timing = USUAL,
) -> Estimate:
    """Estimate duration and cost of a plan: the admission rules played through with usual times.

    Without waits, one machine per batch and one group that is ``L + ceil((N - 1) / slots) * L``.

    :param policies: node group name → its policy.
    :param cluster_slots: machines of the whole cluster that may be in flight at once.
    """
    launched_first = {group.name for group in groups if group.strategy is not Strategy.TERMINATE_FIRST}
    machines = sum(len(batch.machines) for batch in batches if batch.group in launched_first)
    queue = _Queue({group.name: group for group in groups}, policies, max(cluster_slots, 1), timing)
    for batch in batches:
        queue.admit(batch)
    return Estimate(
        duration_s=round(queue.end_s, 1),
        extra_instance_hours=round(machines * timing.overlap_s / HOUR_S, 2),
    )


@dataclass(slots=True)
class _Queue:
    """Batches in plan order, each started as soon as its slots are free; blockers may leave groups without slots."""

    groups: Mapping[str, GroupPlan]
    policies: Mapping[str, Policy]
    cluster_slots: int
    timing: Timing
    end_s: float = 0.0
    _clock_s: float = 0.0
    _barrier_s: float = 0.0
    _role: Role | None = None
    _running: list[tuple[float, str, int]] = field(default_factory=list)

    def admit(self, batch: Batch) -> None:
        group, policy = self.groups[batch.group], self.policies[batch.group]
        if group.role is not self._role:  # control plane first, workers when it is done
            self._role, self._barrier_s = group.role, self.end_s
        start_s = self._start(batch, group)
        if policy.wait_between_rotations and self.end_s:
            start_s = max(start_s, self._last_end(start_s) + policy.wait_between_rotations)
        length_s = self.timing.overlap_s + policy.gate.settle
        length_s += policy.wait_between_drains * (len(batch.machines) - 1)
        self._clock_s = start_s
        self.end_s = max(self.end_s, start_s + length_s)
        self._running.append((start_s + length_s, batch.group, len(batch.machines)))
        if batch.canary:
            self._barrier_s = start_s + length_s

    def _start(self, batch: Batch, group: GroupPlan) -> float:
        """The earliest moment with room in the cluster and in the group."""
        moment_s, need = max(self._clock_s, self._barrier_s), len(batch.machines)
        slots = 1 if group.role is Role.CONTROL_PLANE else max(group.slots, 1)
        while True:
            running = [(end_s, name, size) for end_s, name, size in self._running if end_s > moment_s]
            used = sum(size for _, _, size in running)
            of_group = sum(size for _, name, size in running if name == batch.group)
            if not running or (used + need <= self.cluster_slots and of_group + need <= slots):
                return moment_s
            moment_s = min(running)[0]

    def _last_end(self, moment_s: float) -> float:
        return max((end_s for end_s, _, _ in self._running if end_s <= moment_s), default=0.0)
