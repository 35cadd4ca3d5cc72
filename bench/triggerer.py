"""What a hundred waiting batches cost the triggerer: at most 5 % of a core, and p95 reaction within 5 s.

One event loop as in the triggerer, real triggers, a world in memory whose clock follows the wall's. The cluster has
a hundred machines and one slot: all but one batch wait for admission, and each pass lets the next one in. What the
world in memory costs by itself is measured first and taken off.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from types import SimpleNamespace
from typing import Any

from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import TaskStatesResult, XComResult

from node_rotation import lock
from node_rotation.detect import detect, observe
from node_rotation.ledger import ClaimState, claim_change
from node_rotation.planning import make_plan
from node_rotation.run import Run
from node_rotation.steps.prepare import prepare
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow import runs
from node_rotation_airflow.documents import Rotation
from node_rotation_airflow.narrator import Narrator
from node_rotation_airflow.triggers.admit import AdmitTrigger

BATCHES, QUIET_S, PASSES = 100, 20.0, 12
CPU_LIMIT, REACTION_LIMIT_S = 0.05, 5.0
GATE = "batch.health_gate"


class Comms:
    """The triggerer's line to Airflow, with a plausible delay."""

    def __init__(self, rotation: Rotation) -> None:
        self.rotation = rotation

    async def asend(self, message: Any) -> Any:
        """Answer for the plan and for the gates' states: none has begun."""
        await asyncio.sleep(0.02)
        if type(message).__name__ == "GetXCom":
            return XComResult(key=message.key, value=self.rotation.dump())
        return TaskStatesResult(task_states={"run": {f"{GATE}_{i}": None for i in range(BATCHES)}})


def prepared() -> tuple[MemoryWorld, Run]:
    """A world whose rotation has begun, as this process sees it."""
    world = MemoryWorld.simple(machines=BATCHES, max_unavailable="20%")
    policy = {"strategy": "detach", "canary": False, "budget": {"max_surge": 1}}
    settings = world.settings(**policy)
    drift = detect(settings, "workers", world.cloud, world.cluster, world.clock)
    plan = make_plan(settings, [drift], observe(settings, world.cloud, world.cluster, world.clock), world.clock.now())
    rotation = Rotation(settings=settings, plan=plan)
    task_runner.SUPERVISOR_COMMS = Comms(rotation)  # type: ignore[assignment]
    runs.connect = lambda settings: runs.World(world.cloud, world.cluster, world.clock)
    run = runs.open_run("run", rotation)
    prepare(run, "workers")
    return world, run


async def follow_the_wall(world: MemoryWorld) -> None:
    """Let the world's time pass as fast as ours."""
    last = time.monotonic()
    while True:
        await asyncio.sleep(0.25)
        now = time.monotonic()
        world.clock.wait(now - last)
        last = now


async def share_of_a_core(seconds: float) -> float:
    """What this process uses meanwhile."""
    began, used = time.monotonic(), time.process_time()
    await asyncio.sleep(seconds)
    return (time.process_time() - used) / (time.monotonic() - began)


async def wait_for(index: int, done: dict[int, asyncio.Future[float]]) -> None:
    """Run one batch's trigger as the triggerer does; note when it ended its task."""
    trigger = AdmitTrigger(GATE, "bench")
    ti: Any = SimpleNamespace(dag_id="rotate_nodes", run_id="run", task_id="batch.admit", map_index=index)
    trigger._task_instance = ti
    async with contextlib.aclosing(trigger.run()) as events:  # type: ignore[type-var]
        async for _ in events:
            done[index].set_result(time.monotonic())
            return


async def measure() -> tuple[float, float, list[float]]:
    """Idle share, share with a hundred waiting, seconds from a pass to the next admission."""
    world, run = prepared()
    assert len(run.plan.batches) == BATCHES
    ticking = asyncio.create_task(follow_the_wall(world))
    idle = await share_of_a_core(5.0)
    done = {index: asyncio.get_running_loop().create_future() for index in range(BATCHES)}
    waiting = [asyncio.create_task(wait_for(index, done)) for index in range(BATCHES)]
    await asyncio.sleep(8.0)
    admitted = sum(future.done() for future in done.values())
    assert admitted == 1, f"{admitted} batches were admitted to one slot"
    busy = await share_of_a_core(QUIET_S)
    reactions = [await _pass(run, index, done) for index in range(PASSES)]
    for task in (*waiting, ticking):
        task.cancel()
    await asyncio.gather(*waiting, ticking, return_exceptions=True)
    return idle, busy, reactions


async def _pass(run: Run, index: int, done: dict[int, asyncio.Future[float]]) -> float:
    now = run.clock.now()
    name = run.plan.batches[index].name
    await asyncio.to_thread(lock.change, run, claim_change(name, state=ClaimState.PASSED, passed_at=now))
    began = time.monotonic()
    return await asyncio.wait_for(done[index + 1], 60) - began


def main() -> int:
    """Print the figures; 1 if one is over its limit."""
    Narrator.waits = lambda *_: None  # type: ignore[method-assign]
    idle, busy, reactions = asyncio.run(measure())
    p95 = sorted(reactions)[int(0.95 * (len(reactions) - 1) + 0.5)]
    print(f"{BATCHES} waiting batches: {100 * (busy - idle):.1f} % of a core (limit {100 * CPU_LIMIT:.0f} %)")
    print(f"reaction to a freed slot: p95 {p95:.2f} s of {len(reactions)} (limit {REACTION_LIMIT_S:.0f} s)")
    return int(busy - idle > CPU_LIMIT or p95 > REACTION_LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
