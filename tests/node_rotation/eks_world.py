"""Worlds with managed node groups, for stories about EKS rolling them."""

from __future__ import annotations

from typing import Any

from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld

OLD_RELEASE, NEW_RELEASE = "1.36.1-20261101", "1.36.2-20261108"
BASE = "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/standard"
OLD = "amazon-eks-node-al2023-x86_64-standard-1.36-v20261101"
NEW = "amazon-eks-node-al2023-x86_64-standard-1.36-v20261108"
TIMING: dict[str, float] = {"eks_eviction": 900.0, "eks_pause": 60.0, "eks_nodes": 300.0}


def nodegroup(name: str = "workers", machines: int = 3, **more: Any) -> seeds.Group:
    return seeds.Group(name, image=OLD, desired=machines, max=machines + 1, kind="eks-managed", **more)


def world(
    *groups: seeds.Group,
    replicas: int = 6,
    budget: seeds.DisruptionBudget | None = None,
    behaviour: str = "good",
    images: tuple[seeds.Image, ...] = (),
    **parts: Any,
) -> MemoryWorld:
    """Managed groups on last week's release while AWS recommends this week's."""
    web = seeds.Workload(
        "web",
        replicas=replicas,
        stops_after=2.0,
        spread="hostname",
        budget=budget or seeds.DisruptionBudget(max_unavailable=1),
    )
    agent = seeds.Workload("agent", kind="DaemonSet", namespace="kube-system", ready_after=0.0)
    return MemoryWorld.of(
        groups=groups or (nodegroup(),),
        images=(
            seeds.Image(OLD, created="2026-11-01T06:00:00Z", owner="amazon", release=OLD_RELEASE),
            seeds.Image(NEW, created="2026-11-08T06:00:00Z", owner="amazon", release=NEW_RELEASE, behaviour=behaviour),
            *images,
        ),
        workloads=(web, agent),
        parameters=(
            seeds.Parameter(f"{BASE}/recommended/image_id", NEW),
            seeds.Parameter(f"{BASE}/recommended/release_version", NEW),
            seeds.Parameter(f"{BASE}/{OLD}/release_version", OLD),
            seeds.Parameter(f"{BASE}/{NEW}/release_version", NEW),
        ),
        timing=seeds.Timing(**TIMING),
        **parts,
    )
