"""What `make demo` takes while it is up: proportional set size (PSS) of everything it started.

Run it beside a demo: ``python bench/memory.py``. Wanted: at most 4 GB.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil

from proving_ground.control_plane.processes import Processes

LIMIT_B = 4e9
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


def main() -> int:
    """Print a line for each part and the sum; 1 if that is over the limit."""
    total = 0
    if not any((place / "processes.json").exists() for place in PLACES.values()):
        print("nothing runs here: start `make demo`, and measure beside it", file=sys.stderr)
        return 1
    for name, place in PLACES.items():
        processes = family(place) if (place / "processes.json").exists() else []
        size = sum(pss(process) for process in processes)
        total += size
        print(f"{name}: {len(processes)} processes, {size / 1e9:.2f} GB PSS")
    print(f"together {total / 1e9:.2f} GB PSS (limit {LIMIT_B / 1e9:.0f} GB)")
    return int(total > LIMIT_B)


if __name__ == "__main__":
    sys.exit(main())
