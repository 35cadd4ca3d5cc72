"""``python -m proving_ground.observer``: watches until told on standard input that the run has ended.

Prints ``watching`` once the initial lists are complete. A line of JSON on standard input,
``{"environment": ..., "run_id": ..., "at": <epoch seconds>}``, ends it: it adds the environment to ``report.json`` and
``report.html`` and exits 0 only if drift, orphans, residue and violations are all 0. With ``"refused": true`` the
rotation was to end where it began, for its image is bad: ``refused.json``, and 0 only if nothing was lost.
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

from proving_ground.observer import report, residue, watching
from proving_ground.observer.bound import Bound, bound
from proving_ground.observer.figures import Figures, Refusal, figures, refusal
from proving_ground.observer.seen import Seen
from proving_ground.scenario import Scenario, load

SETTLE_S = 1.0


def main() -> int:
    """Watch, then report.

    :return: 0 if everything that must be 0 is 0, else 1.
    """
    options = _options()
    scenario = load(options.scenario)
    parameter = scenario.parameters[0].name
    queue: Queue[watching.Item] = Queue()
    before = residue.read_aws(options.cluster, parameter)
    seen = Seen(options.cluster, before.owned)
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
        after, shut = residue.read_aws(options.cluster, parameter), residue.shut(options.cluster)
    finally:
        for tail in tails:
            tail.kill()
            tail.wait()
    left = residue.residue(before, after, seen.nodes, seen.lease) + shut
    problems = left + _problems(seen, after)
    if finished.get("refused"):
        refused = refusal(seen, before, after, left, finished)
        report.add_refusal(options.out, refused, seen, problems, finished["at"])
        return _said(refused)
    least = _bound(scenario, before)
    result = figures(seen, before, after, left, finished, least.seconds)
    report.add(options.out, result, least, seen, problems, finished["at"])
    return _said(result)


def _said(result: Figures | Refusal) -> int:
    print(result.model_dump_json(), flush=True)
    return 0 if result.good else 1


def _bound(scenario: Scenario, before: residue.Aws) -> Bound:
    """Of the cluster as the scenario tells it; none where it says nothing of its pace."""
    cluster = next(one for one in scenario.clusters if one.name == before.cluster)
    constants = cluster.observer or scenario.observer
    return bound(cluster, scenario.timing, constants, before.old_by_group) if constants else Bound()


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


if __name__ == "__main__":
    sys.exit(main())
