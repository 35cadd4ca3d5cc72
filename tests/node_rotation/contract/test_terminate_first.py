"""Workers without extra capacity, in both worlds: an old machine goes, drained, before its replacement comes."""

from __future__ import annotations

from tests.node_rotation.contract.conftest import World
from tests.node_rotation.contract.rotating import planned

from node_rotation import engine


def pods_on(world: World, machines: list[str]) -> list[str]:
    """Pods that keep a machine: not those of DaemonSets."""
    nodes = {n.name for n in world.cluster.nodes() if n.instance_id in machines}
    return [p.key for p in world.cluster.pods() if p.node in nodes and p.owner and p.owner.kind != "DaemonSet"]


def alive(world: World) -> list[str]:
    """Members that are there or come, not those that go."""
    return [m.instance_id for m in world.group().members if not m.lifecycle.startswith("Terminating")]


def usable(world: World) -> int:
    """Machines that take pods."""
    members = world.members()
    return sum(n.ready and not n.unschedulable for n in world.cluster.nodes() if n.instance_id in members)


def test_machines_go_one_at_a_time_empty_and_before_anybody_comes(world: World) -> None:
    stays, *olds = world.members()
    sizes = (world.group().min, world.group().max, world.group().desired)
    run = planned(world, olds, strategy="terminate_first", budget={"max_unavailable": 1})
    machines = {batch.name: [m.instance_id for m in batch.machines] for batch in run.plan.batches}
    most, fewest, left = 0, 3, []

    def watch(event: engine.Event) -> None:
        nonlocal most, fewest
        most, fewest = max(most, len(alive(world))), min(fewest, usable(world))
        if isinstance(event, engine.BatchMoved) and event.step == "terminate":
            left.extend(pods_on(world, machines[event.batch]))

    result = engine.rotate(run, watch)

    assert result.ok, result
    assert left == [], "what goes was drained"
    assert most == 3, "there was never a machine on top"
    assert fewest == 2, "nobody is cordoned before the replacement of the one before is of use"
    now = world.eventually(lambda: world.members() if len(world.members()) == 3 else [])
    assert stays in now
    assert not set(olds) & set(now)
    assert (world.group().min, world.group().max, world.group().desired) == sizes
