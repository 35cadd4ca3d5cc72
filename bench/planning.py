"""How long a plan of 10,000 nodes takes: ``python bench/planning.py``. Target: at most 1 s."""

from __future__ import annotations

import sys
import time

from tests.node_rotation.builders import Machine, budget, drifts, pod, settings, world

from node_rotation.planning import make_plan

NODES, PODS_PER_NODE, TARGET_S = 10_000, 3, 1.0


def main() -> int:
    """Print both times; 1 if the plan takes too long."""
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
    started = time.process_time()
    found = drifts(told, snapshot)
    compared = time.process_time()
    made = make_plan(told, found, snapshot, snapshot.taken_at)
    planned = time.process_time()
    assert made.machines == NODES
    print(f"drift of {NODES} nodes, {len(pods)} pods: {compared - started:.2f} s of processor time")
    print(
        f"plan of {NODES} nodes, {len(made.batches)} batches: {planned - compared:.2f} s of processor time"
        f" (target {TARGET_S:.0f} s)"
    )
    return int(planned - compared > TARGET_S)


if __name__ == "__main__":
    sys.exit(main())
