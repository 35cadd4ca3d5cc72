"""Worlds behind load balancers, and somebody who watches their traffic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.node_rotation.crashes import run_for

from node_rotation import engine
from node_rotation.run import Run
from node_rotation.testing import seeds
from node_rotation.testing.faults import Mutation
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.aws import Instance

DELAY_S = 40.0


def served_world(
    machines: int = 4,
    *,
    delay: float = DELAY_S,
    hooks: tuple[seeds.Hook, ...] = (),
    behaviour: str = "good",
    health_check: str = "EC2",
    target_groups: tuple[str, ...] = ("web",),
    **more: Any,
) -> MemoryWorld:
    """One group of machines, all of them registered in target groups."""
    images = (
        seeds.Image("base-old", created="2026-11-01T06:00:00Z"),
        seeds.Image("base-new", created="2026-11-08T06:00:00Z", behaviour=behaviour),
    )
    group = seeds.Group(
        "workers",
        image="base-old",
        next_image="base-new",
        desired=machines,
        max=2 * machines,
        target_groups=target_groups,
        hooks=hooks,
        health_check=health_check,
    )
    web = seeds.Workload("web", replicas=machines, spread="hostname", budget=seeds.DisruptionBudget(max_unavailable=1))
    agent = seeds.Workload("agent", kind="DaemonSet", namespace="kube-system", ready_after=0.0)
    known = tuple(seeds.TargetGroup(name, deregistration_delay=delay, healthy_after=5.0) for name in target_groups)
    said = {"groups": (group,), "images": images, "workloads": (web, agent), "target_groups": known, **more}
    return MemoryWorld.of(**said)


@dataclass
class Traffic:
    """What the users of a world would have noticed: set up before a rotation, read after it."""

    world: MemoryWorld
    fewest: dict[str, int] = field(default_factory=dict)
    cut: list[str] = field(default_factory=list)
    drained_while_serving: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world.targets.on_change.append(lambda arn, instance: self._count(arn))
        self.world.ec2.on_state.append(self._machine)
        self.world.journal.on_mutation = self._mutation
        for arn in self.world.targets.groups:
            self._count(arn)

    def _count(self, arn: str) -> None:
        now = len(self.world.targets.healthy(arn))
        self.fewest[arn] = min(self.fewest.get(arn, now), now)

    def _machine(self, instance: Instance) -> None:
        if instance.state == "shutting-down" and not self.world.targets.left(self.world.targets.groups, instance.id):
            self.cut.append(instance.id)

    def _mutation(self, mutation: Mutation) -> None:
        if mutation.action == "evict":
            node = self.world.objects.nodes.get(mutation.args["node"])
            if node and not self.world.targets.left(self.world.targets.groups, node.instance_id):
                self.drained_while_serving.append(node.name)


def rotated(world: MemoryWorld, **policy: Any) -> tuple[engine.Result, list[str]]:
    """Rotate, and everything that was waited for."""
    return carried_out(run_for(world, **policy))


def carried_out(run: Run) -> tuple[engine.Result, list[str]]:
    """The same, of a run that was planned before."""
    said: list[str] = []

    def listen(event: engine.Event) -> None:
        if isinstance(event, engine.BatchWaits):
            said.extend(event.reasons)

    return engine.rotate(run, listen), said


def web(world: MemoryWorld, name: str = "web") -> str:
    """The ARN of a target group."""
    return world.account.target_group(name)
