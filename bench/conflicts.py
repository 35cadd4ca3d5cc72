"""Nodes that share a tight PodDisruptionBudget, on a virtual clock: ``python -m bench.conflicts``.

24 machines in 3 zones, 12 services of two replicas each whose budgets allow one pod at a time, c=6 slots; boot 150 s,
a pod takes 60 s to stop and 20 s to be Ready. Rotated once one machine at a time, once with 6 slots. Wanted: at least
twice as fast, no budget ever broken, and no two machines in flight whose pods one budget can't afford together.

It prints
``one by one: 5678 s; 6 slots: 1365 s, 4.2 times as fast; broken budgets 0, conflicts in flight 0``
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from itertools import combinations

from node_rotation import detect, engine, names
from node_rotation.ledger import parse
from node_rotation.planning import make_plan
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld
from node_rotation.workloads.conflicts import Sharing
from node_rotation.world.kubernetes import Lease

MACHINES, SLOTS, SERVICES = 24, 6, 12
BOOT_S, STOP_S, READY_S, GATE_S = 150.0, 60.0, 20.0, 15.0
WANTED = 2.0


def world() -> MemoryWorld:
    """Each service has a pod on two machines, so every machine conflicts with another one at least."""
    services = tuple(
        seeds.Workload(
            f"service-{n}",
            replicas=2,
            ready_after=READY_S,
            stops_after=STOP_S,
            spread="hostname",
            budget=seeds.DisruptionBudget(max_unavailable=1),
        )
        for n in range(SERVICES)
    )
    group = seeds.Group(
        "workers", image="base-old", next_image="base-new", desired=MACHINES, max=2 * MACHINES, zones=("a", "b", "c")
    )
    images = (
        seeds.Image("base-old", created="2026-11-01T06:00:00Z"),
        seeds.Image("base-new", created="2026-11-08T06:00:00Z"),
    )
    return MemoryWorld.of(groups=(group,), images=images, workloads=services, timing=seeds.Timing(boot=BOOT_S))


@dataclass(slots=True)
class Watch:
    """Looks at every version of the ledger, with the eyes of the world before the rotation."""

    sharing: Sharing
    found: set[str] = field(default_factory=set)

    def lease_written(self, lease: Lease | None) -> None:
        """Compare the machines in flight with each other."""
        ledger = parse(lease.annotations[names.LEDGER]) if lease and names.LEDGER in lease.annotations else None
        claims = [claim for claim in ledger.claims if claim.open] if ledger else []
        for one, other in combinations(claims, 2):
            if conflict := self.sharing.conflict(one.machines, other.machines):
                self.found.add(str(conflict))


@dataclass(frozen=True, slots=True)
class Measured:
    """One rotation."""

    seconds: float
    violations: int
    conflicts: int


def rotation(slots: int) -> Measured:
    """Rotate the whole world with so many slots."""
    made = world()
    settings = made.settings(budget={"max_surge": slots}, gate={"settle": f"{GATE_S}s"}, canary=False)
    parts = (made.cloud, made.cluster, made.clock)
    snapshot = detect.observe(settings, *parts)
    watch = Watch(Sharing(snapshot))
    made.cluster.on_lease = watch.lease_written
    drift = detect.detect(settings, "workers", *parts, snapshot=snapshot)
    plan = make_plan(settings, [drift], snapshot, made.clock.now())
    result = engine.rotate(detect.make_run("run-1", plan, settings, *parts))
    if not result.ok:
        raise SystemExit(f"not a good run: {result}")
    return Measured(result.ended_at - result.started_at, len(made.monitor.violations), len(watch.found))


def main() -> int:
    """Print both; exit 1 if they are not as wanted."""
    alone, beside = rotation(1), rotation(SLOTS)
    faster = alone.seconds / beside.seconds
    print(
        f"one by one: {alone.seconds:.0f} s; {SLOTS} slots: {beside.seconds:.0f} s, {faster:.1f} times as fast; "
        f"broken budgets {alone.violations + beside.violations}, conflicts in flight {beside.conflicts}"
    )
    return 0 if faster >= WANTED and not (alone.violations or beside.violations or beside.conflicts) else 1


if __name__ == "__main__":
    sys.exit(main())
