"""The world that a rotation and the models of its peers are measured in, and what is measured of it.

54 machines in 3 zones; 10 % of them is 5.4, so Karpenter's default budget (rounded up) is 6 machines from the first to
the last one, also while replacements are there. Boot 150 s, drain 90 s, each ±20 % uniform by seed. Workloads: `web`,
a pod on every machine, whose budget allows as many away as machines may be in flight; and 12 services of 3 pods whose
budgets allow one. A machine is InService and its Node Ready at the same instant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from node_rotation.testing import seeds
from node_rotation.testing.clock import VirtualClock
from node_rotation.testing.cluster import MemoryCluster
from node_rotation.testing.faults import Journal
from node_rotation.testing.objects import WorkloadState
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.aws import Instance
from node_rotation.world.kubernetes import Node, Pod

MACHINES, ZONES = 54, ("a", "b", "c")
BOOT_S, DRAIN_S, JITTER = 150.0, 90.0, 0.2
SERVICES, SERVICE_STOP_S, SERVICE_READY_S = 12, 30.0, 20.0
GROUP, OLD, NEW = "workers", "base-old", "base-new"
COUNTED = ("Deployment", "StatefulSet")
LONGEST_S = 48 * 3600.0

Steps = Iterator[float]
"""What somebody does, as a generator that yields the seconds until it goes on."""


def world(seed: int, slots: int) -> MemoryWorld:
    """The same for everybody, before anything happens."""
    web = seeds.Workload(
        "web",
        replicas=MACHINES,
        stops_after=DRAIN_S,
        spread="hostname",
        budget=seeds.DisruptionBudget(max_unavailable=slots),
    )
    services = (
        seeds.Workload(
            f"service-{n}",
            replicas=3,
            ready_after=SERVICE_READY_S,
            stops_after=SERVICE_STOP_S,
            spread="hostname",
            budget=seeds.DisruptionBudget(max_unavailable=1),
        )
        for n in range(SERVICES)
    )
    agent = seeds.Workload("agent", kind="DaemonSet", namespace="kube-system", ready_after=0.0)
    return MemoryWorld.of(
        groups=(seeds.Group(GROUP, image=OLD, next_image=NEW, desired=MACHINES, max=2 * MACHINES, zones=ZONES),),
        images=(
            seeds.Image(OLD, created="2026-11-01T06:00:00Z"),
            seeds.Image(NEW, created="2026-11-08T06:00:00Z"),
        ),
        workloads=(web, *services, agent),
        timing=seeds.Timing(boot=BOOT_S, boot_jitter=JITTER, stop_jitter=JITTER),
        seed=seed,
    )


@dataclass(slots=True)
class Task:
    """Something that goes on beside others."""

    ended: bool = False


def spawn(clock: VirtualClock, steps: Steps) -> Task:
    """Have it go on by itself; every stretch between two pauses is one event of the clock."""
    task = Task()

    def step() -> None:
        pause = next(steps, None)
        if pause is None:
            task.ended = True
        else:
            clock.after(pause, step)

    clock.after(0.0, step)
    return task


@dataclass(slots=True)
class Api:
    """What a model may call: AWS and an API server, by a client of its own."""

    world: MemoryWorld
    cluster: MemoryCluster = field(init=False)

    def __post_init__(self) -> None:
        made = self.world
        self.cluster = MemoryCluster(made.objects, made.controllers, made.disruption, Journal(made.clock))

    @property
    def asg(self) -> str:
        return self.world.asg(GROUP)

    def old(self) -> list[str]:
        """Machines to be replaced, in the order in which the group lists them."""
        return list(self.world.on_image(OLD))

    def node(self, machine: str) -> Node | None:
        return self.world.objects.nodes.get(self.world.ec2.found[machine].private_dns)

    def ready(self, machine: str) -> bool:
        node = self.node(machine)
        return node is not None and node.ready


@dataclass(slots=True)
class Meter:
    """Watches a world from outside, whoever acts in it.

    A machine is in flight while it boots, while it is emptied, and while it is missing from the group's size.
    """

    made: MemoryWorld
    began: float = 0.0
    fresh_at: float | None = None
    in_flight: int = 0
    unready_pod_s: float = 0.0
    _short: dict[str, int] = field(default_factory=dict)
    _seen_at: float = 0.0
    _emptied: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """Measure from now on."""
        self.began = self._seen_at = self.made.clock.now()
        self.made.objects.on_pod.append(self._pod)
        self.made.objects.on_node.append(lambda before, after: self._look())
        self.made.ec2.on_state.append(self._instance)

    def _pod(self, workload: WorkloadState, before: Pod | None, after: Pod | None, cause: str) -> None:
        if workload.seed.kind not in COUNTED:
            return
        self._count_time()
        runs = self.made.objects.runs
        serving = sum(p.ready and p.terminating_since is None and runs(p) for p in workload.pods.values())
        self._short[workload.uid] = max(workload.seed.replicas - serving, 0)
        if after is not None and after.terminating_since is not None and after.node:
            self._emptied.add(after.node)
            self._look()

    def _instance(self, instance: Instance) -> None:
        if instance.state == "shutting-down":
            self._emptied.discard(instance.private_dns)
        self._look()

    def _count_time(self) -> None:
        now = self.made.clock.now()
        self.unready_pod_s += sum(self._short.values()) * (now - self._seen_at)
        self._seen_at = now

    def _look(self) -> None:
        alive = [self.made.ec2.found[i] for i in self.made.ec2.alive]
        nodes = self.made.objects.nodes
        serving = [i for i in alive if (node := nodes.get(i.private_dns)) is not None and node.ready]
        emptied = sum(i.private_dns in self._emptied for i in serving)
        missing = max(MACHINES - len(alive), 0)
        self.in_flight = max(self.in_flight, len(alive) - len(serving) + emptied + missing)
        old = self.made.image_id(OLD)
        if self.fresh_at is None and len(serving) >= MACHINES and all(i.image_id != old for i in alive):
            self.fresh_at = self.made.clock.now()


@dataclass(frozen=True, slots=True)
class Measured:
    """One rotation by somebody.

    :param fresh_s: until no old machine was left and as many new ones were Ready.
    :param done_s: until whoever did it said so.
    """

    fresh_s: float
    done_s: float
    in_flight: int
    violations: int
    unready_pod_s: float


def measured(seed: int, slots: int, act: Callable[[MemoryWorld], None]) -> Measured:
    """Let somebody rotate a world of this seed.

    :param act: returns when it is done; the clock has moved on by then.
    """
    made = world(seed, slots)
    meter = Meter(made)
    meter.begin()
    act(made)
    done_s = made.clock.now() - meter.began
    made.clock.run_until(lambda: meter.fresh_at is not None and made.settled(), LONGEST_S)
    if meter.fresh_at is None:
        raise SystemExit(f"seed {seed}: old machines were left")
    fresh_s = meter.fresh_at - meter.began
    return Measured(fresh_s, max(done_s, fresh_s), meter.in_flight, len(made.monitor.violations), meter.unready_pod_s)


def carried_out(made: MemoryWorld, steps: Steps) -> None:
    """Let a model go on to its end.

    :raises SystemExit: if it has none.
    """
    task = spawn(made.clock, steps)
    if not made.clock.run_until(lambda: task.ended, LONGEST_S):
        raise SystemExit("a model does not come to its end")
