"""How close a rotation comes to its bound, on a virtual clock: ``python -m bench.makespan``.

N=60 machines in 3 zones, c=6 slots, boot 150 s, drain 90 s, gate 15 s, each boot and drain ±20 % uniform.
The bound is L + ceil((N-1)/c)·L with the mean L = boot + drain + gate; wanted: mean <= 1.04, worst <= 1.08.

Both strategies must reach it, with zones even and no machine replaced once AZRebalance runs again.

With seeds 0-99 (five minutes of one core for each strategy) ``--strategy detach`` prints
``detach: 100 seeds, bound 2805 s, mean 1.022, worst 1.061``
and ``--strategy surge`` printed, before zones were evened out beside the last batches,
``surge: 100 seeds, bound 2805 s, mean 1.055, worst 1.156``.
"""

from __future__ import annotations

import argparse
import math
import sys
from concurrent.futures import ProcessPoolExecutor

from node_rotation import detect, engine
from node_rotation.planning import make_plan
from node_rotation.scaling.zones import TOLERATED, unevenness
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld

MACHINES, SLOTS = 60, 6
BOOT_S, DRAIN_S, GATE_S, JITTER = 150.0, 90.0, 15.0, 0.2
WANTED_MEAN, WANTED_WORST = 1.04, 1.08
STRATEGIES = ("detach", "surge")
REBALANCED_S = 600.0  # so long after the run AZRebalance has found whatever it acts on
BATCH_S = BOOT_S + DRAIN_S + GATE_S
BOUND_S = BATCH_S + math.ceil((MACHINES - 1) / SLOTS) * BATCH_S


def world(seed: int) -> MemoryWorld:
    """One pod on each machine, which takes as long to stop as a drain is to last."""
    web = seeds.Workload(
        "web",
        replicas=MACHINES,
        ready_after=1.0,
        stops_after=DRAIN_S,
        spread="hostname",
        budget=seeds.DisruptionBudget(max_unavailable=SLOTS),
    )
    group = seeds.Group(
        "workers", image="base-old", next_image="base-new", desired=MACHINES, max=2 * MACHINES, zones=("a", "b", "c")
    )
    images = (
        seeds.Image("base-old", created="2026-11-01T06:00:00Z"),
        seeds.Image("base-new", created="2026-11-08T06:00:00Z"),
    )
    timing = seeds.Timing(boot=BOOT_S, boot_jitter=JITTER, stop_jitter=JITTER)
    return MemoryWorld.of(groups=(group,), images=images, workloads=(web,), timing=timing, seed=seed)


def ratio(job: tuple[int, str]) -> float:
    """One rotation's makespan against the bound."""
    seed, strategy = job
    made = world(seed)
    settings = made.settings(strategy=strategy, budget={"max_surge": SLOTS}, gate={"settle": f"{GATE_S}s"})
    parts = (made.cloud, made.cluster, made.clock)
    snapshot = detect.observe(settings, *parts)
    drift = detect.detect(settings, "workers", *parts, snapshot=snapshot)
    plan = make_plan(settings, [drift], snapshot, made.clock.now())
    result = engine.rotate(detect.make_run(f"run-{seed}", plan, settings, *parts))
    if not result.ok or made.monitor.violations:
        raise SystemExit(f"{strategy}, seed {seed}: not a good run: {result}, {made.monitor.violations}")
    if moved := rebalanced(made):
        raise SystemExit(f"{strategy}, seed {seed}: {moved}")
    return (result.ended_at - result.started_at) / BOUND_S


def rebalanced(made: MemoryWorld) -> str:
    """What the run left to AZRebalance, which drains nothing; "" if it finds zones even and every machine stays."""
    name, after = made.asg("workers"), set(made.on_image("base-new"))
    uneven = unevenness(made.cloud.groups([name])[name])
    made.clock.wait(REBALANCED_S)
    gone = len(after - set(made.on_image("base-new")))
    if uneven > TOLERATED or gone:
        return f"zones differ by {uneven} at the end, AZRebalance took {gone} machines"
    return ""


def measure(strategy: str, seed_count: int, processes: int) -> bool:
    """Print a strategy's mean and worst; False, and the limit on stderr, if one is not as wanted."""
    jobs = [(seed, strategy) for seed in range(seed_count)]
    if processes > 1:
        with ProcessPoolExecutor(processes) as pool:
            ratios = list(pool.map(ratio, jobs))
    else:
        ratios = [ratio(job) for job in jobs]
    mean, worst = sum(ratios) / len(ratios), max(ratios)
    print(f"{strategy}: {len(ratios)} seeds, bound {BOUND_S:.0f} s, mean {mean:.3f}, worst {worst:.3f}", flush=True)
    missed = [
        f"{what} {value:.4f} of seed {ratios.index(worst)}" if what == "worst" else f"{what} {value:.4f}"
        for what, value, wanted in (("mean", mean, WANTED_MEAN), ("worst", worst, WANTED_WORST))
        if value > wanted
    ]
    if missed:
        wanted = f"mean <= {WANTED_MEAN}, worst <= {WANTED_WORST}"
        print(f"{strategy} misses its limit: {' and '.join(missed)} (wanted: {wanted})", file=sys.stderr)
    return not missed


def main() -> int:
    """Print mean and worst of each strategy; exit 1 if one misses a limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--strategy", choices=STRATEGIES, help="one of them; both are measured without it")
    parser.add_argument("--processes", type=int, default=1)
    said = parser.parse_args()
    chosen = (said.strategy,) if said.strategy else STRATEGIES
    reached = [measure(strategy, said.seeds, said.processes) for strategy in chosen]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
