"""Which machines must not be in flight together: those that share a tight PodDisruptionBudget.

A budget is tight for two nodes if it can't afford the pods of both: drained at once they would only wait for each
other. Nodes that share no tight budget go in parallel for free. Everything is read from one observation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from node_rotation.eviction import covering, left_alone
from node_rotation.health import workload_of
from node_rotation.world.kubernetes import Budget, Node, Pod, Workload
from node_rotation.world.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two nodes that one budget can't afford to lose at once.

    :param budget: ``namespace/name``.
    :param mine: the node that asks.
    :param theirs: the node in flight.
    :param allowed: the budget's ``disruptionsAllowed`` now, pods.
    """

    budget: str
    mine: str
    theirs: str
    allowed: int

    def __str__(self) -> str:
        """One line for a person."""
        number = "no disruption" if self.allowed < 1 else f"{self.allowed} at once"
        return f"pdb {self.budget} allows {number} now: node {self.mine} waits for node {self.theirs}, in flight"


@dataclass(slots=True)
class _Stake:
    """What a node, or the nodes of a batch that go at once, have under one budget.

    :param node: the one with most pods.
    """

    pods: int
    node: str
    workloads: frozenset[str] = frozenset()


def _together(stakes: Sequence[_Stake], at_once: int | None) -> _Stake:
    """The worst that can be asked of one budget: the heaviest go together."""
    if len(stakes) == 1:
        return stakes[0]
    heaviest = sorted(stakes, key=lambda stake: -stake.pods)
    pods = sum(stake.pods for stake in heaviest[:at_once])
    return _Stake(pods, heaviest[0].node, frozenset().union(*(stake.workloads for stake in stakes)))


_Stakes = Mapping[str, _Stake]
"""budget key → stake, by key: of several conflicts every look names the same one"""


class _Shelf:
    """Batches being filled, first fit.

    :param count: machines to place.
    :param size: machines in a batch at most.
    :param allowed: budget key → what it allows.
    """

    def __init__(self, count: int, size: int, allowed: Mapping[str, int]) -> None:
        self.batches: list[list[str]] = [[] for _ in range(0, count, size)]
        self._size, self._allowed = size, allowed
        self._held: list[Counter[str]] = [Counter() for _ in self.batches]
        self._from: Counter[tuple[str, int]] = Counter()  # no earlier batch can take so many pods of this budget

    def place(self, machine: str, stakes: _Stakes) -> bool:
        """Put a machine into the first batch that can take it; False if none can."""
        start = max((self._from[key, stake.pods] for key, stake in stakes.items()), default=0)
        for position in range(start, len(self.batches)):
            if len(self.batches[position]) < self._size and self._takes(position, stakes):
                self.batches[position].append(machine)
                for key, stake in stakes.items():
                    self._held[position][key] = max(self._held[position][key], stake.pods)
                return True
        return False

    def _takes(self, position: int, stakes: _Stakes) -> bool:
        held = self._held[position]
        for key, stake in stakes.items():
            if held[key] and held[key] + stake.pods > self._allowed[key]:
                if self._from[key, stake.pods] == position:
                    self._from[key, stake.pods] += 1
                return False
        return True


class Sharing:
    """Who stands under which budget, as one observation shows it; worked out when it is asked for.

    :param snapshot: pods, budgets and their status.
    :param evicted: instance id of a machine in flight → keys of workloads it has evicted. It keeps its stake in
        their budgets until it is done, also when its pods have gone elsewhere.
    """

    def __init__(self, snapshot: Snapshot, evicted: Mapping[str, Collection[str]] | None = None) -> None:
        self._snapshot = snapshot
        self._evicted = evicted or {}
        self._single: dict[str, _Stakes] = {}
        self._several: dict[tuple[int | None, tuple[str, ...]], _Stakes] = {}
        self._contended: dict[frozenset[str], Mapping[str, Mapping[str, int]]] = {}

    def conflict(
        self,
        asking: Sequence[str],
        flying: Sequence[str],
        *,
        mine_at_once: int | None = None,
        theirs_at_once: int | None = None,
    ) -> Conflict | None:
        """Why machines can't be in flight together, or None if they can.

        :param asking: instance ids that want to go.
        :param flying: instance ids that are on their way.
        :param mine_at_once: so many of ``asking`` are drained at once; None: all.
        :param theirs_at_once: so many of ``flying``.
        """
        mine, theirs = self._stakes(asking, mine_at_once), self._stakes(flying, theirs_at_once)
        for key, stake in mine.items():
            other = theirs.get(key)
            if other is not None and stake.pods + other.pods > self._allowed[key]:
                return Conflict(key, stake.node, other.node, self._allowed[key])
        return self._owed(mine, flying)

    def split(self, queue: Sequence[str], size: int) -> list[list[str]]:
        """Cut a queue into batches whose machines don't conflict, as far as that takes no more batches.

        :param queue: instance ids in their order; what conflicts is moved to the first batch that can take it.
        :param size: machines in a batch at most.
        """
        shelf = _Shelf(len(queue), size, self._allowed)
        left = [machine for machine in queue if not shelf.place(machine, self._stakes_of(machine))]
        for machine in left:
            next(batch for batch in shelf.batches if len(batch) < size).append(machine)
        return shelf.batches

    def contended(self, machines: Sequence[str]) -> Iterator[tuple[str, int, int]]:
        """Budgets that keep some of these machines apart: key, how many nodes stand under it, what it allows.

        :param machines: instance ids.
        """
        for key, found in sorted(self._contenders(machines).items()):
            yield key, len(found), self._allowed[key]

    def turns(self, machines: Sequence[str]) -> Mapping[str, int]:
        """Instance id → how many must go one after another because of a budget that it stands under; others lack.

        :param machines: instance ids.
        """
        most: dict[str, int] = {}
        for key, found in self._contenders(machines).items():
            together = max(1, self._allowed[key] // max(found.values()))
            for machine in found:
                most[machine] = max(most.get(machine, 0), -(-len(found) // together))
        return most

    def _contenders(self, machines: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
        """Budgets that some two of these machines can't both take from: key → instance id → pods."""
        asked = frozenset(machines)
        if asked not in self._contended:
            self._contended[asked] = self._compared(machines)
        return self._contended[asked]

    def _compared(self, machines: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
        weights: dict[str, dict[str, int]] = {}
        for machine in machines:
            for key, stake in self._stakes_of(machine).items():
                weights.setdefault(key, {})[machine] = stake.pods
        return {
            key: found
            for key, found in weights.items()
            if len(found) > 1 and sum(sorted(found.values())[-2:]) > self._allowed[key]
        }

    def _owed(self, mine: _Stakes, flying: Sequence[str]) -> Conflict | None:
        for machine in flying:
            gone = self._evicted.get(machine)
            if not gone:
                continue
            for key, stake in mine.items():
                if stake.pods + 1 > self._allowed[key] and not stake.workloads.isdisjoint(gone):
                    return Conflict(key, stake.node, self._name(machine), self._allowed[key])
        return None

    def _stakes(self, machines: Sequence[str], at_once: int | None) -> _Stakes:
        """By budget, what the nodes that need most of it need, as many as go at once."""
        if len(machines) == 1:
            return self._stakes_of(machines[0])
        asked = at_once, tuple(machines)
        if asked not in self._several:
            found: dict[str, list[_Stake]] = {}
            for machine in machines:
                for key, stake in self._stakes_of(machine).items():
                    found.setdefault(key, []).append(stake)
            self._several[asked] = {key: _together(found[key], at_once) for key in sorted(found)}
        return self._several[asked]

    def _stakes_of(self, machine: str) -> _Stakes:
        if machine not in self._single:
            self._single[machine] = dict(sorted(self._counted(machine).items()))
        return self._single[machine]

    def _counted(self, machine: str) -> _Stakes:
        node = self._nodes.get(machine)
        if node is None or not node.ready:
            return {}  # its pods are no use already, so losing them costs no budget anything
        found: dict[str, _Stake] = {}
        for pod in self._pods.get(node.name, ()):
            for budget in self._protecting(pod):
                stake = found.get(budget.key) or _Stake(0, node.name)
                found[budget.key] = stake
                stake.pods += 1
                if workload := workload_of(pod, self._workloads.get(pod.namespace, ())):
                    stake.workloads |= {workload}
        return found

    def _protecting(self, pod: Pod) -> tuple[Budget, ...]:
        """The budgets that a drain of this pod has to ask; none for pods that a drain leaves alone."""
        found = covering(pod, self._budgets.get(pod.namespace, ()))
        return () if left_alone(pod) else found

    def _name(self, machine: str) -> str:
        node = self._nodes.get(machine)
        return node.name if node else machine

    @cached_property
    def _nodes(self) -> Mapping[str, Node]:
        return {node.instance_id: node for node in self._snapshot.nodes if node.instance_id}

    @cached_property
    def _pods(self) -> Mapping[str, list[Pod]]:
        found: dict[str, list[Pod]] = {}
        for pod in self._snapshot.pods:
            found.setdefault(pod.node, []).append(pod)
        return found

    @cached_property
    def _budgets(self) -> Mapping[str, list[Budget]]:
        found: dict[str, list[Budget]] = {}
        for budget in self._snapshot.budgets:
            found.setdefault(budget.namespace, []).append(budget)
        return found

    @cached_property
    def _workloads(self) -> Mapping[str, list[Workload]]:
        found: dict[str, list[Workload]] = {}
        for workload in self._snapshot.workloads:
            found.setdefault(workload.namespace, []).append(workload)
        return found

    @cached_property
    def _allowed(self) -> Mapping[str, int]:
        return {budget.key: budget.disruptions_allowed for budget in self._snapshot.budgets}
