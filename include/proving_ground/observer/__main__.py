"""``python -m proving_ground.observer``: watches until told on standard input that the run has ended.

Prints ``watching`` once the initial lists are complete. A line of JSON on standard input,
``{"environment": ..., "run_id": ..., "at": <epoch seconds>}``, ends it: it writes ``report.json`` and
``report.html`` and exits 0 only if drift, orphans, residue and violations are all 0.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from proving_ground.observer import residue, watching
from proving_ground.observer.figures import Figures, figures
from proving_ground.observer.page import page
from proving_ground.observer.seen import Seen
from proving_ground.scenario import load

SETTLE_S = 1.0


def main() -> int:
    """Watch, then report.

    :return: 0 if everything that must be 0 is 0, else 1.
    """
    options = _options()
    scenario = load(options.scenario)
    parameter = scenario.parameters[0].name
    queue: Queue[watching.Item] = Queue()
    seen = Seen(options.cluster)
    before = residue.read_aws(options.cluster, parameter)
    tails = [
        watching.follow(options.directory / "aws-events.jsonl", "aws", queue, from_start=True),
        watching.follow(options.directory / "aws-requests.jsonl", "request", queue, from_start=False),
    ]
    try:
        watching.kubernetes(options.directory / options.cluster / "kubeconfig", queue)
        _drain(queue, seen)
        seen.start(time.time())
        print("watching", flush=True)
        threading.Thread(target=_listen, args=(queue,), daemon=True).start()
        finished = _fold(queue, seen)
        _drain(queue, seen)
        after = residue.read_aws(options.cluster, parameter)
        left = residue.residue(before, after, seen.nodes, seen.lease)
        result = figures(seen, before, after, left, finished, scenario.observer)
        _write(options.out, result, seen, left + _problems(seen, after), finished["at"])
    finally:
        for tail in tails:
            tail.kill()
            tail.wait()
    print(result.model_dump_json(), flush=True)
    return 0 if result.good else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m proving_ground.observer", description=__doc__)
    parser.add_argument("--directory", type=Path, default=Path(".proving-ground"))
    parser.add_argument("--cluster", required=True)
    parser.add_argument("--scenario", required=True)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def _listen(queue: Queue[watching.Item]) -> None:
    line = sys.stdin.readline()
    if not line:  # whoever started us is gone
        os._exit(1)
    queue.put((time.time(), "finished", "", json.loads(line)))


def _fold(queue: Queue[watching.Item], seen: Seen) -> dict[str, Any]:
    while True:
        at, kind, change, found = queue.get()
        if kind == "finished":
            return found
        _take(seen, at, kind, change, found)


def _drain(queue: Queue[watching.Item], seen: Seen) -> None:
    """Take in what is on its way, until nothing came for a moment."""
    while True:
        try:
            _take(seen, *queue.get(timeout=SETTLE_S))
        except Empty:
            return


def _take(seen: Seen, at: float, kind: str, change: str, found: dict[str, Any]) -> None:
    if kind == watching.FAILED:
        raise RuntimeError(f"{found['why']}; nobody knows what happened since")
    if kind == "aws":
        if "instance_id" in found and "tags" in found:
            seen.aws(found)
    elif kind == "request":
        seen.request(found)
    else:
        seen.kubernetes(at, kind, change, found)


def _problems(seen: Seen, after: residue.Aws) -> list[str]:
    orphans = [f"instance {orphan} runs outside of every group" for orphan in after.orphans]
    broken = [f"budget {name}: {healthy} Ready, at least {least} wanted" for _, name, healthy, least in seen.violations]
    return orphans + broken


def _write(out: Path, result: Figures, seen: Seen, problems: list[str], finished_at: float) -> None:
    """Add this environment to the report; another one's figures in it are kept."""
    out.mkdir(parents=True, exist_ok=True)
    report = out / "report.json"
    lines = json.loads(report.read_text())["environments"] if report.exists() else []
    lines = [line for line in lines if line["environment"] != result.environment]
    report.write_text(json.dumps({"environments": [*lines, result.model_dump()]}, indent=2) + "\n")
    (out / "report.html").write_text(page(result, seen, problems, finished_at))


if __name__ == "__main__":
    sys.exit(main())
