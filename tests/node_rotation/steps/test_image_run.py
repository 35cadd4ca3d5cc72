"""The image step of a template that another tool owns: a command or a pod brings it to the target, once."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from tests.node_rotation.crashes import after, run_for, sweep_all

from node_rotation import engine
from node_rotation.errors import BlockedError
from node_rotation.names import LEDGER
from node_rotation.outcome import Blocked, Done, Waiting
from node_rotation.planning import content_id
from node_rotation.run import Run
from node_rotation.steps.prepare import ensure, prepare
from node_rotation.steps.restore import restore
from node_rotation.testing import seeds
from node_rotation.testing.outside import Program
from node_rotation.testing.scaling_values import Override
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.kubernetes import Lease

WAYS: dict[str, dict[str, Any]] = {
    "command": {
        "image_step": "command",
        "image_command": {"argv": ["./image.sh"], "timeout": "5m"},
    },
    "pod": {
        "image_step": "pod",
        "image_pod": {
            "namespace": "kube-system",
            "spec": {"containers": [{"name": "kops", "image": "kops"}]},
            "timeout": "5m",
        },
    },
}
EACH = pytest.mark.parametrize("way", sorted(WAYS))


def behind(way: str, **program: Any) -> tuple[MemoryWorld, Run, Program]:
    """A group whose template says the old image, and somebody's program that may change that."""
    world = MemoryWorld.simple(2)
    world.add_template_version("workers", "base-old")
    run = run_for(world, image={"ssm": "/images/base/current"}, **WAYS[way])
    runs = world.outside.commands.running if way == "command" else world.cluster.objects.running
    runs.program = Program(**program)
    return world, run, runs.program


def right(world: MemoryWorld, variables: Any) -> None:
    """What a good program does with what it is told."""
    assert variables["NODE_ROTATION_ASG"] == world.asg("workers")
    assert variables["NODE_ROTATION_IMAGE_ID"] == world.image_id("base-new")
    world.add_template_version("workers", variables["NODE_ROTATION_IMAGE_NAME"])


def begun(world: MemoryWorld) -> int:
    return sum(m.action in ("begin", "create_pod") for m in world.mutations)


def left(world: MemoryWorld) -> list[str]:
    """Programs and pods that are still there."""
    return [*world.outside.commands.running.begun, *world.cluster.objects.running.begun]


@EACH
def test_it_runs_once_and_the_group_launches_the_target(way: str) -> None:
    world, run, program = behind(way, takes_s=30.0)
    program.does = lambda variables: right(world, variables)
    assert engine.rotate(run).ok
    assert begun(world) == 1
    assert len(world.on_image("base-new")) == 2
    assert left(world) == []
    assert after(world).clean


@EACH
def test_a_machine_that_others_add_meanwhile_is_nobodys_replacement(way: str) -> None:
    """The cluster-autoscaler scales out while the template still says the old image."""
    world, run, program = behind(way, takes_s=60.0)
    program.does = lambda variables: right(world, variables)
    asg, planned = world.asg("workers"), set(world.on_image("base-old"))
    world.clock.after(30.0, lambda: world.scaling.set_desired(asg, 3))
    result = engine.rotate(run)
    assert (result.passed, result.failed) == (("workers/1", "workers/2"), ())
    (added,) = world.on_image("base-old")
    assert added not in planned
    assert result.verdict is not None
    assert result.verdict.drift == (f"instance {added} of group workers runs {world.image_id('base-old')}",)
    assert result.verdict.residue == ()
    assert world.scaling.group(asg).desired == 3


@EACH
def test_two_actors_begin_it_once(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one writes it down, at the same instant, between this one's look and its write."""
    world, run, _ = behind(way, takes_s=float("inf"))
    write, raced = world.cluster.update_lease, []

    def late(lease: Lease, **fields: Any) -> Lease:
        if "image_runs" in fields["annotations"][LEDGER] and not raced:
            raced.append(None)
            raced.append(prepare(run, "workers"))
        return write(lease, **fields)

    monkeypatch.setattr(world.cluster, "update_lease", late)
    assert isinstance(prepare(run, "workers"), Waiting)
    assert isinstance(raced[1], Waiting)
    assert begun(world) == 1


@EACH
def test_a_template_that_is_right_needs_none(way: str) -> None:
    world = MemoryWorld.simple(2)
    assert engine.rotate(run_for(world, **WAYS[way])).ok
    assert begun(world) == 0


@EACH
def test_one_that_fails_blocks_with_its_last_lines_and_everything_is_restored(way: str) -> None:
    world, run, _ = behind(way, code=3, says=("reading the state", "no such instance group: workers"))
    result = engine.rotate(run)
    assert result.blocked is not None
    assert "no such instance group: workers" in result.blocked.reason
    assert begun(world) == 1
    assert len(world.on_image("base-old")) == 2
    assert left(world) == []
    assert after(world).clean


@EACH
def test_one_that_hangs_is_ended_after_its_timeout(way: str) -> None:
    world, run, _ = behind(way, takes_s=float("inf"), says=("waiting for the state's lock",))
    began = world.clock.now()
    result = engine.rotate(run)
    assert result.blocked is not None
    assert "waiting for the state's lock" in result.blocked.reason
    assert 300 < world.clock.now() - began < 400
    assert left(world) == []
    assert after(world).clean


@EACH
def test_one_that_changes_nothing_is_not_believed(way: str) -> None:
    world, run, _ = behind(way)
    result = engine.rotate(run)
    assert result.blocked is not None
    assert "ended well, but its template does not launch" in result.blocked.reason
    assert begun(world) == 1
    assert after(world).clean


@EACH
def test_an_override_that_still_names_the_old_image_is_not_believed_either(way: str) -> None:
    world, run, program = behind(way)
    program.does = lambda variables: right(world, variables)
    group = world.scaling.groups[world.asg("workers")]
    named = Override("m6i.large", image_id=world.image_id("base-old"))
    group.source = replace(group.source, mixed=True, overrides=(named,))
    result = engine.rotate(run)
    assert result.blocked is not None
    assert begun(world) == 1
    assert len(world.on_image("base-old")) == 2
    assert after(world).clean


@EACH
def test_it_is_shown_in_the_plan(way: str) -> None:
    _, run, _ = behind(way)
    assert not run.plan.blockers
    assert any("will have dev-workers launch ami-" in note for note in run.plan.notes)
    assert run.plan.id == content_id(run.plan)


@EACH
def test_the_lock_is_kept_meanwhile(way: str) -> None:
    world, run, program = behind(way, takes_s=250.0)
    program.does = lambda variables: right(world, variables)
    silences = []

    def hear(event: engine.Event) -> None:
        lease = world.cluster.current_lease
        silences.append(world.clock.now() - lease.renewed_at if lease else 0.0)

    assert engine.rotate(run, hear).ok
    assert max(silences) < run.settings.policy.lock_duration


def test_groups_take_turns() -> None:
    """kops and terraform lock, or overwrite, a state that groups share."""
    groups = tuple(
        seeds.Group(name, image="base-old", next_image="base-new", desired=1, max=3) for name in ("one", "two")
    )
    world = MemoryWorld.of(
        groups=groups,
        images=(seeds.Image("base-old"), seeds.Image("base-new")),
        parameters=(seeds.Parameter("/images/base/current", "base-new"),),
    )
    for name in ("one", "two"):
        world.add_template_version(name, "base-old")
    run = run_for(world, image={"ssm": "/images/base/current"}, **WAYS["command"])
    world.outside.commands.program.does = lambda said: world.add_template_version(
        said["NODE_ROTATION_GROUP"], "base-new"
    )
    assert isinstance(prepare(run, "one"), Waiting)
    waits = prepare(run, "two")
    assert isinstance(waits, Waiting)
    assert waits.reasons == ("the image step of group one is on its way",)
    world.clock.wait(10.0)
    assert isinstance(prepare(run, "one"), Done)
    assert isinstance(prepare(run, "two"), Waiting)
    world.clock.wait(10.0)
    assert isinstance(prepare(run, "two"), Done)


def test_a_command_whose_worker_died_is_begun_again_once_that_one_has_been_silent() -> None:
    """Its keeper ended it when the worker died; the next attempt can't know that, but hears nothing any more."""
    world, run, program = behind("command", takes_s=float("inf"))
    prepare(run, "workers")
    world.outside.commands.running.begun.clear()
    waits = prepare(run, "workers")
    assert isinstance(waits, Waiting)
    assert "begun by another process" in waits.reasons[0]
    assert begun(world) == 1

    program.takes_s, program.does = 5.0, lambda variables: right(world, variables)
    world.clock.wait(61.0)
    again = prepare(run, "workers")
    assert isinstance(again, Waiting)
    assert (again.here, begun(world)) == (True, 2)
    world.clock.wait(5.0)
    assert isinstance(prepare(run, "workers"), Done)


def test_one_whose_worker_is_alive_is_not_begun_a_second_time_however_long_it_takes() -> None:
    world, run, program = behind("command", takes_s=250.0)
    program.does = lambda variables: right(world, variables)
    other = replace(run, outside=replace(run.outside, commands=None))
    for _ in range(24):
        assert isinstance(prepare(run, "workers"), Waiting)
        world.clock.wait(10.0)
        waits = prepare(other, "workers")
        assert isinstance(waits, Waiting)
        assert not waits.here
    world.clock.wait(20.0)
    assert isinstance(prepare(run, "workers"), Done)
    assert begun(world) == 1


def test_a_trigger_that_finds_its_worker_dead_asks_for_another() -> None:
    world, run, _ = behind("command", takes_s=float("inf"))
    prepare(run, "workers")
    world.clock.wait(61.0)
    waits = prepare(replace(run, outside=replace(run.outside, commands=None)), "workers")
    assert isinstance(waits, Waiting)
    assert (waits.here, begun(world)) == (True, 1)


def test_two_attempts_that_find_the_worker_dead_begin_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world, run, _ = behind("command", takes_s=float("inf"))
    prepare(run, "workers")
    world.outside.commands.running.begun.clear()
    world.clock.wait(61.0)
    write, raced = world.cluster.update_lease, []

    def late(lease: Lease, **fields: Any) -> Lease:
        if fields["annotations"][LEDGER] != lease.annotations[LEDGER] and not raced:
            raced.append(None)
            raced.append(prepare(run, "workers"))
        return write(lease, **fields)

    monkeypatch.setattr(world.cluster, "update_lease", late)
    assert isinstance(prepare(run, "workers"), Waiting)
    assert isinstance(raced[1], Waiting)
    assert begun(world) == 2


def test_but_if_it_did_its_work_the_next_actor_goes_on() -> None:
    world, run, _ = behind("command", takes_s=float("inf"))
    prepare(run, "workers")
    world.outside.commands.running.begun.clear()
    world.add_template_version("workers", "base-new")
    assert isinstance(prepare(run, "workers"), Done)


@pytest.mark.parametrize("kind", ["error", "lost_answer"])
def test_a_pod_whose_creation_got_no_answer_is_created_once(kind: str) -> None:
    world, run, program = behind("pod")
    program.does = lambda variables: right(world, variables)
    world.journal.faults.append(seeds.Fault(kind, service="kubernetes", action="create_pod", calls=(1,)))
    assert engine.rotate(run).ok
    assert world.journal.calls["create_pod"] == 2
    assert len(world.cluster.objects.running.ended) == 1
    assert after(world).clean


def test_a_pod_that_somebody_removed_is_not_begun_again() -> None:
    world, run, _ = behind("pod", takes_s=float("inf"))
    prepare(run, "workers")
    world.cluster.objects.running.begun.clear()
    blocked = prepare(run, "workers")
    assert isinstance(blocked, Blocked)
    assert "was removed before it had ended" in blocked.reason


@EACH
def test_a_run_that_dies_meanwhile_leaves_no_pod_and_no_record(way: str) -> None:
    world, run, _ = behind(way, takes_s=float("inf"))
    prepare(run, "workers")
    sweep_all(world, run)
    assert world.cluster.objects.running.begun == {}
    assert after(world).clean


@EACH
def test_an_interrupted_rotation_ends_it(way: str) -> None:
    world, run, _ = behind(way, takes_s=float("inf"))
    looks = itertools.count()

    def interrupt(event: engine.Event) -> None:
        if next(looks) == 0:
            raise KeyboardInterrupt

    assert engine.rotate(run, interrupt).blocked is not None
    assert left(world) == []
    assert after(world).clean


def test_a_step_that_prepares_again_does_not_begin_a_command() -> None:
    """Clearing only failed tasks skips the setups; a launch task can't hold what a prepare task has to."""
    world, run, _ = behind("command")
    with pytest.raises(BlockedError, match="Clear this run's prepare"):
        ensure(run, "workers")
    assert begun(world) == 0
    restore(run, "workers")
    assert after(world).clean
