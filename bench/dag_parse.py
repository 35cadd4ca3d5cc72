"""Processor time that Airflow takes to parse each DAG file, on top of importing ``airflow.sdk``: at most 0.3 s.

Every task parses its DAG file anew, so this is paid by each of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TIMES = 5
LIMIT_S = 0.3
PARSE = """
import importlib.util, sys, time
import airflow.sdk
for name in [n for n in airflow.sdk.__all__ if n in ("DAG", "Asset", "BaseOperator", "Param", "task", "task_group")]:
    getattr(airflow.sdk, name)
began = time.process_time()
spec = importlib.util.spec_from_file_location("dag_file", sys.argv[1])
spec.loader.exec_module(importlib.util.module_from_spec(spec))
print(time.process_time() - began)
"""


def main() -> int:
    """Print a line per DAG file; 1 if one takes too long."""
    slow = False
    with tempfile.TemporaryDirectory() as home:
        env = os.environ | {"AIRFLOW_HOME": home, "PYTHONPATH": str(ROOT / "include")}
        env |= {"NODE_ROTATION_FLEET": str(ROOT / "config" / "fleet.yaml")}
        for file in sorted((ROOT / "dags").glob("*.py")):
            took = sorted(_parse(file, env) for _ in range(TIMES))
            print(f"{file.name:20s} median {took[TIMES // 2]:.3f} s, worst {took[-1]:.3f} s (limit {LIMIT_S} s)")
            slow |= took[TIMES // 2] > LIMIT_S
    return int(slow)


def _parse(file: Path, env: dict[str, str]) -> float:
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(file)], env=env, capture_output=True, text=True, check=True, timeout=120
    )
    return float(done.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())
