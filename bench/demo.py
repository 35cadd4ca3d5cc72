"""A demo that has ended and is still up: how long it took, and the memory (PSS) of everything it started.

Run it before `make down`: ``make bench BENCHES=demo``. Wanted of each environment: a makespan of at most 1.5 times its
bound (1.4 of the short form's); of all: 15 minutes and 4 GB.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from proving_ground.control_plane.processes import Processes
from proving_ground.demo import stage
from proving_ground.demo.summary import OF_ONE, OF_SEVERAL

LIMIT_B, LIMIT_S = 4e9, 900.0
PLACES = {"proving ground": Path(".proving-ground"), "Airflow": Path(".airflow")}


def family(place: Path) -> list[psutil.Process]:
    """The recorded processes and everything in their sessions."""
    leaders = {one.pid for one in Processes(place / "processes.json").running()}
    return [p for p in psutil.process_iter() if p.pid in leaders or _session(p.pid) in leaders]


def pss(process: psutil.Process) -> int:
    """Its PSS in bytes; 0 once it has ended."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


def makespans(environments: list[dict[str, Any]]) -> bool:
    """Print each rotation's makespan against its bound, and how long all took; whether all are as wanted."""
    rotated = [one for one in environments if one.get("bound_s")]
    if not rotated:
        print("no rotation of this demo has a makespan to measure", file=sys.stderr)
        return False
    wanted = OF_SEVERAL if len(rotated) > 1 else OF_ONE
    ratios = [one["makespan_s"] / one["bound_s"] for one in rotated]
    for one, ratio in zip(rotated, ratios, strict=True):
        took = f"makespan {one['makespan_s']} s, bound {one['bound_s']} s"
        print(f"{one['environment']}: {took}, ratio {ratio:.2f} (limit {wanted})")
    times = [datetime.fromisoformat(one[name]) for one in environments for name in ("started_at", "finished_at")]
    whole_s = (max(times) - min(times)).total_seconds()
    print(f"from the first mutation to the last verify {whole_s:.0f} s (limit {LIMIT_S:.0f} s)")
    return max(ratios) <= wanted and whole_s <= LIMIT_S


def memory() -> bool:
    """Print a line for each part and the sum; whether that is within the limit."""
    total = 0
    for name, place in PLACES.items():
        processes = family(place)
        size = sum(pss(process) for process in processes)
        total += size
        print(f"{name}: {len(processes)} processes, {size / 1e9:.2f} GB PSS")
    print(f"together {total / 1e9:.2f} GB PSS (limit {LIMIT_B / 1e9:.0f} GB)")
    return total <= LIMIT_B


def main() -> int:
    """Print both; 1 if one misses its limit."""
    report = stage.OUT / "report.json"
    if not report.exists() or not all(family(place) for place in PLACES.values()):
        print("no demo is up here that has ended: `make demo`, then measure", file=sys.stderr)
        return 1
    in_time = makespans(json.loads(report.read_text())["environments"])
    return int(not (memory() and in_time))


if __name__ == "__main__":
    sys.exit(main())
