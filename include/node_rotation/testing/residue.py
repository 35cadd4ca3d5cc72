"""What a rotation may have left behind, read from the world itself and not through the rotation's own eyes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node_rotation.testing.scaling_values import Lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from node_rotation.testing.world import MemoryWorld

OURS = "node-rotation/"
EXCLUDE = "node.kubernetes.io/exclude-from-external-load-balancers"
AUTOSCALER = "cluster-autoscaler.kubernetes.io/scale-down-disabled"


def orphans(world: MemoryWorld) -> tuple[str, ...]:
    """Machines that run, were launched by a group, and are in none (or just leave it)."""
    groups = world.scaling.groups.values()
    members = {i for group in groups for i, m in group.members.items() if m.lifecycle is not Lifecycle.DETACHING}
    members |= {i for group in groups for i in group.pool}
    return tuple(i for i in world.ec2.alive if i not in members)


def residue(world: MemoryWorld) -> tuple[str, ...]:
    """One line for each thing that is not as it was before the rotation."""
    return (*_lock(world), *_groups(world), *_instances(world), *_nodes(world))


def _lock(world: MemoryWorld) -> Iterator[str]:
    lease = world.cluster.current_lease
    if lease and lease.holder:
        yield f"the Lease is held by {lease.holder}"
    if world.outside.http.closed:
        yield "the intake is closed"
    for name, found in world.cluster.objects.found.items():
        if found.get("spec", {}).get("replicas") == 0:
            yield f"{name} is at 0 replicas"
        yield from (
            f"{name}: annotation {key}"
            for key in found.get("metadata", {}).get("annotations", {})
            if key.startswith(OURS)
        )


def _groups(world: MemoryWorld) -> Iterator[str]:
    for seed in world.seed.groups:
        group = world.scaling.groups.get(world.asg(seed.name))
        if group is None:
            continue
        sizes, before = (group.min_size, group.max_size, group.desired), (seed.min, seed.max, seed.desired)
        if sizes != before:
            yield f"{group.name}: min, max, desired {sizes} instead of {before}"
        yield from (f"{group.name}: {process} suspended" for process in group.suspended)
        yield from (f"{group.name}: tag {key}" for key in group.tags if key.startswith(OURS))


def _instances(world: MemoryWorld) -> Iterator[str]:
    for instance_id in world.ec2.alive:
        tags = world.ec2.found[instance_id].tags
        yield from (f"{instance_id}: tag {key}" for key in tags if key.startswith(OURS))


def _nodes(world: MemoryWorld) -> Iterator[str]:
    for node in world.objects.nodes.values():
        yield from (f"{node.name}: taint {key}" for key, _, _ in node.taints if key.startswith(OURS))
        yield from (
            f"{node.name}: annotation {key}" for key in node.annotations if key.startswith(OURS) or key == AUTOSCALER
        )
        yield from (f"{node.name}: label {key}" for key in node.labels if key == EXCLUDE)
        if node.unschedulable:
            yield f"{node.name}: cordoned"
