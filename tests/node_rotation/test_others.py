"""Others change a group while it rotates: seen and handled, not fought."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from tests.node_rotation.crashes import after, beside, by_tags, is_there_twice, run_for, vanishes

from node_rotation import engine
from node_rotation.report import page, report
from node_rotation.testing.world import MemoryWorld

STRATEGIES = pytest.mark.parametrize("strategy", ["surge", "detach"])


class Heard:
    """A rotation during which somebody acts once, when a batch begins a step."""

    def __init__(self, world: MemoryWorld, at: tuple[str, str], act: Callable[[], None], **policy: Any) -> None:
        self._at, self._act = at, act
        self.said: list[str] = []
        self.result = engine.rotate(run_for(world, canary=False, **policy), self._listen)
        world.clock.wait(60.0)

    def _listen(self, event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step is not None and (event.batch, event.step) == self._at:
            self._at = ("", "")
            self._act()
        elif isinstance(event, engine.BatchWaits):
            self.said.extend(event.reasons)
        elif isinstance(event, engine.Note):
            self.said.append(event.text)


@STRATEGIES
def test_a_replacement_that_spot_reclaims_is_launched_again(strategy: str) -> None:
    world = MemoryWorld.simple(3, replicas=3, boot=10.0)

    def reclaim() -> None:
        (new,) = world.on_image("base-new")
        world.clock.after(1.0, lambda: world.cloud.terminate(new))

    world.clock.after(5.0, reclaim)
    heard = Heard(world, ("", ""), lambda: None, strategy=strategy)
    assert heard.result.ok
    assert after(world).clean
    assert (after(world).old, len(world.on_image("base-new"))) == (0, 3)


@STRATEGIES
def test_an_old_machine_that_spot_reclaims_counts_as_done(strategy: str) -> None:
    world = MemoryWorld.simple(3, replicas=3)
    run = run_for(world)
    last = run.plan.batches[-1].machines[0].instance_id
    heard = Heard(world, ("workers/1", "drain"), lambda: world.cloud.terminate(last), strategy=strategy)
    assert heard.result.ok
    assert after(world).orphans == ()
    assert after(world).residue == ()
    assert (after(world).old, len(world.on_image("base-new"))) == (0, 3)


def test_a_size_that_a_person_or_the_autoscaler_raises_while_machines_are_detached_is_kept() -> None:
    world = MemoryWorld.simple(3, replicas=3)
    asg = world.asg("workers")

    def grow() -> None:
        desired = world.cloud.groups([asg])[asg].desired
        world.cloud.set_sizes(asg, desired=desired + 2)

    heard = Heard(world, ("workers/2", "drain"), grow, strategy="detach")
    assert heard.result.ok
    assert after(world).old == 0
    assert world.cloud.groups([asg])[asg].desired == 5
    assert len(world.on_image("base-new")) == 5


def test_an_old_machine_that_the_autoscaler_removes_while_others_are_detached_is_not_replaced() -> None:
    world = MemoryWorld.simple(4, replicas=4)
    run = run_for(world)
    last = run.plan.batches[-1].machines[0].instance_id

    def shrink() -> None:
        world.cloud.terminate_in_group(last, decrement=True)

    heard = Heard(world, ("workers/1", "drain"), shrink, strategy="detach")
    assert heard.result.ok
    assert (after(world).old, len(world.on_image("base-new"))) == (0, 3)
    assert world.orphans() == ()


def test_an_instance_refresh_that_begins_midway_is_waited_for_and_what_it_replaced_is_not_replaced_again() -> None:
    world = MemoryWorld.simple(4, replicas=4)
    asg = world.asg("workers")
    begun: list[str] = []

    def begin() -> None:
        begun.append(world.scaling.start_refresh(asg, {"SkipMatching": True, "InstanceWarmup": 20}))

    heard = Heard(world, ("workers/1", "terminate"), begin)
    assert heard.result.ok, heard.result
    (refresh,) = world.scaling.group(asg).refreshes
    assert (refresh["Status"], refresh["PercentageComplete"]) == ("Successful", 100)
    assert f"instance refresh {begun[0]} is replacing the machines of dev-workers" in heard.said
    assert (f"asg {asg}", f"instance refresh {begun[0]} was begun") in seen(heard)
    assert sum(m.action == "TerminateInstanceInAutoScalingGroup" for m in world.mutations) == 1
    assert (after(world).old, len(world.on_image("base-new"))) == (0, 4)
    assert not after(world).orphans
    assert not after(world).residue


def seen(heard: Heard) -> set[tuple[str, str]]:
    """What the ledger says of others, which is what the report shows."""
    ledger = heard.result.ledger
    assert ledger is not None
    return {(one.object, one.what) for one in ledger.others}


def test_the_report_names_what_others_did_and_when_it_was_seen() -> None:
    world = MemoryWorld.simple(3, replicas=3)
    asg = world.asg("workers")
    run = run_for(world, canary=False)
    at: list[float] = []

    def grow() -> None:
        at.append(world.clock.now())
        world.scaling.set_desired(asg, world.scaling.group(asg).desired + 2)

    heard = Heard(world, ("workers/2", "drain"), grow)
    (told,) = report(run.plan, heard.result)["others"]
    assert (told["object"], told["what"]) == (f"asg {asg}", "desired 3 → 5")
    assert 0 <= datetime.fromisoformat(told["at"]).timestamp() - at[0] < 60
    assert "desired 3 → 5 (somebody else, first seen" in page(report(run.plan, heard.result))


def test_a_rotation_alone_names_nobody() -> None:
    for strategy in ("surge", "detach"):
        world = MemoryWorld.simple(3, replicas=3)
        heard = Heard(world, ("", ""), lambda: None, strategy=strategy)
        assert heard.result.ok
        assert seen(heard) == set()


@STRATEGIES
def test_a_replacement_that_spot_reclaims_while_the_old_machine_drains_is_not_the_images_fault(strategy: str) -> None:
    world = MemoryWorld.simple(3, replicas=3)

    def reclaim() -> None:
        world.cloud.terminate(world.on_image("base-new")[0])

    heard = Heard(world, ("workers/1", "drain"), reclaim, strategy=strategy)
    assert heard.result.ok
    assert heard.result.frozen == ()
    assert (after(world).old, len(world.on_image("base-new"))) == (0, 3)
    assert any(what == "went away again, it was a replacement" for _, what in seen(heard))


def test_an_old_machine_that_a_person_takes_out_to_look_into_it_is_left_alone() -> None:
    world = MemoryWorld.simple(3, replicas=3)
    (machine,) = (m.instance_id for m in run_for(world, canary=False).plan.batches[1].machines)

    def take_out() -> None:
        world.scaling.detach(world.asg("workers"), [machine], decrement=True)

    heard = Heard(world, ("workers/2", "drain"), take_out)
    assert heard.result.ok, heard.result
    assert machine in world.on_image("base-old")
    assert world.scaling.group(world.asg("workers")).desired == 2
    assert len(world.on_image("base-new")) == 2
    node = next(n for n in world.objects.nodes.values() if n.instance_id == machine)
    assert not node.unschedulable
    assert [line for line in after(world).residue if "min, max, desired" not in line] == []
    left_alone = "was taken out of asg dev-workers and runs on: it is left alone"
    assert (f"instance {machine}", left_alone) in seen(heard)


@STRATEGIES
def test_one_that_a_person_takes_out_before_its_turn_keeps_no_mark_of_ours(strategy: str) -> None:
    """Every old machine is tainted as the run begins, this one too."""
    world = MemoryWorld.simple(3, replicas=3)
    (machine,) = (m.instance_id for m in run_for(world, canary=False).plan.batches[2].machines)

    def take_out() -> None:
        world.scaling.detach(world.asg("workers"), [machine], decrement=True)

    heard = Heard(world, ("workers/1", "drain"), take_out, strategy=strategy)
    assert heard.result.ok, heard.result
    assert machine in world.on_image("base-old")
    assert world.scaling.group(world.asg("workers")).desired == 2
    assert [line for line in after(world).residue if "min, max, desired" not in line] == []


def test_rebalancing_that_somebody_resumes_midway_stays_resumed_and_what_it_takes_counts_as_done() -> None:
    world = MemoryWorld.simple(4, zones=2, replicas=4)
    asg = world.asg("workers")

    def resume() -> None:
        world.scaling.resume(asg, ["AZRebalance"])
        old = [m.instance_id for m in world.scaling.group(asg).live() if m.instance_id in world.on_image("base-old")]
        world.scaling.terminate(old[-1], decrement=False)  # as rebalancing does: another comes in its place

    heard = Heard(world, ("workers/1", "drain"), resume)
    assert heard.result.ok, heard.result
    assert after(world).old == 0
    assert not after(world).orphans
    assert not after(world).residue
    assert (f"asg {asg}", "AZRebalance was resumed") in seen(heard)
    assert sum(m.action == "SuspendProcesses" for m in world.mutations) == 1


def test_the_autoscaler_keeps_off_old_machines_too_while_they_are_emptied() -> None:
    world = MemoryWorld.simple(2, replicas=2)
    kept: list[bool] = []

    def look() -> None:
        (node,) = (n for n in world.objects.nodes.values() if n.unschedulable)
        kept.append(node.annotations.get("cluster-autoscaler.kubernetes.io/scale-down-disabled") == "true")

    assert Heard(world, ("workers/1", "drain"), look).result.ok
    assert kept == [True]
    assert after(world).clean


def test_somebody_elses_annotation_against_scale_down_stays() -> None:
    world = MemoryWorld.simple(2, replicas=2, behaviour="never-joins")
    (first, *_) = world.objects.nodes.values()
    theirs = {"cluster-autoscaler.kubernetes.io/scale-down-disabled": "true"}
    world.cluster.annotate(first.name, first.uid, theirs)
    Heard(world, ("", ""), lambda: None)
    assert theirs.items() <= world.objects.nodes[first.name].annotations.items()


@STRATEGIES
@pytest.mark.parametrize("happens", [vanishes, is_there_twice])
def test_a_rotation_goes_on_whatever_becomes_of_a_group_that_it_has_nothing_to_do_with(
    strategy: str, happens: Callable[[MemoryWorld], None]
) -> None:
    world = beside()
    run = run_for(world, strategy=strategy)
    run = run if happens is vanishes else by_tags(world, run)

    def listen(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and (event.batch, event.step) == ("workers/1", "drain"):
            happens(world)

    began = world.clock.now()
    result = engine.rotate(run, listen)
    assert result.ok, result
    assert world.clock.now() - began < 600.0
    assert len(world.on_image("base-new")) == 3
    assert not world.orphans()
    assert world.cluster.lease() is None
