"""A whole cluster with its AWS account, in memory, on a clock that jumps.

>>> world = MemoryWorld.simple(machines=3)
>>> len(world.cluster.nodes())
3
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from node_rotation.fleet import AwsAccess, NodeGroup, Settings, rolled_by
from node_rotation.fleet import Cluster as FleetCluster
from node_rotation.kops.tags import settled
from node_rotation.model import Kind
from node_rotation.policy import Policy, merge
from node_rotation.testing import seeds
from node_rotation.testing.account import AMAZON, Account
from node_rotation.testing.autoscaling import AutoScaling
from node_rotation.testing.clock import MONDAY_NIGHT, VirtualClock
from node_rotation.testing.cloud import MemoryCloud
from node_rotation.testing.cluster import KUBERNETES, MemoryCluster
from node_rotation.testing.controllers import Controllers
from node_rotation.testing.disruption import Disruption
from node_rotation.testing.ec2 import Ec2
from node_rotation.testing.etcd import Etcd
from node_rotation.testing.faults import Journal, Mutation
from node_rotation.testing.machines import KUBELET_UNWELL, Machines
from node_rotation.testing.managed_groups import ManagedGroups
from node_rotation.testing.managed_roller import Roller
from node_rotation.testing.managed_templates import MemoryTemplates
from node_rotation.testing.managed_values import Pace
from node_rotation.testing.monitor import Monitor
from node_rotation.testing.objects import Objects
from node_rotation.testing.outside import MemoryOutside
from node_rotation.testing.residue import orphans, residue
from node_rotation.testing.targets import Targets

SETTLE_LIMIT_S = 7200.0


class MemoryWorld:
    """Everything a rotation touches. It starts settled: machines Ready, pods Ready, nothing journalled.

    :param seed: groups, images, workloads, timing, faults.
    :param start: epoch seconds at which the machines begin to boot.
    """

    def __init__(self, seed: seeds.WorldSeed, start: float = MONDAY_NIGHT) -> None:
        self.seed = seed
        self.clock = VirtualClock(start)
        self.journal = Journal(self.clock)
        self.ec2 = Ec2(self.clock, seed.timing, seed.region, seed.seed)
        self.targets = Targets(self.ec2, self.clock, lambda instance: self.account.answers(instance))
        self.scaling = AutoScaling(
            self.ec2,
            self.clock,
            self.journal,
            reconcile_s=seed.timing.reconcile,
            capacity_retry_s=seed.timing.capacity_retry,
            detach_s=seed.timing.detach,
            seed=seed.seed,
            targets=self.targets,
        )
        self.objects = Objects(self.clock)
        self.controllers = Controllers(self.objects, seed.timing, seed.seed)
        self.disruption = Disruption(self.objects, self.controllers, seed.timing.sync)
        self.outside = MemoryOutside.of(self.journal)
        self.account = Account(seed, self.ec2, self.scaling, self.targets)
        self.eks = self._eks()
        owners = {"self": seed.account, "amazon": AMAZON}
        self.cloud = MemoryCloud(self.ec2, self.scaling, self.eks, self.journal, owners, self.targets)
        self.cluster = MemoryCluster(self.objects, self.controllers, self.disruption, self.journal)
        self.machines = Machines(self.ec2, self.objects, self.controllers, self.cluster, self.account)
        self.monitor = Monitor(self.objects, self.disruption, self.ec2)
        self.etcd = Etcd(seed, self.clock, self.account)
        self.cluster.etcd = self.etcd.state
        self.ec2.on_state.append(lambda i: self.etcd.state_changed(i, self.ec2.launched_for[i.id]))
        self.cluster.on_lease = self.monitor.lease_written
        self.account.build()
        self.account.add_nodegroups(self.eks)
        self._settle()

    @classmethod
    def of(cls, **parts: Any) -> MemoryWorld:
        """A world from the fields of ``seeds.WorldSeed``."""
        return cls(seeds.WorldSeed(**parts))

    @classmethod
    def from_scenario(cls, scenario: Any, cluster: str | None = None, **changes: Any) -> MemoryWorld:
        """A world from a scenario, as the proving ground reads them.

        :param scenario: the mapping in its YAML file, or a model of the same shape.
        :param cluster: which of its clusters; None: the first.
        :param changes: fields of ``seeds.WorldSeed`` that differ, e.g. ``seed=7``.
        """
        return cls(replace(seeds.from_scenario(scenario, cluster), **changes))

    @classmethod
    def simple(
        cls,
        machines: int = 6,
        *,
        zones: int = 3,
        replicas: int | None = None,
        max_unavailable: int | str = 1,
        stops_after: float = 2.0,
        behaviour: str = "good",
        seed: int = 1,
        faults: Sequence[seeds.Fault] = (),
        **timing: Any,
    ) -> MemoryWorld:
        """One group ``workers`` on ``base-old`` whose template says ``base-new``, and one Deployment with a budget.

        :param replicas: of the Deployment ``web``; None: two per machine; 0: no workload.
        :param behaviour: of machines on ``base-new``.
        :param timing: fields of ``seeds.Timing``.
        """
        web = seeds.Workload(
            "web",
            replicas=2 * machines if replicas is None else replicas,
            stops_after=stops_after,
            spread="hostname",
            budget=seeds.DisruptionBudget(max_unavailable=max_unavailable),
        )
        agent = seeds.Workload("agent", kind="DaemonSet", namespace="kube-system", ready_after=0.0)
        return cls.of(
            groups=(
                seeds.Group(
                    "workers",
                    image="base-old",
                    next_image="base-new",
                    desired=machines,
                    max=2 * machines + 1,
                    zones=tuple("abcdef"[:zones]),
                ),
            ),
            images=(
                seeds.Image("base-old", created="2026-11-01T06:00:00Z"),
                seeds.Image("base-new", created="2026-11-08T06:00:00Z", behaviour=behaviour),
            ),
            workloads=(web, agent) if web.replicas else (agent,),
            parameters=(seeds.Parameter("/images/base/current", "base-new"),),
            timing=seeds.Timing(**timing),
            faults=tuple(faults),
            seed=seed,
        )

    @property
    def mutations(self) -> list[Mutation]:
        """Every call that changed the world, in order."""
        return self.journal.mutations

    def crash_after(self, mutations: int) -> None:
        """Have the caller die right after the n-th mutation from now."""
        self.journal.crash_after(mutations)

    def crash_before(self, mutations: int) -> None:
        """Have the caller die right before the n-th mutation from now."""
        self.journal.crash_before(mutations)

    def orphans(self) -> tuple[str, ...]:
        """Machines that run, were launched by a group, and are in none."""
        return orphans(self)

    def residue(self) -> tuple[str, ...]:
        """What of a rotation is still there: lock, taints, cordons, tags, suspensions, changed sizes."""
        return residue(self)

    def asg(self, group: str) -> str:
        """The Auto Scaling group's name of a node group."""
        return self.account.asg(group)

    def image_id(self, name: str) -> str:
        """The id of an image, by its name in the seed."""
        return self.account.image_id(name)

    def on_image(self, name: str) -> tuple[str, ...]:
        """Ids of the running instances on an image, by its name."""
        image_id = self.image_id(name)
        return tuple(i for i in self.ec2.alive if self.ec2.found[i].image_id == image_id)

    def settings(self, **policy: Any) -> Settings:
        """What a fleet file would say of this cluster.

        :param policy: a partial policy for every group, as YAML writes it.
        """
        merged = merge(Policy(), policy)
        groups = tuple(self._in_fleet(g) for g in self.seed.groups)
        return Settings(
            environment=self.seed.environment,
            cluster=FleetCluster(name=self.seed.cluster, aws=AwsAccess(region=self.seed.region), groups=groups),
            policy=merged,
            groups={g.name: settled(g.kind, g.role, merge(merged, rolled_by(g))) for g in groups},
        )

    def _in_fleet(self, group: seeds.Group) -> NodeGroup:
        if group.kind == Kind.EKS_MANAGED:
            return NodeGroup(name=group.name, kind=group.kind, eks_cluster=self.seed.cluster, nodegroup=group.name)
        return NodeGroup(name=group.name, kind=group.kind, role=group.role, asg=self.asg(group.name))

    def _eks(self) -> ManagedGroups:
        """EKS has an API client of its own: its calls are in nobody's journal, and no fault of ours strikes them."""
        timing = self.seed.timing
        pace = Pace(timing.eks_eviction, timing.eks_pause, timing.eks_look, timing.eks_nodes)
        own = MemoryCluster(self.objects, self.controllers, self.disruption, Journal(self.clock))
        roller = Roller(self.scaling, own, nullcontext(), pace)
        templates = MemoryTemplates(self.ec2, self.account)
        return ManagedGroups(self.scaling, templates, self.clock, lambda cluster: roller, nullcontext())

    def add_image(self, image: seeds.Image) -> str:
        """Publish an image; answers its id."""
        return self.account.add_image(image)

    def add_template_version(self, group: str, image: str) -> str:
        """Write a further version of a group's launch template; answers its number."""
        return self.account.add_template_version(group, image)

    def fail_node(self, node: str, reason: str = KUBELET_UNWELL) -> None:
        """A node turns NotReady."""
        self.machines.not_ready(node, reason)

    def recover_node(self, node: str) -> None:
        """It turns Ready again."""
        self.machines.ready(node)

    def add_workload(self, seed: seeds.Workload) -> None:
        """Create a workload, and its budget if it has one."""
        workload = self.controllers.add(seed)
        self.disruption.workload_added(workload)
        if seed.budget:
            selector = {"app": seed.name}
            self.disruption.add(replace(seed.budget, name=seed.name, namespace=seed.namespace, selector=selector))

    def _settle(self) -> None:
        """Let machines and then pods come up, publish the next images, open the journal."""
        self._until_settled()
        for workload in self.seed.workloads:
            self.add_workload(workload)
        for budget in self.seed.budgets:
            self.disruption.add(budget)
        self._until_settled()
        self.clock.wait(max(1.0, 2 * self.seed.timing.sync))
        self.account.publish_next()
        self.journal.faults = list(self.seed.faults)
        self.journal.away = lambda service: self.etcd.away() if service == KUBERNETES else ""
        self.journal.forget()
        self.monitor.begin({self.asg(g.name): g.desired for g in self.seed.groups})

    def _until_settled(self) -> None:
        if not self.clock.run_until(self.settled, SETTLE_LIMIT_S):
            raise ValueError("The world does not settle: its first machines or pods never become Ready.")

    def settled(self) -> bool:
        """Whether every group is full, every node Ready, every pod Ready, and no target on its way."""
        nodes = self.objects.nodes.values()
        return (
            all(len(group.live()) == group.desired for group in self.scaling.groups.values())
            and len(nodes) >= len(self.ec2.alive)
            and all(node.ready for node in nodes)
            and all(pod.ready and pod.terminating_since is None for pod in self.objects.pods.values())
            and self.targets.settled()
        )
