"""How long a plan takes and what it costs on top of what runs anyway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby

from node_rotation.managed.planning import managed_duration_s, taken
from node_rotation.model import Batch, Estimate, GroupPlan, ManagedPlan, Role, Strategy
from node_rotation.policy import Policy
from node_rotation.scaling.targets import AllTargets, served
from node_rotation.workloads.conflicts import Sharing
from node_rotation.world.aws import ScalingGroup

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
DEREGISTRATION_S = 300.0
"""A deregistration delay that nobody changed (ELB API, TargetGroupAttribute): a target group is not asked for its."""


@dataclass(frozen=True, slots=True)
class Played:
    """A plan played through.

    :param extra_h: batch name → instance-hours on top of what runs anyway.
    """

    estimate: Estimate
    extra_h: Mapping[str, float]


def play(
    groups: Sequence[GroupPlan],
    batches: Sequence[Batch],
    policies: Mapping[str, Policy],
    *,
    cluster_slots: int,
    timing: Timing = USUAL,
    sharing: Sharing | None = None,
) -> Played:
    """Estimate how long a plan takes and what runs on top: the admission rules played through with usual times.

    Without waits and tight budgets, one machine per batch and one group that is ``L + ceil((N - 1) / slots) * L``.

    :param policies: node group name → its policy.
    :param cluster_slots: machines of the whole cluster that may be in flight at once.
    :param sharing: who stands under which PodDisruptionBudget; None: nobody shares one.
    """
    known = {group.name: group for group in groups}
    queue = _Queue(known, policies, max(cluster_slots, 1), timing, sharing)
    queue.play(batches)
    extra_h = {
        batch.name: (queue.idle_s.get(batch.name, 0.0) + _extra_s(known[batch.group], batch, timing)) / HOUR_S
        for batch in batches
    }
    total = Estimate(duration_s=round(queue.end_s, 1), extra_instance_hours=round(sum(extra_h.values()), 2))
    return Played(total, extra_h)


def longer_s(policy: Policy, scaling: ScalingGroup, seen: AllTargets, pods: int) -> float:
    """What a batch takes on top of the usual, seconds: it leaves its target groups first, and its pods go one by one.

    For how long hooks hold a machine nobody tells beforehand.

    :param seen: the target groups as they stand.
    :param pods: that its machines have to let go of.
    """
    leaving_s = min(DEREGISTRATION_S, policy.deregister_timeout) if served(scaling, seen) else 0.0
    return leaving_s + policy.drain.wait_between_evictions * max(pods - 1, 0)


def batch_s(
    machines: int, policy: Policy, timing: Timing = USUAL, managed: ManagedPlan | None = None, longer_s: float = 0.0
) -> float:
    """How long one batch takes from its admission to its gate, seconds; its machines drain side by side.

    :param machines: of the batch.
    :param managed: how EKS rolls them, if it does.
    :param longer_s: what the batch takes on top of the usual, if we roll it.
    """
    if managed is not None:
        return managed_duration_s(managed, machines, **asdict(timing)) + policy.gate.settle
    return timing.overlap_s + longer_s + policy.gate.settle


def _extra_s(group: GroupPlan, batch: Batch, timing: Timing) -> float:
    """Machine-seconds on top of what runs anyway; EKS keeps its extra machines for the whole update."""
    if group.strategy is Strategy.TERMINATE_FIRST:
        return 0.0
    machines = len(batch.machines)
    if group.managed is None:
        return machines * (timing.overlap_s + batch.longer_s)
    return group.managed.extra * managed_duration_s(group.managed, machines, **asdict(timing))


@dataclass(frozen=True, slots=True)
class _Running:
    """A batch in flight until ``end_s``."""

    end_s: float
    group: str
    machines: tuple[str, ...]
    slots: int


@dataclass(slots=True)
class _Queue:
    """Batches in plan order, each started as soon as its slots are free and nobody it conflicts with is in flight.

    Blockers may leave groups without slots: an estimate is made all the same.

    :param idle_s: batch name → machine-seconds that replacements wait for ``wait_between_drains`` beside the machines
        they replace.
    """

    groups: Mapping[str, GroupPlan]
    policies: Mapping[str, Policy]
    cluster_slots: int
    timing: Timing
    sharing: Sharing | None
    end_s: float = 0.0
    idle_s: dict[str, float] = field(default_factory=dict)
    _clock_s: float = 0.0
    _ended_s: float = 0.0
    _drained_s: float | None = None
    _running: list[_Running] = field(default_factory=list)

    def play(self, batches: Sequence[Batch]) -> None:
        """Let every batch pass: the canary alone, control planes before workers."""
        for _, stage in groupby(batches, key=lambda batch: (batch.canary, self.groups[batch.group].role)):
            waiting = list(stage)
            self._go_to(self.end_s)
            while waiting:
                waiting = self._start_what_fits(waiting)
                if waiting:
                    self._go_to(self._next_s(waiting[0]))

    def _go_to(self, moment_s: float) -> None:
        self._clock_s = moment_s
        over = [running.end_s for running in self._running if running.end_s <= moment_s]
        self._ended_s = max([self._ended_s, *over])
        self._running = [running for running in self._running if running.end_s > moment_s]

    def _start_what_fits(self, waiting: Sequence[Batch]) -> list[Batch]:
        """Start what may start now, in order; those left, in order."""
        left: list[Batch] = []
        for position, batch in enumerate(waiting):
            if not self._fits(batch) or self._pause_s(batch) > self._clock_s:
                return [*left, *waiting[position:]]
            if self._conflicts(batch):
                left.append(batch)
            else:
                self._start(batch)
        return left

    def _start(self, batch: Batch) -> None:
        group, policy = self.groups[batch.group], self.policies[batch.group]
        length_s = batch_s(len(batch.machines), policy, self.timing, group.managed, batch.longer_s)
        length_s += self._drain_pause_s(batch)
        running = _Running(self._clock_s + length_s, batch.group, _ids(batch), self._slots(batch))
        self._running.append(running)
        self.end_s = max(self.end_s, running.end_s)

    def _drain_pause_s(self, batch: Batch) -> float:
        """How long a batch that starts now waits with its drain, ``wait_between_drains`` after the last one's."""
        group = self.groups[batch.group]
        if group.managed is not None:
            return 0.0
        first = group.strategy is Strategy.TERMINATE_FIRST
        ready_s = self._clock_s + (0.0 if first else self.timing.boot_s)
        wait_s, last_s = self.policies[batch.group].wait_between_drains, self._drained_s
        drain_s = ready_s if last_s is None or not wait_s else max(ready_s, last_s + wait_s)
        self._drained_s = drain_s if last_s is None else max(drain_s, last_s)
        self.idle_s[batch.name] = 0.0 if first else (drain_s - ready_s) * len(batch.machines)
        return drain_s - ready_s

    def _slots(self, batch: Batch) -> int:
        return taken(self.groups[batch.group], len(batch.machines))

    def _fits(self, batch: Batch) -> bool:
        """Room in the cluster and in the group; where nothing runs there always is."""
        group, need = self.groups[batch.group], self._slots(batch)
        if group.role is Role.CONTROL_PLANE:
            return not self._running  # one at a time over all its groups
        used = sum(running.slots for running in self._running)
        of_group = sum(running.slots for running in self._running if running.group == batch.group)
        room = used + need <= self.cluster_slots and of_group + need <= max(group.slots, 1)
        return not self._running or room

    def _conflicts(self, batch: Batch) -> bool:
        if self.sharing is None:
            return False
        mine, slots = _ids(batch), self._slots(batch)
        return any(
            self.sharing.conflict(mine, running.machines, mine_at_once=slots, theirs_at_once=running.slots)
            for running in self._running
        )

    def _pause_s(self, batch: Batch) -> float:
        """When ``wait_between_rotations`` is over."""
        pause_s = self.policies[batch.group].wait_between_rotations
        return self._ended_s + pause_s if pause_s and self._ended_s else 0.0

    def _next_s(self, waiting: Batch) -> float:
        """The next moment at which anything changes."""
        moments = [running.end_s for running in self._running]
        pause_s = self._pause_s(waiting)
        return min([*moments, pause_s] if pause_s > self._clock_s else moments)


def _ids(batch: Batch) -> tuple[str, ...]:
    return tuple(machine.instance_id for machine in batch.machines)
