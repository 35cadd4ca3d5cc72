"""Whether a run's ledger will fit into the Lease: a plan that would outgrow it is refused before it begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from node_rotation import sickness
from node_rotation.health import owner_key
from node_rotation.ledger import DENIAL_LENGTH, MAX_BYTES, MOST_DENIED, Baseline, Claim, ClaimState, Ledger, dump
from node_rotation.model import Batch, Blocker, GroupPlan
from node_rotation.outcome import REASON_LENGTH
from node_rotation.world.snapshot import Snapshot

ROOM = 16_384  # bytes left free: names of runs, what breaks until the run begins, an intake
WHEN = 1_700_000_000.123456
MOST_PODS = 9999  # of one workload on the machines of one batch


def too_large(
    groups: Sequence[GroupPlan], batches: Sequence[Batch], slots: int, snapshot: Snapshot
) -> Iterator[Blocker]:
    """A plan whose ledger would be refused by the API server halfway, when nothing could be written down any more.

    :param slots: of the cluster: how many machines are in flight, each with the workloads that leave it.
    """
    needed = size(groups, batches, slots, snapshot)
    if needed > MAX_BYTES - ROOM:
        machines = sum(len(batch.machines) for batch in batches)
        yield Blocker(
            reason=f"{machines} machines are too many for one run: it would have to write down about {needed // 1024} "
            f"KiB, and an annotation of the Lease holds {(MAX_BYTES - ROOM) // 1024}",
            objects=("lease kube-system/node-rotation", *(f"group {group.name}" for group in groups)),
            remedy="rotate fewer node groups at once (choose them for the run), or make two groups of a large one",
        )


def size(groups: Sequence[GroupPlan], batches: Sequence[Batch], slots: int, snapshot: Snapshot) -> int:
    """Bytes of the largest ledger that a plan leads to: every batch claimed, as many in flight as there are slots."""
    evicted = _evicted(batches, snapshot)
    most = sorted(batches, key=lambda b: -sum(len(key) for key in evicted[b.name]))
    flying: set[str] = set()
    machines = 0
    for batch in most:
        if machines >= slots:
            break
        flying.add(batch.name)
        machines += len(batch.machines)
    of = {group.name: group for group in groups}
    ended = {b.name: _claim(b, of[b.group]) for b in batches}
    claims = tuple(_in_flight(c, evicted[name]) if name in flying else c for name, c in ended.items())
    baselines = {group.name: _baseline(group, snapshot) for group in groups}
    sick = sickness.found(snapshot)
    ledger = Ledger(run="r" * 64, plan="p" * 16, cluster="c" * 64, sick=sick, groups=baselines, claims=claims)
    return len(dump(ledger).encode())


def _in_flight(claim: Claim, evicted: tuple[str, ...]) -> Claim:
    """As large as it gets, which is by what leaves its machines, or by why it failed: then that is forgotten."""
    denied = {f"{'n' * 40}/{'p' * 40}-{i}": "w" * DENIAL_LENGTH for i in range(MOST_DENIED if evicted else 0)}
    serving = (MOST_PODS,) * len(evicted)
    emptying = claim.model_copy(update={"evicted": evicted, "serving": serving, "denied": denied})
    failed = claim.model_copy(update={"why": "w" * REASON_LENGTH})
    return max(emptying, failed, key=lambda c: len(c.model_dump_json(exclude_defaults=True)))


def _claim(batch: Batch, group: GroupPlan) -> Claim:
    ids = tuple(machine.instance_id for machine in batch.machines)
    return Claim(
        batch=batch.name,
        group=batch.group,
        machines=ids,
        strategy=group.strategy,
        canary=batch.canary,
        state=ClaimState.PASSED,
        since=WHEN,
        replacements={machine: machine for machine in ids},
        asked=True,
        drain_since=WHEN,
        last_eviction=WHEN,
        terminate_since=WHEN,
        gate_since=WHEN,
        green_since=WHEN,
        passed_at=WHEN,
    )


def _baseline(group: GroupPlan, snapshot: Snapshot) -> Baseline:
    members = tuple(m.instance_id for m in snapshot.groups[group.asg].members) if group.asg in snapshot.groups else ()
    return Baseline(
        asg=group.asg, strategy=group.strategy, min=0, max=9999, desired=9999, members=members, taken_at=WHEN
    )


def _evicted(batches: Sequence[Batch], snapshot: Snapshot) -> Mapping[str, tuple[str, ...]]:
    """Batch → the workloads that have pods on its machines."""
    known = {workload.key for workload in snapshot.workloads}
    on: dict[str, set[str]] = {}
    for pod in snapshot.pods:
        if pod.node and (key := owner_key(pod)) in known:
            on.setdefault(pod.node, set()).add(key)
    return {b.name: tuple(sorted({key for m in b.machines for key in on.get(m.node or "", ())})) for b in batches}
