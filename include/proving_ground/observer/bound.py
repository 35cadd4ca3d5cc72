"""The bound: the shortest time that a scenario's constants allow a rotation, part by part, so that it can be read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proving_ground.scenario import Cluster, Constants, NodeGroup, Timing

EKS_EXTRA_PER_ZONE = 2
"""So many machines EKS adds per zone for the time of an update, unless more go at once (EKS user guide, "Understand
each phase of node updates": the scale up phase)."""


@dataclass(frozen=True)
class Part:
    """What takes its time; ``seconds`` counts only for the longest of parts that are ``beside`` each other."""

    text: str
    seconds: float
    beside: bool = False


@dataclass(frozen=True)
class Bound:
    """Parts one after another, then those beside each other."""

    parts: tuple[Part, ...] = ()

    @property
    def seconds(self) -> float:
        """All parts that follow each other, and the longest of those that don't."""
        beside = (part.seconds for part in self.parts if part.beside)
        return sum(part.seconds for part in self.parts if not part.beside) + max(beside, default=0.0)


def bound(cluster: Cluster, timing: Timing, constants: Constants, old: Mapping[str, int]) -> Bound:
    """Control planes one at a time, then worker groups under the cluster's slots, beside those that EKS rolls.

    The first machine goes alone (the canary). A machine takes boot, drain and gate; a master has no pods to drain. An
    old machine that shuts down keeps nobody waiting: its successor boots meanwhile, or serves already.

    :param old: Auto Scaling group → how many of its machines are to be replaced; without them there is no bound.
    """
    counts = {group.name: old.get(f"{cluster.name}-{group.name}", 0) for group in cluster.groups}
    chosen = [group for group in cluster.groups if counts[group.name]]
    pace = _Pace(timing.boot if constants.boot is None else constants.boot, timing.eks_pause, constants)
    masters = sum(counts[g.name] for g in chosen if g.role == "control-plane")
    workers = sum(counts[g.name] for g in chosen if g.role == "worker" and g.kind != "eks-managed")
    managed = [pace.managed(g, counts[g.name]) for g in chosen if g.kind == "eks-managed"]
    return Bound((*pace.masters(masters), *pace.workers(workers, canary=not masters), *managed))


@dataclass(frozen=True)
class _Pace:
    boot: float
    pause: float
    constants: Constants

    def masters(self, number: int) -> Iterator[Part]:
        gate = self.constants.gate if self.constants.master_gate is None else self.constants.master_gate
        if number:
            text = f"{number} masters one at a time: {number} × (boot {self.boot:g} + gate {gate:g} s)"
            yield Part(text, number * (self.boot + gate))

    def workers(self, number: int, *, canary: bool) -> Iterator[Part]:
        """With a canary where no master was it; what is left over the slots, not rounded up to whole rounds."""
        drain, gate, slots = self.constants.drain, self.constants.gate, self.constants.slots
        one = self.boot + drain + gate
        said = f"boot {self.boot:g} + drain {drain:g} + gate {gate:g} s"
        left = number
        if number and canary:
            yield Part(f"the canary: {said}", one)
            left -= 1
        if left:
            rounds, shown = (left / slots, f"{left}/{slots}") if left > slots else (1.0, "1")
            yield Part(f"{left} workers over {slots} slots: {shown} × ({said})", rounds * one, beside=True)

    def managed(self, group: NodeGroup, number: int) -> Part:
        """By the phases of EKS' user guide, and the gate that judges the result.

        Scale up: the extra machines boot. Upgrade: as many as may go at once are emptied, EKS pauses, their
        successors boot. Scale down: one after the other, the extra machines are emptied.
        """
        drain, at_once, minimal = self.constants.drain, _at_once(group), group.update_strategy == "MINIMAL"
        extra = 0 if minimal else max(EKS_EXTRA_PER_ZONE * len(group.zones), at_once)
        rounds = math.ceil(number / at_once)
        phases = [
            (0.0 if minimal else self.boot, f"scale up: boot {self.boot:g}"),
            (
                rounds * (drain + self.pause + self.boot),
                f"upgrade: {rounds} × (drain {drain:g} + EKS' pause {self.pause:g} + boot {self.boot:g})",
            ),
            (extra * drain, f"scale down: {extra} × drain {drain:g}"),
            (self.constants.gate, f"gate {self.constants.gate:g} s"),
        ]
        said = ", ".join(text for seconds, text in phases if seconds)
        what = f"EKS rolls {number} machines of {group.name}, {at_once} at once"
        return Part(f"{what} ({said})", sum(seconds for seconds, _ in phases), beside=True)


def _at_once(group: NodeGroup) -> int:
    """EKS API reference, NodegroupUpdateConfig: one by default; a share is at least one."""
    if group.max_unavailable_percentage is not None:
        return max(1, group.desired * group.max_unavailable_percentage // 100)
    return group.max_unavailable or 1
