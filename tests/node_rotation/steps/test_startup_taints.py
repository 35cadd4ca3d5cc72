"""A replacement that a startup taint still keeps pods off is of no use yet: nothing is drained for it."""

from __future__ import annotations

import pytest
from tests.node_rotation.crashes import run_for

from node_rotation import engine
from node_rotation.testing.world import MemoryWorld

HELD_S = 30.0


def taints_newcomers(world: MemoryWorld, key: str) -> None:
    """Have every machine on the new image join with a taint that its agent takes away after a while."""
    known: set[str] = set()

    def look() -> None:
        for node in world.cluster.nodes():
            if node.instance_id in world.on_image("base-new") and node.name not in known:
                known.add(node.name)
                world.cluster.taint(node.name, node.uid, (key, "", "NoSchedule"))
                world.clock.after(HELD_S, lambda n=node: world.cluster.untaint(n.name, n.uid, key))
        world.clock.after(0.1, look)

    look()


@pytest.mark.parametrize("key", ["startup-taint.cluster-autoscaler.kubernetes.io/warm", "example.com/agent-not-ready"])
def test_the_old_machine_is_left_alone_until_the_taint_is_gone(key: str) -> None:
    world = MemoryWorld.simple(1, replicas=1)
    run = run_for(world)
    taints_newcomers(world, key)
    said: list[str] = []
    tainted: list[bool] = []

    def hear(event: engine.Event) -> None:
        if isinstance(event, engine.BatchWaits):
            said.extend(event.reasons)
        if isinstance(event, engine.BatchMoved) and event.step == "cordon":
            tainted.append(any(name == key for node in world.cluster.nodes() for name, _, _ in node.taints))

    assert engine.rotate(run, hear).ok
    assert any(f"still has the startup taint {key}" in reason for reason in said)
    assert tainted == [False]
