"""A kops cluster in memory: three masters in three zones with their etcd, and workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld

MASTERS = ("master-a", "master-b", "master-c")


def kops(
    zones: str = "abc",
    *,
    workers: int = 2,
    behaviour: str = "good",
    faults: Sequence[seeds.Fault] = (),
    spread: bool = False,
    **timing: Any,
) -> MemoryWorld:
    """One instance group per master, or one over all zones.

    :param spread: all masters are in one group.
    """
    group: dict[str, Any] = {"kind": "kops", "image": "base-old", "next_image": "base-new"}
    master = {**group, "role": "control-plane", "taints": ("node-role.kubernetes.io/control-plane=:NoSchedule",)}
    if spread:
        masters = [seeds.Group("masters", desired=len(zones), max=9, zones=tuple(zones), **master)]
    else:
        masters = [seeds.Group(f"master-{zone}", desired=1, min=1, max=1, zones=(zone,), **master) for zone in zones]
    nodes = [seeds.Group("nodes", desired=workers, max=9, **group)] if workers else []
    web = seeds.Workload("web", replicas=4, budget=seeds.DisruptionBudget(max_unavailable=1))
    return MemoryWorld.of(
        cluster="prod",
        groups=(*masters, *nodes),
        images=(
            seeds.Image("base-old", created="2026-11-01T06:00:00Z"),
            seeds.Image("base-new", created="2026-11-08T06:00:00Z", behaviour=behaviour),
        ),
        workloads=(web,),
        timing=seeds.Timing(**timing),
        faults=tuple(faults),
    )


def probed(world: MemoryWorld, **control_plane: Any) -> Mapping[str, Any]:
    """The policy of a cluster whose etcd is probed where its volumes are."""
    endpoints = list(world.etcd.endpoints())
    etcd = {"main": {"endpoints": endpoints}, "events": {"endpoints": endpoints}}
    return {"control_plane": {"etcd": etcd, **control_plane}, "poll": "1s"}
