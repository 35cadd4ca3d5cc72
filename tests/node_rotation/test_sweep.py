"""What a sweep does, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from tests.node_rotation.crashes import after, beside, by, by_tags, dies, is_there_twice, run_for, vanishes

from node_rotation import engine, lock, names
from node_rotation import machine as by_hand
from node_rotation.errors import BadInputError
from node_rotation.fleet import Settings
from node_rotation.model import StepName
from node_rotation.run import Run
from node_rotation.steps.prepare import prepare
from node_rotation.steps.undo import marked
from node_rotation.steps.verify import verify
from node_rotation.sweep import Swept, sweep, until_done
from node_rotation.testing import seeds
from node_rotation.testing.faults import Crash, Mutation
from node_rotation.testing.world import MemoryWorld


def swept(world: MemoryWorld) -> Swept:
    return sweep(world.settings(), world.cloud, world.cluster, world.clock, "sweep-1")


def test_a_clean_cluster_is_not_touched() -> None:
    world = MemoryWorld.simple(2)
    assert swept(world) == Swept()
    assert not world.mutations


def test_a_live_run_is_not_touched() -> None:
    world = MemoryWorld.simple(2)
    prepare(run_for(world), "workers")
    before = len(world.mutations)
    assert swept(world).held_by == "run-1"
    assert len(world.mutations) == before


def test_a_dead_run_that_only_prepared_leaves_nothing() -> None:
    world = MemoryWorld.simple(2)
    prepare(run_for(world), "workers")
    world.clock.wait(1000.0)
    found = swept(world)
    assert found.did
    assert not found.left
    assert after(world).clean


def test_what_a_live_run_has_marked_is_its_own_and_what_a_dead_one_left_is_found_by_verify() -> None:
    world = MemoryWorld.simple(2)
    prepare(run_for(world), "workers")
    other = run_for(world, "run-2")
    assert verify(other).residue == ()
    world.clock.wait(1000.0)
    lease, *marks = verify(other).residue
    assert "is still held by run-1, which died" in lease
    assert marks


def test_residue_without_a_lease_is_found() -> None:
    world = MemoryWorld.simple(3)
    run = run_for(world)
    prepare(run, "workers")
    lock.release(run)
    assert world.residue()
    assert not swept(world).left
    assert after(world).clean


def test_an_orphan_without_a_lease_comes_back_into_a_group_that_lacks_it() -> None:
    world = MemoryWorld.simple(3, faults=[seeds.Fault(kind="capacity")])
    asg = world.asg("workers")
    machine = world.on_image("base-old")[0]
    world.cloud.tag_instances([machine], {names.DETACHED_FROM: asg})
    world.cloud.detach(asg, [machine])
    assert swept(world).left  # AWS still shows it as Detaching
    world.clock.wait(0.5)
    assert world.orphans() == (machine,)
    assert not swept(world).left
    world.clock.wait(60.0)
    assert not world.orphans()
    assert not world.residue()


def test_an_orphan_whose_replacement_has_come_is_drained_and_goes() -> None:
    world = MemoryWorld.simple(3, replicas=6)
    asg = world.asg("workers")
    machine = world.on_image("base-old")[0]
    world.cloud.tag_instances([machine], {names.DETACHED_FROM: asg})
    world.cloud.detach(asg, [machine])
    world.clock.wait(60.0)
    for _ in range(20):
        if not swept(world).left:
            break
        world.clock.wait(5.0)
    world.clock.wait(60.0)
    assert after(world).clean
    assert machine not in world.on_image("base-old")


def test_a_machine_that_still_leaves_its_group_keeps_its_tags_and_is_swept_once_it_is_out() -> None:
    world = MemoryWorld.simple(4)
    asg, machine = world.asg("workers"), world.on_image("base-old")[0]
    with by_hand.holding(world.settings(), world.cloud, world.cluster, world.clock, "cli-1") as run:
        by_hand.detach(run, by_hand.find(run.settings, run.look(), machine), for_good=True)  # then Ctrl-C
    tags = world.cloud.instances([machine])[machine].tags
    assert names.DETACHED_FROM in tags
    assert f"instance {machine}: still leaves group {asg} (Detaching)" in swept(world).left
    assert world.cloud.instances([machine])[machine].tags == tags
    done = until_done(world.settings(), world.cloud, world.cluster, world.clock, "sweep-2")
    assert not done.left
    world.clock.wait(60.0)
    assert machine not in world.ec2.alive
    assert after(world).clean


@pytest.mark.parametrize("first_s", [0.0, 60.0])
def test_so_does_one_of_a_run_whose_lease_somebody_deleted(first_s: float) -> None:
    world = MemoryWorld.simple(4)
    run = run_for(world, **by("detach", 1))
    dies_once_detached(run, world)
    lease = world.cluster.lease()
    assert lease is not None
    world.cluster.delete_lease(lease)
    (machine,) = [i for i in world.ec2.alive if names.DETACHED_FROM in world.cloud.instances([i])[i].tags]
    world.clock.wait(first_s)
    done = until_done(run.settings, world.cloud, world.cluster, world.clock, "sweep-1")
    assert not done.left
    world.clock.wait(60.0)
    group = world.cloud.groups([world.asg("workers")])[world.asg("workers")]
    assert machine not in world.ec2.alive or group.member(machine) is not None
    assert (group.desired, len(group.members)) == (4, 4)
    assert after(world).clean


def dies_once_detached(run: Run, world: MemoryWorld) -> None:
    def detached(mutation: Mutation) -> None:
        if mutation.action == "DetachInstances":
            raise Crash

    world.journal.on_mutation = detached
    with suppress(Crash):
        engine.rotate(run)
    world.journal.on_mutation = None


def test_a_sweep_that_died_is_swept_by_the_next() -> None:
    world = MemoryWorld.simple(3, replicas=6)
    run = run_for(world, budget={"max_surge": 2})
    assert dies(run, world, 30, before=True)
    for _ in range(40):
        world.clock.wait(1000.0)
        world.crash_after(3)
        with suppress(Crash):
            if not swept(world).left:
                break
    world.journal.no_crash()
    world.clock.wait(60.0)
    assert after(world).clean


def renamed(world: MemoryWorld, group: str, asg: str) -> Settings:
    """Terraform replaced an Auto Scaling group by one of another name, and the fleet file says so."""
    old = world.scaling.groups.pop(world.asg(group))
    world.scaling.groups[asg] = replace(old, name=asg)
    settings = world.settings()
    groups = tuple(g.model_copy(update={"asg": asg}) for g in settings.cluster.groups)
    return settings.model_copy(update={"cluster": settings.cluster.model_copy(update={"groups": groups})})


def test_a_dead_run_whose_group_was_deleted_meanwhile_is_swept_and_blocks_nobody() -> None:
    world = MemoryWorld.simple(3, replicas=3)
    run = run_for(world, budget={"max_surge": 2})
    assert dies(run, world, 12, before=False)
    asg = world.asg("workers")
    world.clock.wait(1000.0)
    settings = renamed(world, "workers", "dev-workers-v2")
    found = sweep(settings, world.cloud, world.cluster, world.clock, "sweep-1")
    assert any(f"asg {asg} does not exist any more" in line for line in found.did)
    assert world.cluster.lease() is None
    nodes = {node.name: marked(node) for node in world.cluster.nodes() if marked(node)}
    assert not nodes


@pytest.mark.parametrize("happens", [vanishes, is_there_twice])
@pytest.mark.parametrize("at", [3, 9, 14])
def test_a_dead_run_is_swept_whatever_became_of_a_group_that_it_has_nothing_to_do_with(
    at: int, happens: Callable[[MemoryWorld], None]
) -> None:
    world = beside()
    run = run_for(world, strategy="detach")
    run = run if happens is vanishes else by_tags(world, run)
    assert dies(run, world, at, before=False)
    happens(world)
    world.clock.wait(1000.0)
    with suppress(BadInputError):  # once there is nothing more of a dead run, the fleet file's mistake is told
        hourly(world, run.settings, 1)
    assert world.cluster.lease() is None
    assert not world.orphans()
    assert not [line for line in world.residue() if "dev-batch" not in line]
    assert len(world.scaling.group("dev-workers").live()) == 3


def test_a_dead_run_whose_own_group_was_deleted_is_swept_though_the_fleet_file_still_names_it() -> None:
    world = MemoryWorld.simple(3, replicas=3)
    run = run_for(world, budget={"max_surge": 2})
    assert dies(run, world, 12, before=False)
    del world.scaling.groups[world.asg("workers")]
    world.clock.wait(1000.0)
    found = swept(world)
    assert any("asg dev-workers does not exist any more" in line for line in found.did)
    assert any("there is no Auto Scaling group 'dev-workers'" in line for line in found.left)
    assert world.cluster.lease() is None


def orphaned(world: MemoryWorld) -> str:
    """A machine that somebody died over: detached by us, and no Lease tells of it."""
    asg, machine = world.asg("workers"), world.on_image("base-old")[0]
    world.cloud.tag_instances([machine], {names.DETACHED_FROM: asg})
    world.cloud.detach(asg, [machine])
    world.clock.wait(0.5)
    return machine


@pytest.mark.parametrize("tags", [{}, {names.BASELINE: "desired=3 run=run-1"}])
def test_a_sweep_that_dies_over_an_orphan_leaves_the_group_as_large_as_it_was(tags: dict[str, str]) -> None:
    died = 0
    workers = seeds.Group("workers", image="base-old", desired=3, min=3)
    for at in range(1, 9):
        world = MemoryWorld.of(groups=(workers,), images=(seeds.Image("base-old"),), faults=[seeds.Fault("capacity")])
        machine = orphaned(world)
        world.cloud.tag_group(world.asg("workers"), tags)
        world.crash_after(at)
        with suppress(Crash):
            swept(world)
            world.journal.no_crash()
            break
        world.journal.alive_again()
        died += 1
        for _ in range(9):
            world.clock.wait(1000.0)
            if swept(world) == Swept():
                break
        group = world.cloud.groups([world.asg("workers")])[world.asg("workers")]
        assert (group.min, group.desired, len(group.members)) == (3, 3, 3), at
        assert group.member(machine), at
        assert after(world).clean, at
    assert died >= 4


def test_an_orphan_that_goes_is_drained_as_its_group_s_policy_says() -> None:
    world = MemoryWorld.simple(3, replicas=6)
    world.add_workload(seeds.Workload(name="bare", kind="Pod"))
    world.clock.wait(30.0)
    (home,) = [pod.node for pod in world.cluster.pods() if pod.name.startswith("bare")]
    machine = next(node.instance_id for node in world.cluster.nodes() if node.name == home)
    asg = world.asg("workers")
    world.cloud.tag_instances([machine], {names.DETACHED_FROM: asg})
    world.cloud.detach(asg, [machine])
    world.clock.wait(60.0)
    settings = world.settings()
    groups = {"workers": world.settings(drain={"bare_pods": "evict"}).groups["workers"]}
    settings = settings.model_copy(update={"groups": groups})
    for _ in range(20):
        if not sweep(settings, world.cloud, world.cluster, world.clock, "sweep-1").left:
            break
        world.clock.wait(5.0)
    world.clock.wait(60.0)
    assert after(world).clean
    assert machine not in world.on_image("base-old")


def test_sizes_that_nobody_can_tell_whose_they_are_are_reported_until_somebody_decides() -> None:
    world = MemoryWorld.simple(3, replicas=6)
    asg = world.asg("workers")
    run = run_for(world, canary=False, budget={"max_surge": 1})
    prepare(run, "workers")
    world.cloud.set_sizes(asg, max=4, desired=4)  # the run's last call, before it died
    lease = world.cluster.lease()
    assert lease is not None
    world.cluster.delete_lease(lease)  # by hand
    for _ in range(20):
        world.clock.wait(60.0)
        found = swept(world)
    assert any(f"asg {asg}: desired 4, was 3 before run run-1" in line for line in found.left)
    assert names.BASELINE in world.cloud.groups([asg])[asg].tags
    world.cloud.set_sizes(asg, desired=3)
    assert not swept(world).left
    assert not world.residue()


INTAKE: dict[str, Any] = {"http": {"close": {"path": "/close"}, "open": {"path": "/open"}}}


def dies_at(run: Run, batch: str, step: StepName, world: MemoryWorld, *arrives: seeds.Workload) -> None:
    """A run dies as a batch begins a step; what arrives then is placed meanwhile."""

    def die(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and (event.batch, event.step) == (batch, step):
            for workload in arrives:
                world.add_workload(workload)
            world.clock.wait(10.0)
            raise Crash

    with suppress(Crash):
        engine.rotate(run, die)


def hourly(world: MemoryWorld, settings: Settings, hours: int, first: int = 1) -> list[Swept]:
    """How Airflow sweeps: every hour by another id, for ten minutes as long as something is left."""
    found = []
    for hour in range(first, first + hours):
        begins = world.clock.now() + 3600.0
        for _ in range(30):
            outside = world.outside.value()
            swept = sweep(settings, world.cloud, world.cluster, world.clock, f"sweep {hour}", outside)
            if not swept.left:
                break
            world.clock.wait(20.0)
        found.append(swept)
        world.clock.wait(begins - world.clock.now())
    return found


@pytest.mark.parametrize(("strategy", "left"), [("surge", ["desired=2 run=run-1"]), ("detach", [])])
def test_a_pod_that_stays_on_the_surplus_machine_is_named_and_keeps_the_intake_closed_no_longer_than_a_drain_lasts(
    strategy: str, left: list[str]
) -> None:
    world = MemoryWorld.simple(2, replicas=0)
    run = run_for(world, strategy=strategy, intake=INTAKE, drain={"timeout": "15m"})
    job = seeds.Workload("report", kind="Job", replicas=3, spread="hostname")
    dies_at(run, "workers/1", StepName.CORDON, world, job)
    world.clock.wait(1000.0)
    (first,) = hourly(world, run.settings, 1)
    assert "batch workers/1 is being healed" in first.left[0]
    assert any("pod default/report-" in line and "drain.jobs: wait" in line for line in first.left)
    assert world.outside.http.closed
    hourly(world, run.settings, 1, first=2)
    assert not world.outside.http.closed
    assert world.cluster.lease() is None
    group = world.scaling.group(world.asg("workers"))
    assert not group.suspended
    assert [t.value for t in group.tags.values() if t.key == names.BASELINE] == left
    assert not [node.name for node in world.cluster.nodes() if marked(node) and strategy == "surge"]


def test_a_group_that_is_refused_keeps_no_other_from_being_put_back() -> None:
    images = (seeds.Image("base-old"), seeds.Image("base-new", created="2026-11-08T06:00:00.000Z"))
    groups = (seeds.Group(name, image="base-old", next_image="base-new", desired=2) for name in ("a", "b"))
    world = MemoryWorld.of(groups=tuple(groups), images=images)
    run = run_for(world, strategy="detach", intake=INTAKE)

    def die(mutation: Mutation) -> None:
        if mutation.action == "DetachInstances" and mutation.args["group"] == "dev-b":
            raise Crash

    world.journal.on_mutation = die
    with suppress(Crash):
        engine.rotate(run)
    world.journal.on_mutation = None
    world.clock.wait(1000.0)
    assert len(world.orphans()) == 2
    world.journal.faults.append(seeds.Fault("denied", action="AttachInstances", calls=(1,), message="protected"))
    for _ in range(2):  # the first cordons the replacements, which go before anybody comes back
        found = sweep(run.settings, world.cloud, world.cluster, world.clock, "sweep 1", world.outside.value())
    assert any(line.startswith("a: protected") for line in found.left)
    (orphan,) = world.orphans()
    assert world.ec2.found[orphan].tags[names.DETACHED_FROM] == "dev-a"
    assert not hourly(world, run.settings, 1)[0].left
    assert after(world).clean


def test_a_group_that_is_refused_for_good_is_named_and_the_intake_opens_all_the_same() -> None:
    world = MemoryWorld.simple(2, replicas=0)
    run = run_for(world, strategy="detach", intake=INTAKE)
    dies_at(run, "workers/1", StepName.CORDON, world)
    world.clock.wait(1000.0)
    for action in ("AttachInstances", "TerminateInstances"):
        world.journal.faults.append(seeds.Fault("denied", action=action, message="instance i-1 is protected"))
    found = hourly(world, run.settings, 3)
    assert all(any("is protected" in line for line in swept.left) for swept in found)
    assert not world.outside.http.closed
    assert world.cluster.lease() is None
    assert not world.scaling.group(world.asg("workers")).suspended
    world.journal.faults.clear()
    hourly(world, run.settings, 2, first=4)
    assert after(world).clean
