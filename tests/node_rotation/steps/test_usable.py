"""DaemonSets and new machines: what is waited for, and what is held against the image."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.node_rotation.builders import NEW, NOW, OLD, STOPPED, Machine, not_ready, pod
from tests.node_rotation.builders import world as seen
from tests.node_rotation.crashes import STRATEGIES, after, run_for

from node_rotation import engine
from node_rotation.model import StepName
from node_rotation.steps.usable import Problem, problem, unwanted
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.kubernetes import Workload
from node_rotation.world.snapshot import Snapshot

NEVER = 9e9


def with_daemon(ready_after: float, **more: Any) -> MemoryWorld:
    """Three machines, pods of ``web``, and one more DaemonSet."""
    world = MemoryWorld.simple(3, replicas=3)
    world.add_workload(seeds.Workload("probe", "DaemonSet", "monitoring", ready_after=ready_after, **more))
    world.clock.wait(60.0)
    return world


def breaks(world: MemoryWorld, name: str, *, everywhere: bool) -> None:
    """From now on new pods of a DaemonSet do not become Ready; everywhere: those that run are not either."""
    state = world.objects.workloads["DaemonSet", "monitoring", name]
    state.seed = seeds.Workload(name, "DaemonSet", "monitoring", ready_after=NEVER)
    for running in state.active() if everywhere else ():
        world.objects.change_pod(running.uid, "crashes", ready=False)


def rotate_and_break(world: MemoryWorld, *, everywhere: bool, **policy: Any) -> engine.Result:
    """Rotate, and have the DaemonSet break once the run has written down what was broken before."""
    broken = False

    def hear(event: engine.Event) -> None:
        nonlocal broken
        if isinstance(event, engine.BatchMoved) and event.step is StepName.LAUNCH and not broken:
            broken = True
            breaks(world, "probe", everywhere=everywhere)

    return engine.rotate(run_for(world, **policy), hear)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_daemon_set_that_was_broken_before_keeps_no_machine_from_being_replaced(strategy: str) -> None:
    world = with_daemon(NEVER)
    result = engine.rotate(run_for(world, strategy=strategy))
    assert result.ok, result
    assert result.frozen == ()
    assert after(world).old == 0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_daemon_set_that_breaks_everywhere_meanwhile_holds_the_rotation_and_freezes_no_image(strategy: str) -> None:
    world = with_daemon(0.0)
    result = rotate_and_break(world, everywhere=True, strategy=strategy)
    ((name, why),) = result.failed
    assert (name, why.image_fault, result.frozen) == ("workers/1", False, ())
    assert "monitoring/probe" in why.reason


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_daemon_set_that_only_the_new_machine_does_not_run_freezes_its_image(strategy: str) -> None:
    world = with_daemon(0.0)
    result = rotate_and_break(world, everywhere=False, strategy=strategy)
    ((name, why),) = result.failed
    assert (name, why.image_fault) == ("workers/1", True)
    assert "monitoring/probe" in why.reason
    assert world.image_id("base-new") in result.frozen[0]


def labelled() -> MemoryWorld:
    """Somebody labelled the old machines, and a DaemonSet runs on what has that label."""
    world = MemoryWorld.simple(3, replicas=3)
    for node in world.cluster.nodes():
        world.cluster.label(node.name, node.uid, {"monitoring": "yes"})
    world.add_workload(
        seeds.Workload("probe", "DaemonSet", "monitoring", ready_after=0.0, node_selector={"monitoring": "yes"})
    )
    world.clock.wait(60.0)
    world.journal.forget()
    return world


@pytest.mark.parametrize("strategy", ["detach", "surge"])
def test_a_daemon_set_that_does_not_belong_on_the_new_machine_is_not_waited_for(strategy: str) -> None:
    world = labelled()
    result = engine.rotate(run_for(world, strategy=strategy))
    assert result.ok, result
    assert result.frozen == ()
    assert after(world).old == 0


def without_pod(*, lacking: int, age_s: float = 600.0) -> Snapshot:
    """A DaemonSet runs on the old machine, and has no pod on the new one yet.

    :param age_s: of the new machine's Node.
    """
    snapshot = seen(
        {"dev-workers": (Machine("i-old"), Machine("i-new"))}, pods=[pod("x", "node-i-old", owner="DaemonSet")]
    )
    daemons = Workload("DaemonSet", "shop", "api", "u", 1 + lacking, 1, lacking=lacking)
    nodes = tuple(replace(node, created_at=NOW - age_s) for node in snapshot.nodes)
    return replace(snapshot, workloads=(daemons,), nodes=nodes)


def missing(snapshot: Snapshot) -> Problem | None:
    return problem(snapshot, snapshot.groups["dev-workers"], "i-new", "i-old", OLD.id)


def test_a_daemon_sets_pod_that_its_controller_still_has_to_make_is_waited_for_and_no_fault_of_the_image() -> None:
    found = missing(without_pod(lacking=1))
    assert found is not None
    assert (found.text, found.image_fault) == ("on node node-i-new there is no pod of DaemonSet shop/api yet", False)


def test_a_node_that_its_controller_may_not_have_seen_is_waited_for() -> None:
    assert missing(without_pod(lacking=0, age_s=5.0)) is not None
    assert missing(without_pod(lacking=0)) is None


def test_a_daemon_set_that_is_not_waited_for_is_named() -> None:
    assert unwanted(without_pod(lacking=0), "i-new", "i-old") == (
        "DaemonSet shop/api ran on i-old and has no place on i-new: see its node selector",
    )


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_a_machine_that_is_not_ready_while_an_old_one_is_not_either_is_no_fault_of_the_image(
    joined: bool, before: bool
) -> None:
    new = Machine("i-new", NEW.id, ready=False, node=joined)
    snapshot = seen({"dev-workers": (Machine("i-old"), Machine("i-other", ready=False), new)})
    nodes = (n if n.ready else not_ready(n, *STOPPED) for n in snapshot.nodes)
    snapshot = replace(snapshot, nodes=tuple(nodes))
    known = ["node-i-other"] if before else []
    group = snapshot.groups["dev-workers"]
    found = problem(snapshot, group, "i-new", "i-old", NEW.id, not_ready=known)
    assert found is not None
    assert not joined or "NotReady (NodeStatusUnknown: Kubelet stopped posting node status.)" in found.text
    assert found.image_fault is before
