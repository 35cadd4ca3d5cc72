"""Let a rotation die at a chosen call, then clean up or go on, and look at what is left."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from node_rotation import detect, engine
from node_rotation.errors import TransientError
from node_rotation.model import Plan
from node_rotation.planning import make_plan
from node_rotation.run import Run
from node_rotation.sweep import Swept, sweep
from node_rotation.testing import seeds
from node_rotation.testing.faults import Crash
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.aws import Instance

FAST: dict[str, Any] = {
    "gate": {"settle": "3s", "timeout": "60s"},
    "launch_timeout": "60s",
    "terminate_timeout": "60s",
    "drain": {"timeout": "120s"},
    "lock_duration": "120s",
}
PASSES = 60
SWEEPS_EVERY_S = 20.0
STRATEGIES = ("detach", "surge", "terminate_first")
"""How a group that we roll ourselves may be rolled."""


def by(strategy: str, slots: int = 2) -> dict[str, Any]:
    """A policy with so many slots, from the budget that the strategy spends."""
    spends = "max_unavailable" if strategy == "terminate_first" else "max_surge"
    return {"strategy": strategy, "budget": {spends: slots}}


def plan_for(world: MemoryWorld, **policy: Any) -> tuple[Plan, Any]:
    """A plan of everything that drifted, and the settings it was made with."""
    settings = world.settings(**{**FAST, **policy})
    snapshot = detect.observe(settings, world.cloud, world.cluster, world.clock)
    drifts = [
        detect.detect(settings, g.name, world.cloud, world.cluster, world.clock, snapshot=snapshot)
        for g in settings.cluster.groups
    ]
    return make_plan(settings, drifts, snapshot, world.clock.now()), settings


def run_for(world: MemoryWorld, run_id: str = "run-1", plan: Plan | None = None, **policy: Any) -> Run:
    """A run as an engine of its own process sees it."""
    made, settings = plan_for(world, **policy)
    outside = world.outside.value()
    return detect.make_run(run_id, plan or made, settings, world.cloud, world.cluster, world.clock, outside=outside)


def beside() -> MemoryWorld:
    """Groups ``workers``, which drifted, and ``batch``, which did not."""
    workers = seeds.Group("workers", image="base-old", next_image="base-new", desired=3, max=9)
    batch = seeds.Group("batch", image="base-old", desired=1, tags={"pool": "batch"})
    images = (seeds.Image("base-old"), seeds.Image("base-new", created="2026-11-08T06:00:00.000Z"))
    web = seeds.Workload("web", replicas=3, budget=seeds.DisruptionBudget(max_unavailable=1))
    return MemoryWorld.of(groups=(workers, batch), images=images, workloads=(web,))


def by_tags(world: MemoryWorld, run: Run) -> Run:
    """The same run of a fleet file that names ``batch`` by its tags."""
    named = tuple(
        g if g.name != "batch" else g.model_copy(update={"asg": None, "asg_tags": {"pool": "batch"}})
        for g in run.settings.cluster.groups
    )
    cluster = run.settings.cluster.model_copy(update={"groups": named})
    settings = run.settings.model_copy(update={"cluster": cluster})
    return detect.make_run(
        run.id, run.plan, settings, world.cloud, world.cluster, world.clock, outside=world.outside.value()
    )


def vanishes(world: MemoryWorld) -> None:
    """Terraform deletes ``batch``."""
    for machine in world.scaling.groups.pop(world.asg("batch")).members:
        world.ec2.terminate_by_request(machine)


def is_there_twice(world: MemoryWorld) -> None:
    """Terraform replaces ``batch`` and creates before it destroys: two Auto Scaling groups carry its tags."""
    old = world.scaling.groups[world.asg("batch")]
    world.scaling.groups["dev-batch-v2"] = replace(old, name="dev-batch-v2", members={}, desired=0)


def rotate(world: MemoryWorld, run_id: str = "run-1", **policy: Any) -> engine.Result:
    """Plan and rotate."""
    return engine.rotate(run_for(world, run_id, **policy))


def dies_at_the_last(run: Run, world: MemoryWorld) -> None:
    """Rotate, but die before the lock is given back: nothing is left to rotate, and the lock is still there.

    :param world: of one machine, simple.
    """
    whole = MemoryWorld.simple(len(world.on_image("base-old")))
    engine.rotate(run_for(whole, run.id))
    assert dies(run, world, len(whole.mutations), before=True)
    assert not world.on_image("base-old")
    assert world.residue()


def dies(run: Run, world: MemoryWorld, at: int, *, before: bool) -> bool:
    """Rotate until the n-th mutation; False if the run ended before that."""
    (world.crash_before if before else world.crash_after)(at)
    try:
        engine.rotate(run)
    except Crash:
        world.journal.alive_again()
        return True
    world.journal.no_crash()
    return False


def sweep_all(world: MemoryWorld, run: Run) -> Swept:
    """What the hourly sweep does once a run is dead, until it has nothing left to do."""
    swept = Swept()
    world.clock.wait(run.settings.policy.lock_duration)
    for _ in range(PASSES):
        world.clock.wait(SWEEPS_EVERY_S)
        try:
            swept = sweep(run.settings, world.cloud, world.cluster, world.clock, "sweep-1", world.outside.value())
        except TransientError:
            continue
        if not swept.left and not swept.held_by:
            world.clock.wait(60.0)
            return swept
    return swept


def gone_uncordoned(world: MemoryWorld) -> list[str]:
    """Machines that go from now on while their Node is Ready and still takes pods."""
    found: list[str] = []

    def goes(instance: Instance) -> None:
        nodes = [n for n in world.objects.nodes.values() if n.instance_id == instance.id]
        if instance.state == "shutting-down" and any(n.ready and not n.unschedulable for n in nodes):
            found.append(instance.id)

    world.ec2.on_state.insert(0, goes)  # before its kubelet is lost
    return found


@dataclass(frozen=True)
class After:
    """The world after it all."""

    orphans: tuple[str, ...]
    residue: tuple[str, ...]
    violations: tuple[object, ...]
    old: int

    @property
    def clean(self) -> bool:
        return not (self.orphans or self.residue or self.violations)


def after(world: MemoryWorld) -> After:
    """What is left, read from the world and not through the rotation's eyes."""
    return After(world.orphans(), world.residue(), tuple(world.monitor.violations), len(world.on_image("base-old")))
