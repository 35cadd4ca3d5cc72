"""Volumes are detached before their machine goes, and zonal ones find a node in their zone."""

from __future__ import annotations

from typing import Any

import pytest
from tests.node_rotation.crashes import after, run_for

from node_rotation import engine
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld


def stateful(
    zones: str = "abc", detach_s: float = 1.0, machines: int = 3, *, dedicated: bool = False, **workload: Any
) -> MemoryWorld:
    """A StatefulSet with a volume for each pod, one pod per zone.

    :param dedicated: each zone also has a node whose taint keeps the pods away.
    """
    images = (
        seeds.Image("base-old", created="2026-11-01T06:00:00Z"),
        seeds.Image("base-new", created="2026-11-08T06:00:00Z"),
    )
    group = seeds.Group("workers", image="base-old", next_image="base-new", desired=machines, max=9, zones=tuple(zones))
    infra = seeds.Group(
        "infra", image="base-old", desired=machines, zones=group.zones, taints=("only=infra:NoSchedule",)
    )
    said = {"kind": "StatefulSet", "replicas": machines, "spread": "zone", "volume": True, **workload}
    queue = seeds.Workload("queue", budget=seeds.DisruptionBudget(max_unavailable=1), **said)
    timing = seeds.Timing(volume_detach=detach_s)
    groups = (group, infra) if dedicated else (group,)
    return MemoryWorld.of(groups=groups, images=images, workloads=(queue,), timing=timing)


def rotated(world: MemoryWorld, **policy: Any) -> tuple[engine.Result, list[str]]:
    said: list[str] = []

    def listen(event: engine.Event) -> None:
        if isinstance(event, engine.BatchWaits):
            said.extend(event.reasons)

    return engine.rotate(run_for(world, **policy), listen), said


def test_a_machine_goes_only_when_its_volumes_are_detached() -> None:
    world = stateful(detach_s=25.0)
    result, said = rotated(world, strategy="detach")
    assert result.ok
    assert after(world).clean
    assert any(reason.startswith("volume pvc-000") and "is still attached to node" in reason for reason in said)
    # Six minutes is how long Kubernetes waits for a volume of a machine that went with it.
    assert result.ended_at - result.started_at < 360.0


def test_volumes_of_pods_that_stay_do_not_keep_a_machine() -> None:
    world = stateful(machines=1, kind="DaemonSet")
    result, said = rotated(world)
    assert result.ok
    assert not any("is still attached" in reason for reason in said)


def test_a_volume_that_is_never_detached_is_named_and_its_machine_stays() -> None:
    world = stateful(zones="a", detach_s=9e9, machines=1)
    machines = world.on_image("base-old")
    result, _ = rotated(world, terminate_timeout="60s")
    ((_, why),) = result.failed
    assert "volume pvc-0001 is still attached to node" in why.reason
    assert world.on_image("base-old") == machines


def test_pods_with_zonal_volumes_move_within_their_zones() -> None:
    world = stateful()
    zones = {volume.claim: volume.zones for volume in world.cluster.volumes()}
    assert rotated(world, strategy="detach")[0].ok
    nodes = {node.name: node for node in world.cluster.nodes()}
    for pod in world.cluster.pods():
        assert pod.ready
        assert zones[f"default/{pod.claims[0]}"] == (nodes[pod.node].labels["topology.kubernetes.io/zone"],)
    assert not world.monitor.violations


@pytest.mark.parametrize("dedicated", [False, True])
def test_a_replacement_in_another_zone_is_not_enough_and_what_lacks_is_named(dedicated: bool) -> None:
    world = stateful(zones="ab", machines=2, dedicated=dedicated)
    run = run_for(world)
    lonely = {str(v.zones[0]) for v in world.cluster.volumes()}
    assert {zone for zone in lonely if any(f"needs another Ready node in zone {zone}" in n for n in run.plan.notes)}
    result, said = rotated(world)
    ((_, why),) = result.failed  # surge launched its second machine in the first one's zone
    zone = next(zone for zone in lonely if f"needs another Ready node in zone {zone}" in why.reason)
    assert why.objects[0].startswith("pod default/queue-")
    assert why.objects[1].startswith("volume pvc-000")
    assert not why.image_fault
    assert "strategy: detach" in why.remedy
    assert any(f"in zone {zone}" in reason for reason in said)
    world.clock.wait(60.0)
    assert all(pod.ready for pod in world.cluster.pods())
    assert after(world).clean
