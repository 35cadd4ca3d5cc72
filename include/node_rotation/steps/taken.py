"""What a batch takes from workloads: written down as its drain begins, counted from the world later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from node_rotation.health import Count, owner_key, workload_of
from node_rotation.ledger import Claim
from node_rotation.world.kubernetes import Pod, Workload
from node_rotation.world.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Taken:
    """The workloads that have pods on machines that go.

    :param evicted: their keys.
    :param serving: how many of each one's pods there are Ready.
    """

    evicted: tuple[str, ...] = ()
    serving: tuple[int, ...] = ()

    @property
    def fields(self) -> dict[str, object]:
        """As a claim has them."""
        return {"evicted": self.evicted, "serving": self.serving}


def counted(pods: Iterable[Pod], workloads: Iterable[Workload]) -> Taken:
    """What goes with these pods; one that is not Ready is missing already.

    :param workloads: every workload of the cluster.
    """
    known, counts = tuple(workloads), Counter[str]()
    for pod in pods:
        if (key := workload_of(pod, known)) is not None:
            counts[key] += _serves(pod)
    keys = tuple(sorted(counts))
    return Taken(keys, tuple(counts[key] for key in keys))


def missed(claims: Collection[Claim], snapshot: Snapshot, key: str) -> int:
    """How many pods of a workload batches have evicted so far: those that are still there are not missed.

    :param claims: the batches'.
    :param key: the workload's.
    """
    took = {c.batch: count for c in claims for k, count in zip(c.evicted, c.serving, strict=False) if k == key}
    machines = {machine for c in claims if c.batch in took for machine in c.machines}
    nodes = {node.name for node in snapshot.nodes if node.instance_id in machines}
    still = sum(pod.node in nodes and _serves(pod) and owner_key(pod) == key for pod in snapshot.pods)
    return max(0, sum(took.values()) - still)


def lacking(workload: Workload, before: Count | None) -> int:
    """How many Ready pods a workload wants more, those left out that it lacked before the run.

    :param before: how many of how many were Ready then; None: it was well.
    """
    well, wanted = before or (0, 0)
    return workload.desired - workload.ready - (wanted - well)


def _serves(pod: Pod) -> bool:
    return pod.ready and pod.terminating_since is None
