"""How long a plan of 10,000 nodes takes, the least of five: ``python bench/planning.py``. Target: at most 1 s."""

from __future__ import annotations

import sys
import time

from tests.node_rotation.builders import Machine, budget, drifts, pod, settings, world

from node_rotation.fleet import Settings
from node_rotation.planning import make_plan
from node_rotation.world.snapshot import Snapshot

NODES, PODS_PER_NODE, TIMES, TARGET_S = 10_000, 3, 5, 1.0


def main() -> int:
    """Print both times; 1 if the plan takes too long. A busy machine only adds to a time: the least counts."""
    machines = [Machine(f"i-{n:05}", zone="abc"[n % 3], days=n % 60) for n in range(NODES)]
    pods = [
        pod(f"p-{n}-{p}", f"node-i-{n:05}", namespace=f"team-{n % 100}", labels={"app": f"app-{p}"})
        for n in range(NODES)
        for p in range(PODS_PER_NODE)
    ]
    budgets = [
        budget(f"app-{p}", namespace=f"team-{t}", selector={"app": f"app-{p}"}) for t in range(100) for p in range(3)
    ]
    snapshot = world({"dev-workers": machines}, pods=pods, budgets=budgets)
    told = settings(budget={"max_surge": "5%"})
    compared_s, planned_s, batches = zip(*(timed(told, snapshot) for _ in range(TIMES)), strict=True)
    print(f"drift of {NODES} nodes, {len(pods)} pods: {min(compared_s):.2f} s of processor time")
    print(
        f"plan of {NODES} nodes, {batches[0]} batches: {min(planned_s):.2f} s of processor time"
        f" (target {TARGET_S:.0f} s)"
    )
    return int(min(planned_s) > TARGET_S)


def timed(told: Settings, snapshot: Snapshot) -> tuple[float, float, int]:
    """Seconds of processor time for the drift and for the plan, and the plan's batches."""
    started = time.process_time()
    found = drifts(told, snapshot)
    compared = time.process_time()
    made = make_plan(told, found, snapshot, snapshot.taken_at)
    planned = time.process_time()
    assert made.machines == NODES
    return compared - started, planned - compared, len(made.batches)


if __name__ == "__main__":
    sys.exit(main())
