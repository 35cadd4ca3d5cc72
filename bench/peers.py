"""Ours beside models of its peers, on the same seeds of a virtual clock: ``python -m bench.peers``.

Everybody rotates the same world (`bench.peers_world`: 54 machines in 3 zones) with at most 6 machines in flight, that
is booting, being emptied, or missing; measured, not believed. `bench.peers_models` says what each peer does, by which
documents, and what its model leaves out. At that budget: kops with maxSurge 6, rotator with max-scaling 6, Karpenter by
its default of 10 %, an instance refresh with 88 % healthy (the default, 90 %, is 5 machines), an EKS update with
maxUnavailable 2, since two machines per zone come on top of it. One with 3 is shown as well: it takes more.

`fresh` is when no old machine was left and as many new ones were Ready, `done` when whoever did it said so: EKS scales
down after it, ours verifies, and with surge evens out the zones that AWS chose. Ours is measured as it comes, with its
canary and with each gate green for 15 s, and alike to those that have neither. Wanted: nobody who breaks no budget is
fresh before ours, like with like. `broken` are PodDisruptionBudgets, over all seeds; `unready` are pods that were
missing or not Ready, times seconds.

With 5 seeds (a minute of one core) it prints

                                 fresh    done  to ours  alike in flight  broken   unready
ours                            2624 s  2947 s     1.00   1.16         6       0     799 s
ours, no canary, no settling    2256 s  2494 s     0.86   1.00         6       0     795 s
kops rolling-update             2871 s  2896 s     1.09   1.27         6       0     774 s
EKS managed update, 2 at once   4440 s  4994 s     1.69   1.97         6       0     900 s
EKS managed update, 3 at once   3077 s  3646 s     1.17   1.36         9       0     866 s
Karpenter drift                 2293 s  2293 s     0.87   1.02         6       0    1034 s
rotator, serial drains          9705 s  9705 s     3.70   4.30         6       0    1034 s
instance refresh                1420 s  1420 s     0.54   0.63         6      87    5349 s

An instance refresh is faster, for it drains nothing, and breaks budgets. Karpenter is as fast as ours without canary
and settling; with them ours takes a sixth longer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from bench.peers_world import Measured, measured

from bench import peers_models as models
from node_rotation import detect, engine
from node_rotation.planning import make_plan
from node_rotation.testing.world import MemoryWorld

SLOTS = 6
ALIKE: dict[str, Any] = {"canary": False, "gate": {"settle": "0s"}}


@dataclass(frozen=True, slots=True)
class Entry:
    """Somebody who rotates.

    :param like: the one of ours that takes the same care.
    """

    name: str
    act: Callable[[MemoryWorld], None]
    like: str


def ours(made: MemoryWorld, **policy: Any) -> None:
    """Plan and rotate."""
    settings = made.settings(budget={"max_surge": SLOTS}, **policy)
    parts = (made.cloud, made.cluster, made.clock)
    snapshot = detect.observe(settings, *parts)
    drift = detect.detect(settings, "workers", *parts, snapshot=snapshot)
    plan = make_plan(settings, [drift], snapshot, made.clock.now())
    result = engine.rotate(detect.make_run("run-1", plan, settings, *parts))
    if not result.ok:
        raise SystemExit(f"not a good run: {result}")


OURS, OURS_ALIKE = "ours", "ours, no canary, no settling"
ENTRIES = (
    Entry(OURS, ours, OURS),
    Entry(OURS_ALIKE, lambda made: ours(made, **ALIKE), OURS_ALIKE),
    Entry("kops rolling-update", lambda made: models.kops(made, SLOTS), OURS),
    Entry("EKS managed update, 2 at once", lambda made: models.eks(made, 2), OURS_ALIKE),
    Entry("EKS managed update, 3 at once", lambda made: models.eks(made, 3), OURS_ALIKE),
    Entry("Karpenter drift", lambda made: models.karpenter(made, 10), OURS_ALIKE),
    Entry("rotator, serial drains", lambda made: models.rotator(made, SLOTS), OURS_ALIKE),
    Entry("instance refresh", lambda made: models.instance_refresh(made, 88), OURS_ALIKE),
)


@dataclass(frozen=True, slots=True)
class Row:
    """What somebody's rotations came to, over all seeds."""

    name: str
    like: str
    fresh_s: float
    done_s: float
    in_flight: int
    violations: int
    unready_pod_s: float

    @property
    def keeps_budgets(self) -> bool:
        """Neither a PodDisruptionBudget broken nor more machines in flight than agreed."""
        return not self.violations and self.in_flight <= SLOTS


def one(job: tuple[int, int]) -> Measured:
    """One rotation: the number of the entry, and the seed."""
    entry, seed = job
    return measured(seed, SLOTS, ENTRIES[entry].act)


def row(entry: Entry, found: Sequence[Measured]) -> Row:
    """Means of times and pods; machines at their most, violations all together."""
    return Row(
        entry.name,
        entry.like,
        fmean(m.fresh_s for m in found),
        fmean(m.done_s for m in found),
        max(m.in_flight for m in found),
        sum(m.violations for m in found),
        fmean(m.unready_pod_s for m in found),
    )


def table(rows: Sequence[Row]) -> str:
    """As text; ratios are to ours."""
    fresh = {row.name: row.fresh_s for row in rows}
    head = f"{'':30} {'fresh':>7} {'done':>7} {'to ours':>8} {'alike':>6} {'in flight':>9} {'broken':>7} {'unready':>9}"
    lines = [head]
    for row in rows:
        ratios = (row.fresh_s / fresh[OURS], row.fresh_s / fresh[OURS_ALIKE])
        lines.append(
            f"{row.name:30} {row.fresh_s:5.0f} s {row.done_s:5.0f} s {ratios[0]:8.2f} {ratios[1]:6.2f} "
            f"{row.in_flight:9} {row.violations:7} {row.unready_pod_s:7.0f} s"
        )
    return "\n".join(lines)


def beaten(rows: Sequence[Row]) -> list[str]:
    """Who is faster than ours and breaks no budget; and ours, if it breaks one."""
    fresh = {row.name: row.fresh_s for row in rows}
    mine = [row.name for row in rows if row.name in (OURS, OURS_ALIKE) and not row.keeps_budgets]
    peers = [row for row in rows if row.name not in (OURS, OURS_ALIKE) and row.keeps_budgets]
    return [*mine, *(row.name for row in peers if row.fresh_s < fresh[row.like])]


def main() -> int:
    """Print the table; exit 1 if somebody who breaks no budget is faster."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=1)
    said = parser.parse_args()
    jobs = [(entry, seed) for entry in range(len(ENTRIES)) for seed in range(said.seeds)]
    with ProcessPoolExecutor(said.processes) as pool:
        found = list(pool.map(one, jobs))
    rows = [row(e, found[n * said.seeds : (n + 1) * said.seeds]) for n, e in enumerate(ENTRIES)]
    print(f"{said.seeds} seeds, at most {SLOTS} machines in flight\n{table(rows)}")
    faster = beaten(rows)
    for name in faster:
        print(f"not as wanted: {name}")
    return 1 if faster else 0


if __name__ == "__main__":
    sys.exit(main())
