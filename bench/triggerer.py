"""What a hundred waiting batches cost the triggerer: at most 5 % of a core, and p95 reaction within 5 s.

One event loop as in the triggerer, real triggers, a world in memory whose clock follows the wall's. Half of a hundred
batches hold all slots and wait in their steps: for a replacement that is not Ready, for pods that do not stop, at a
gate for a machine that is not well. The other half waits for admission. Measured is what they cost while nothing
happens, and the time from what each waits for to the end of its task: for a step until its machine is Ready or its
pods are gone (all gates at once: one machine that is not well keeps every gate shut), for an admission until a slot is
free. What the world in memory costs by itself is measured first and taken off; what AWS and an API server would take
to answer is not in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import TaskStatesResult, XComResult
from airflow.triggers.base import TaskSuccessEvent

from node_rotation import lock, planning
from node_rotation.detect import detect, observe
from node_rotation.ledger import Claim, ClaimState, claim_change
from node_rotation.model import StepName
from node_rotation.outcome import Done
from node_rotation.planning import make_plan
from node_rotation.run import Run
from node_rotation.steps.prepare import prepare
from node_rotation.steps.scene import ledger_of
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow import deeds, runs
from node_rotation_airflow.documents import Rotation
from node_rotation_airflow.narrator import Narrator
from node_rotation_airflow.triggers.admit import AdmitTrigger
from node_rotation_airflow.triggers.base import RotationTrigger
from node_rotation_airflow.triggers.step import StepTrigger

BATCHES, IN_STEPS, QUIET_S, HOUR_S = 100, 50, 20.0, 3600.0
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
    """A world whose rotation has begun, as this process sees it: half of the batches are admitted."""
    world = MemoryWorld.simple(
        machines=BATCHES, max_unavailable="100%", behaviour="joins-not-ready", stops_after=2 * HOUR_S
    )
    policy = {
        "strategy": "detach",
        "canary": False,
        "budget": {"max_surge": IN_STEPS},
        "drain": {"grace": "1h", "timeout": "2h"},
        "launch_timeout": "1h",
        "gate": {"settle": "0s", "timeout": "1h"},
    }
    planning.MAX_BATCHES = BATCHES  # type: ignore[attr-defined]  # ours have 64 at most: these are several runs
    settings = world.settings(**policy)
    drift = detect(settings, "workers", world.cloud, world.cluster, world.clock)
    plan = make_plan(settings, [drift], observe(settings, world.cloud, world.cluster, world.clock), world.clock.now())
    rotation = Rotation(settings=settings, plan=plan)
    task_runner.SUPERVISOR_COMMS = Comms(rotation)  # type: ignore[assignment]
    runs.connect = lambda settings: runs.World(world.cloud, world.cluster, world.clock)
    run = runs.open_run("run", rotation)
    prepare(run, "workers")
    assert len(run.plan.batches) == BATCHES
    for batch in run.plan.batches[:IN_STEPS]:
        bring_through(world, run, StepName.ADMIT, batch.name)
    return world, run


class Steps:
    """The batches that wait in steps, a third in each of three, and what they wait for.

    :param world: where all of them are admitted.
    """

    def __init__(self, world: MemoryWorld, run: Run) -> None:
        self._world, self._run = world, run
        names = [batch.name for batch in run.plan.batches[:IN_STEPS]]
        self.waiting = {name: (StepName.LAUNCH, StepName.DRAIN, StepName.GATE)[n % 3] for n, name in enumerate(names)}
        for name in names:
            deeds.attempt(StepName.LAUNCH, run, name)
        world.clock.wait(30.0)  # every machine boots
        for name in names:
            deeds.attempt(StepName.LAUNCH, run, name)
        for name in [*self.at(StepName.DRAIN), *self.at(StepName.GATE)]:
            self._ready(name)
            bring_through(world, run, StepName.LAUNCH, name)
            bring_through(world, run, StepName.CORDON, name)
        for name in [*self.at(StepName.DRAIN), *self.at(StepName.GATE)]:  # evictions in many threads would clash there
            deeds.attempt(StepName.DRAIN, run, name)
        for name in self.at(StepName.GATE):
            self._empty(name)
            bring_through(world, run, StepName.DRAIN, name)
            bring_through(world, run, StepName.TERMINATE, name)
        world.clock.wait(60.0)  # the old machines and their Nodes are gone
        for name in self.at(StepName.GATE):
            world.machines.not_ready(self._replacement(name))

    def at(self, step: StepName) -> list[str]:
        """The batches that wait in it."""
        return [name for name, there in self.waiting.items() if there is step]

    def release(self, name: str) -> None:
        """What the batch waits for happens."""
        if self.waiting[name] is StepName.DRAIN:
            self._empty(name)
        else:
            self._ready(name)

    def _ready(self, name: str) -> None:
        self._world.machines.ready(self._replacement(name))

    def _empty(self, name: str) -> None:
        for node in self._nodes(self._claim(name).machines):
            for pod in self._world.objects.pods_of_node(node):
                if pod.terminating_since is not None:
                    self._world.controllers.gone(pod.uid)

    def _replacement(self, name: str) -> str:
        (node,) = self._nodes(self._claim(name).replacements.values())
        return node

    def _claim(self, name: str) -> Claim:
        ledger = ledger_of(self._world.cluster.current_lease, self._run.id)
        claim = ledger.claim(name) if ledger else None
        assert claim is not None, f"{name} has no claim"
        return claim

    def _nodes(self, machines: Iterable[str]) -> list[str]:
        return [self._world.ec2.found[machine].private_dns for machine in machines]


def bring_through(world: MemoryWorld, run: Run, step: StepName, name: str) -> None:
    """Repeat a step of a batch until it is done."""
    for _ in range(60):
        if isinstance(outcome := deeds.attempt(step, run, name), Done):
            return
        world.clock.wait(2.0)
    raise AssertionError(f"{step} of {name} is not done: {outcome}")


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


async def waits(trigger: RotationTrigger, task: str, index: int) -> float:
    """Run one batch's trigger as the triggerer does; when it ended its task."""
    ti: Any = SimpleNamespace(dag_id="rotate_nodes", run_id="run", task_id=f"batch.{task}", map_index=index)
    trigger._task_instance = ti
    async with contextlib.aclosing(trigger.run()) as events:  # type: ignore[type-var]
        async for ended in events:
            assert isinstance(ended, TaskSuccessEvent), ended
            break
    return time.monotonic()


async def measure() -> tuple[float, float, list[float], list[float]]:
    """Idle share, share with a hundred waiting, seconds until steps were done, and until the next was admitted."""
    world, run = prepared()
    steps = Steps(world, run)
    ticking = asyncio.create_task(follow_the_wall(world))
    idle = await share_of_a_core(5.0)
    now = run.clock.now()
    stepping = {
        name: asyncio.create_task(waits(StepTrigger(step, name, "bench", now + HOUR_S, now), step, index))
        for index, (name, step) in enumerate(steps.waiting.items())
    }
    admitting = [asyncio.create_task(waits(AdmitTrigger(GATE, "bench"), "admit", i)) for i in range(IN_STEPS, BATCHES)]
    await asyncio.sleep(8.0)
    early = [task for task in (*stepping.values(), *admitting) if task.done()]
    assert not early, f"{len(early)} of {BATCHES} did not wait: {early[0]}"
    busy = await share_of_a_core(QUIET_S)
    done = [s for step in (StepName.LAUNCH, StepName.DRAIN) for s in await _released(steps, steps.at(step), stepping)]
    admitted = [await _passed(run, name, admitting) for name in list(stepping) if name not in steps.at(StepName.GATE)]
    done += await _released(steps, steps.at(StepName.GATE), stepping, apart_s=0.0)
    for task in (*admitting, ticking):
        task.cancel()
    await asyncio.gather(*admitting, ticking, return_exceptions=True)
    return idle, busy, done, admitted


async def _released(
    steps: Steps, names: Sequence[str], tasks: Mapping[str, asyncio.Task[float]], apart_s: float = 0.3
) -> list[float]:
    began: dict[str, float] = {}
    for name in names:
        steps.release(name)
        began[name] = time.monotonic()
        await asyncio.sleep(apart_s)
    return [await asyncio.wait_for(tasks[name], 60) - began[name] for name in names]


async def _passed(run: Run, name: str, admitting: list[asyncio.Task[float]]) -> float:
    """A batch passes; seconds until another has its slot."""
    now = run.clock.now()
    await asyncio.to_thread(lock.change, run, claim_change(name, state=ClaimState.PASSED, passed_at=now))
    began = time.monotonic()
    done, left = await asyncio.wait(admitting, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1, f"{len(done)} batches were admitted to one slot"
    admitting[:] = [task for task in admitting if task in left]
    return done.pop().result() - began


def p95(found: Sequence[float]) -> float:
    """The time within which 95 of 100 were done."""
    return sorted(found)[int(0.95 * (len(found) - 1) + 0.5)]


def main() -> int:
    """Print the figures; 1 if one is over its limit."""
    Narrator.waits = lambda *_: None  # type: ignore[method-assign]
    idle, busy, done, admitted = asyncio.run(measure())
    print(f"{BATCHES} waiting batches: {100 * (busy - idle):.1f} % of a core (limit {100 * CPU_LIMIT:.0f} %)")
    for what, found in (("steps", done), ("a freed slot", admitted)):
        print(f"reaction, {what}: p95 {p95(found):.2f} s of {len(found)} (limit {REACTION_LIMIT_S:.0f} s)")
    return int(busy - idle > CPU_LIMIT or max(p95(done), p95(admitted)) > REACTION_LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
