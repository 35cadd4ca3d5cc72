"""Rotations as a whole, on a clock that jumps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from tests.node_rotation.crashes import after, dies_at_the_last, plan_for, rotate, run_for

from node_rotation import ending, engine, lock, names, sweep
from node_rotation.ledger import parse
from node_rotation.model import StepName
from node_rotation.run import Run
from node_rotation.testing import seeds
from node_rotation.testing.faults import Mutation
from node_rotation.testing.world import MemoryWorld


@pytest.mark.parametrize("strategy", ["detach", "surge"])
def test_every_machine_is_replaced_and_nothing_is_left(strategy: str) -> None:
    world = MemoryWorld.simple(6)
    result = rotate(world, strategy=strategy, budget={"max_surge": 2})
    assert result.ok
    assert len(result.passed) == 6
    assert after(world).clean
    assert after(world).old == 0
    assert world.monitor.max_extra[world.asg("workers")] <= 2


def test_at_most_four_calls_change_aws_for_each_machine() -> None:
    for strategy in ("detach", "surge"):
        world = MemoryWorld.simple(6)
        rotate(world, strategy=strategy, budget={"max_surge": 2})
        aws = Counter(m.action for m in world.mutations if m.action[0].isupper())
        assert 6 <= sum(aws.values()) <= 4 * 6 + 4
        assert after(world).old == 0


def test_claims_never_take_more_than_the_slots() -> None:
    world = MemoryWorld.simple(6, max_unavailable=4)

    def in_use(annotations: dict[str, str]) -> Counter[str]:
        ledger = parse(annotations[names.LEDGER])
        return Counter({"workers": sum(len(c.machines) for c in ledger.claims if c.open)})

    world.monitor.claims_in_use = in_use
    rotate(world, budget={"max_surge": 2})
    assert world.monitor.max_claimed["workers"] == 2


def test_an_application_that_does_not_start_again_holds_the_rotation_and_freezes_no_image() -> None:
    world = MemoryWorld.simple(3, replicas=3)
    world.add_workload(seeds.Workload("api", replicas=1))
    world.clock.wait(20.0)

    def breaks(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step is StepName.DRAIN and event.batch == "workers/1":
            world.objects.workloads["Deployment", "default", "api"].seed = seeds.Workload("api", ready_after=9e9)

    result = engine.rotate(run_for(world), breaks)
    ((name, why),) = result.failed
    assert (name, why.image_fault, result.frozen) == ("workers/1", False, ())
    bad = world.image_id("base-new")
    assert f"Image {bad} is not frozen" in why.remedy
    assert "only those of Deployment default/api fail there" in why.remedy
    assert f"node-rotation freeze {bad} --reason TEXT" in why.remedy


def test_so_it_says_as_well_where_a_canary_that_went_by_itself_has_passed_in_vain() -> None:
    world = MemoryWorld.simple(3, replicas=3)
    run = run_for(world)
    world.cloud.terminate_in_group(run.plan.batches[0].machines[0].instance_id, decrement=True)
    world.clock.wait(60.0)
    run.look.forget()
    world.add_workload(seeds.Workload("api", replicas=2, spread="hostname"))
    world.clock.wait(20.0)

    def breaks(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step is StepName.DRAIN and event.batch == "workers/2":
            world.objects.workloads["Deployment", "default", "api"].seed = seeds.Workload(
                "api", replicas=2, spread="hostname", ready_after=9e9
            )

    result = engine.rotate(run, breaks)

    assert "workers/1" in result.passed
    ((name, why),) = result.failed
    assert (name, why.image_fault) == ("workers/2", False)
    assert f"Image {world.image_id('base-new')} is not frozen" in why.remedy


def test_an_image_that_never_joins_stops_at_the_canary_and_everything_goes_back() -> None:
    for strategy in ("detach", "surge"):
        world = MemoryWorld.simple(4, behaviour="never-joins")
        result = rotate(world, strategy=strategy)
        assert not result.ok
        (name, why), *others = result.failed
        assert (name, others) == ("workers/1", [])
        assert why.image_fault
        assert "has not joined the cluster" in why.reason
        assert len(result.skipped) == 3
        world.clock.wait(30.0)
        assert after(world).clean, strategy
        assert after(world).old == 4


def test_no_capacity_is_a_hold_in_aws_own_words_and_everything_goes_back() -> None:
    for strategy in ("detach", "surge"):
        world = MemoryWorld.simple(3, faults=[seeds.Fault(kind="capacity")])
        result = rotate(world, strategy=strategy)
        (_, why), *_ = result.failed
        assert not why.image_fault
        assert "capacity" in why.reason
        world.clock.wait(30.0)
        assert after(world).clean, strategy
        assert after(world).old == 3


def test_a_pod_that_may_not_be_evicted_blocks_by_name_and_goes_back() -> None:
    for strategy in ("detach", "surge"):
        world = MemoryWorld.simple(2, replicas=4)
        run = run_for(world, strategy=strategy)
        twin = seeds.DisruptionBudget(name="twin", namespace="default", selector={"app": "web"}, max_unavailable=1)
        world.disruption.add(twin)
        result = engine.rotate(run)
        (_, why), *_ = result.failed
        assert any("web" in name for name in why.objects)
        world.clock.wait(30.0)
        assert after(world).clean, strategy


def test_throttling_and_lost_answers_change_nothing() -> None:
    for strategy in ("detach", "surge"):
        faults = [
            seeds.Fault(kind="throttle", service="autoscaling", calls=(3, 9, 15)),
            seeds.Fault(kind="lost_answer", action="DetachInstances", calls=(1,)),
            seeds.Fault(kind="lost_answer", action="TerminateInstanceInAutoScalingGroup", calls=(1,)),
            seeds.Fault(kind="lost_answer", action="TerminateInstances", calls=(1,)),
            seeds.Fault(kind="conflict", action="update_lease", calls=(2, 3, 7)),
        ]
        world = MemoryWorld.simple(3, replicas=6, faults=faults)
        assert rotate(world, strategy=strategy).ok
        assert not world.orphans()
        assert not world.residue()


def test_interrupted_it_heals_and_gives_the_lock_back() -> None:
    world = MemoryWorld.simple(3, replicas=6)
    run = run_for(world, strategy="detach")

    def stop(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step == "drain":
            raise KeyboardInterrupt

    result = engine.rotate(run, stop)
    assert result.blocked is not None
    world.clock.wait(30.0)
    assert after(world).clean


def interrupted_at(world: MemoryWorld, run: Run, *mutations: int) -> tuple[engine.Result, list[str]]:
    """Ctrl-C at the first drain, then after each of these changes, counted from there; how it ended, and what was said.

    :raises RotationInterruptedError: as the engine does.
    """
    notes: list[str] = []
    changed: list[str] = []

    def change(mutation: Mutation) -> None:
        changed.append(mutation.action)
        if len(changed) in mutations:
            raise KeyboardInterrupt

    def stop(event: engine.Event) -> None:
        if isinstance(event, engine.Note):
            notes.append(event.text)
        if isinstance(event, engine.BatchMoved) and event.step == "drain":
            world.journal.on_mutation = change
            raise KeyboardInterrupt

    return engine.rotate(run, stop), notes


@pytest.mark.parametrize("strategy", ["detach", "surge"])
def test_one_ctrl_c_while_everything_is_given_back_loses_nothing_whenever_it_comes(strategy: str) -> None:
    at, told = 1, True
    while told:
        world = MemoryWorld.simple(3, replicas=6)
        result, notes = interrupted_at(world, run_for(world, strategy=strategy), at)
        told = ending.GOES_ON in notes
        assert result.blocked is not None
        assert "the rotation was interrupted: everything is given back" in notes
        assert not world.residue(), at
        world.clock.wait(30.0)
        assert after(world).clean, at
        at += 1
    assert at > 8


@pytest.mark.parametrize("strategy", ["detach", "surge"])
def test_the_next_one_leaves_it_to_whoever_finds_the_lock_silent(strategy: str) -> None:
    world = MemoryWorld.simple(3, replicas=6)
    run = run_for(world, strategy=strategy)
    with pytest.raises(engine.RotationInterruptedError):
        interrupted_at(world, run, 1, 2)
    lease = world.cluster.lease()
    assert lease is not None
    assert lease.holder == run.id

    world.journal.on_mutation = None
    world.clock.wait(lock.dead_after_s(lease.duration_s) + 1.0)
    swept = sweep.until_done(run.settings, world.cloud, world.cluster, world.clock, "sweep-1")

    assert f"took over the lock from {run.id}" in swept.did
    assert not swept.left
    world.clock.wait(30.0)
    assert after(world).clean


def test_a_rotation_that_is_through_is_through_if_it_is_interrupted_at_its_end() -> None:
    world = MemoryWorld.simple(1)

    def stop(mutation: Mutation) -> None:
        if mutation.action == "ResumeProcesses":
            world.journal.on_mutation = None
            raise KeyboardInterrupt

    world.journal.on_mutation = stop
    assert rotate(world).ok
    assert world.journal.on_mutation is None
    assert after(world).clean


def test_a_second_run_is_refused_and_changes_nothing() -> None:
    world = MemoryWorld.simple(3)
    first = run_for(world, "run-1")
    engine.prepare(first, "workers")
    before = len(world.mutations)
    result = rotate(world, "run-2")
    assert result.blocked is not None
    assert "run-1" in result.blocked.reason
    assert len(world.mutations) == before


def test_a_sweep_at_work_is_waited_for_and_told_once() -> None:
    world = MemoryWorld.simple(3)
    engine.prepare(run_for(world, "run-1"), "workers")
    world.clock.wait(1000.0)
    sweeps, run = run_for(world, "sweep scheduled__1"), run_for(world, "run-2")
    lock.take_over(sweeps)
    world.clock.after(90.0, lambda: sweep.sweep(sweeps.settings, world.cloud, world.cluster, world.clock, sweeps.id))
    events: list[engine.Event] = []
    assert engine.rotate(run, events.append).ok
    assert len([e for e in events if isinstance(e, engine.Note) and "held by sweep scheduled__1" in e.text]) == 1
    assert after(world).clean


def test_a_plan_without_batches_touches_nothing() -> None:
    world = MemoryWorld.simple(3)
    rotate(world)
    before = len(world.mutations)
    plan, _ = plan_for(world)
    assert not plan.batches
    assert rotate(world, "run-2").ok
    assert len(world.mutations) == before


def test_a_reason_that_lasts_is_said_once() -> None:
    world = MemoryWorld.simple(3, replicas=6, boot=100.0, stops_after=40.0)
    events: list[engine.Event] = []
    engine.rotate(run_for(world, launch_timeout="300s", gate={"settle": "30s", "timeout": "90s"}), events.append)
    said = Counter((e.batch, e.step, r) for e in events if isinstance(e, engine.BatchWaits) for r in e.reasons)
    assert said
    for (batch, step, reason), times in said.items():
        assert times <= 3, f"{batch} {step}: {reason!r}"  # again only when another reason came or went


def test_a_lost_lock_ends_the_run_without_another_call() -> None:
    world = MemoryWorld.simple(3)
    run = run_for(world)

    def steal(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step == "cordon":
            lease = world.cluster.lease()
            assert lease is not None
            world.cluster.update_lease(
                lease, holder="thief", duration_s=99.0, annotations=lease.annotations, renewed_at=world.clock.now()
            )

    result = engine.rotate(run, steal)
    assert result.blocked is not None
    assert "thief" in result.blocked.reason
    assert world.mutations[-1].action == "update_lease"


@pytest.mark.parametrize(("rule", "failed", "skipped"), [("hold", 1, 3), ("skip", 1, 3), ("fail", 4, 0)])
def test_what_later_batches_do_after_a_failure(rule: str, failed: int, skipped: int) -> None:
    world = MemoryWorld.simple(4, behaviour="joins-not-ready")
    gate = {"settle": "3s", "timeout": "60s", "on_failure": rule}
    result = rotate(world, gate=gate)
    assert (len(result.failed), len(result.skipped)) == (failed, skipped)
    world.clock.wait(30.0)
    assert after(world).clean


def test_a_machine_on_top_that_pods_do_not_leave_is_told_and_stays_told() -> None:
    """Given up, the group is larger than before: the run says so, and so does all that follows until somebody acts."""
    world = MemoryWorld.simple(1, replicas=0)
    world.add_workload(seeds.Workload("stuck", stops_after=172_800.0))
    world.clock.run_until(world.settled, 600.0)
    run = run_for(world)

    result = engine.rotate(run)

    assert not result.ok
    assert result.verdict is not None
    assert [line for line in result.verdict.residue if line.startswith("asg dev-workers: tag")]
    swept = sweep.sweep(run.settings, world.cloud, world.cluster, world.clock, "sweep-1")
    assert [line for line in swept.left if "desired 2, was 1 before run run-1" in line]

    world.clock.wait(172_800.0)
    again = rotate(world, "run-2")

    assert again.verdict is not None
    assert [line for line in again.verdict.residue if "desired=1" in line]
    swept = sweep.sweep(run.settings, world.cloud, world.cluster, world.clock, "sweep-1")
    assert [line for line in swept.left if "desired 2, was 1 before run run-1" in line]
    world.cloud.set_sizes("dev-workers", desired=1)
    world.clock.wait(172_800.0)
    assert sweep.sweep(run.settings, world.cloud, world.cluster, world.clock, "sweep-2").left == ()
    assert not world.residue()


def refuses(world: MemoryWorld, kind: str, for_s: float) -> Callable[[engine.Event], None]:
    """From the first drain on AWS does not tell of its groups, for so long, while batches wait for their turn."""

    def listen(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step == "drain" and not begun:
            begun.append(event.batch)
            fault = seeds.Fault(kind=kind, action="DescribeAutoScalingGroups", code="ValidationError")
            world.journal.faults.append(fault)
            world.clock.after(for_s, world.journal.faults.clear)

    begun: list[str] = []
    return listen


@pytest.mark.parametrize("strategy", ["detach", "surge"])
@pytest.mark.parametrize("kind", ["error", "denied"])
def test_a_look_that_is_refused_for_a_while_ends_the_run_with_everything_restored(kind: str, strategy: str) -> None:
    world = MemoryWorld.simple(4, replicas=8)
    result = engine.rotate(run_for(world, strategy=strategy), refuses(world, kind, 300.0))
    assert not result.ok
    assert result.failed
    assert result.verdict is not None
    assert not result.verdict.residue
    world.clock.wait(30.0)
    assert after(world).clean


@pytest.mark.parametrize("kind", ["error", "denied"])
def test_a_look_that_is_refused_for_good_ends_in_bounded_time_with_a_verdict_that_says_so(kind: str) -> None:
    world = MemoryWorld.simple(4, replicas=8)
    refusing, notes = refuses(world, kind, 1e9), list[str]()

    def listen(event: engine.Event) -> None:
        refusing(event)
        if isinstance(event, engine.Note):
            notes.append(event.text)

    result = engine.rotate(run_for(world, strategy="detach"), listen)
    assert result.ended_at - result.started_at < 1.5 * ending.DEAF_S
    assert result.verdict is not None
    (problem,) = result.verdict.problems
    assert "ValidationError" in problem
    assert max(Counter(notes).values()) <= 5  # of each batch, and once at the end: not at every look
    world.journal.faults.clear()
    world.clock.wait(1000.0)
    sweep.until_done(world.settings(), world.cloud, world.cluster, world.clock, "sweep-1")
    world.clock.wait(30.0)
    assert after(world).clean


def test_a_group_that_pods_do_not_leave_keeps_no_other_from_being_restored() -> None:
    images = (seeds.Image("base-old"), seeds.Image("base-new", created="2026-11-08T06:00:00.000Z"))
    groups = (seeds.Group(name, image="base-old", next_image="base-new", desired=1) for name in ("a", "b"))
    world = MemoryWorld.of(groups=tuple(groups), images=images)
    stopped: list[float] = []

    def stop(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and (event.batch, event.step) == ("a/1", "cordon"):
            world.add_workload(seeds.Workload("stuck", replicas=3, spread="hostname", stops_after=172_800.0))
            world.clock.wait(10.0)
            stopped.append(world.clock.now())
            raise KeyboardInterrupt

    engine.rotate(run_for(world), stop)
    resumed = {m.args["group"]: m.at - stopped[0] for m in world.mutations if m.action == "ResumeProcesses"}
    assert resumed["dev-a"] > 100.0
    assert resumed["dev-b"] < 10.0


def test_called_again_with_nothing_left_to_rotate_a_run_puts_back_what_it_left() -> None:
    world = MemoryWorld.simple(1)
    dies_at_the_last(run_for(world), world)
    again = run_for(world)
    assert not again.plan.batches

    result = engine.rotate(again)

    assert result.ok
    assert result.verdict is not None
    assert result.took_up == again.id
    assert world.cluster.lease() is None
    assert after(world).clean
