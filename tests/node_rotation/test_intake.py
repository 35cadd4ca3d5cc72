"""While a cluster rotates nobody installs into it: closed before anything else, opened whatever happens."""

from __future__ import annotations

from typing import Any

import pytest
from tests.node_rotation.crashes import after, dies, run_for, sweep_all
from tests.node_rotation.eks_world import world as managed_world

from node_rotation import engine, lock
from node_rotation.ledger import parse
from node_rotation.model import Plan
from node_rotation.names import LEDGER
from node_rotation.outcome import Blocked, Done, Outcome, Waiting
from node_rotation.policy import Policy
from node_rotation.run import Run
from node_rotation.steps.prepare import prepare
from node_rotation.steps.restore import restore, restored
from node_rotation.steps.verify import verify
from node_rotation.testing import seeds
from node_rotation.testing.faults import Crash, Mutation
from node_rotation.testing.world import MemoryWorld

CLOSE, OPEN = "/clusters/dev/close", "/clusters/dev/open"
HTTP: dict[str, Any] = {"http": {"close": {"path": CLOSE}, "open": {"path": OPEN}}, "timeout": "60s"}
CONFIG_MAP = "ConfigMap installer/intake"
PATCH: dict[str, Any] = {
    "kubernetes": {
        "kind": "ConfigMap",
        "namespace": "installer",
        "name": "intake",
        "close": {"data": {"open": "false"}},
        "open": {"data": {"open": "true"}},
    }
}


def fault(path: str, calls: tuple[int, ...] = (), **more: Any) -> seeds.Fault:
    """The endpoint answers 500, by default always."""
    return seeds.Fault("error", service="http", action=path, calls=calls, **{"status": 500, **more})


def world_with(*faults: seeds.Fault) -> MemoryWorld:
    return MemoryWorld.simple(2, faults=faults)


def actions(world: MemoryWorld) -> list[str]:
    return [m.action for m in world.mutations]


def test_it_is_closed_after_the_baseline_and_before_anything_else() -> None:
    world = world_with()
    prepare(run_for(world, intake=HTTP), "workers")
    done = actions(world)
    assert done.index("CreateOrUpdateTags") < done.index(CLOSE) < done.index("SuspendProcesses")
    assert world.outside.http.closed


def test_a_rotation_closes_it_once_and_opens_it_once_at_its_end() -> None:
    world = world_with()
    assert engine.rotate(run_for(world, intake=HTTP)).ok
    assert [a for a in actions(world) if a in (CLOSE, OPEN)] == [CLOSE, OPEN]
    assert actions(world)[-1] == "delete_lease"
    assert after(world).clean


def test_an_object_of_the_cluster_is_patched_instead() -> None:
    world = world_with()
    world.cluster.objects.found[CONFIG_MAP] = {"data": {"open": "true", "mail": "sre"}}
    prepare(run_for(world, intake=PATCH), "workers")
    assert world.cluster.objects.found[CONFIG_MAP] == {"data": {"open": "false", "mail": "sre"}}
    restore(run_for(world, intake=PATCH), "workers")
    assert world.cluster.objects.found[CONFIG_MAP] == {"data": {"open": "true", "mail": "sre"}}
    assert after(world).clean


def test_an_object_that_is_not_there_is_one_message_and_everything_is_restored() -> None:
    world = world_with()
    result = engine.rotate(run_for(world, intake=PATCH))
    assert result.blocked is not None
    assert "could not be closed: ConfigMap installer/intake is gone" in result.blocked.reason
    assert result.verdict is not None
    assert result.verdict.residue == ()
    assert after(world).clean
    assert "SuspendProcesses" not in actions(world)


def test_a_500_is_tried_again() -> None:
    world = world_with(fault(CLOSE, calls=(1, 2)), fault(OPEN, calls=(1,)))
    assert engine.rotate(run_for(world, intake=HTTP)).ok
    assert world.journal.calls[CLOSE] == 3
    assert world.journal.calls[OPEN] == 2
    assert after(world).clean


def test_one_that_always_answers_500_blocks_the_run_in_bounded_time_with_everything_restored() -> None:
    world = world_with(fault(CLOSE))
    began = world.clock.now()
    events: list[engine.Event] = []
    result = engine.rotate(run_for(world, intake=HTTP), events.append)
    assert result.blocked is not None
    assert "could not be closed within 60 s" in result.blocked.reason
    assert world.clock.now() - began < 120
    assert len([e for e in events if "is not closed yet" in getattr(e, "text", "")]) == 1
    assert not {"SuspendProcesses", "taint", "TerminateInstanceInAutoScalingGroup"} & set(actions(world))
    assert len(world.on_image("base-old")) == 2
    assert after(world).clean


def test_one_that_never_answers_costs_its_timeout_and_no_more() -> None:
    silent = seeds.Fault("delay", service="http", action=CLOSE, delay=10.0)
    world = world_with(silent, fault(CLOSE))
    began = world.clock.now()
    assert engine.rotate(run_for(world, intake=HTTP)).blocked is not None
    assert world.clock.now() - began < 150
    assert after(world).clean


def test_a_refusal_is_not_tried_again_and_is_not_opened_either() -> None:
    world = world_with(fault(CLOSE, status=403, code="forbidden"))
    result = engine.rotate(run_for(world, intake=HTTP))
    assert result.blocked is not None
    assert world.journal.calls[CLOSE] == 1
    assert world.journal.calls[OPEN] == 0
    assert after(world).clean


def test_what_can_not_be_opened_stays_in_the_lease_until_a_sweep_opens_it() -> None:
    world = world_with(fault(OPEN))
    run = run_for(world, intake=HTTP)
    result = engine.rotate(run)
    assert not result.ok
    assert result.verdict is not None
    assert any("/clusters/dev/close" in line and "is closed" in line for line in result.verdict.residue)
    assert len(world.on_image("base-new")) == 2
    world.journal.faults.clear()
    swept = sweep_all(world, run)
    assert "the intake of dev.dev is open again" in swept.did
    assert after(world).clean


def test_a_sweep_that_can_not_open_it_says_so_and_tries_again() -> None:
    world = world_with(fault(OPEN, calls=(1, 2)))
    run = run_for(world, intake=HTTP)
    prepare(run, "workers")
    swept = sweep_all(world, run)
    assert not swept.left
    assert world.journal.calls[OPEN] == 3
    assert after(world).clean


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("at", range(1, 9))
def test_a_run_that_dies_at_any_moment_of_its_beginning_leaves_nothing_closed(at: int, before: bool) -> None:
    world = world_with()
    run = run_for(world, intake=HTTP)
    assert dies(run, world, at, before=before)
    sweep_all(world, run)
    assert after(world).clean


def test_an_answer_that_is_lost_closes_it_nevertheless_and_it_is_opened() -> None:
    world = world_with(seeds.Fault("lost_answer", service="http", action=CLOSE, calls=(1,)))
    run = run_for(world, intake=HTTP)
    assert isinstance(prepare(run, "workers"), Waiting)
    assert world.outside.http.closed
    restore(run, "workers")
    assert after(world).clean


def test_a_lost_answer_and_then_a_refusal_is_opened_as_well() -> None:
    world = world_with(
        seeds.Fault("lost_answer", service="http", action=CLOSE, calls=(1,)),
        fault(CLOSE, calls=(2,), status=404, code="unknown cluster"),
    )
    run = run_for(world, intake=HTTP)
    prepare(run, "workers")
    assert isinstance(prepare(run, "workers"), Blocked)
    restore(run, "workers")
    assert after(world).clean


def two_groups(**policy: Any) -> tuple[MemoryWorld, Run]:
    groups = tuple(
        seeds.Group(name, image="base-old", next_image="base-new", desired=1, max=3) for name in ("one", "two")
    )
    world = MemoryWorld.of(groups=groups, images=(seeds.Image("base-old"), seeds.Image("base-new")))
    return world, run_for(world, **policy)


def test_it_is_opened_after_the_last_group_and_by_whoever_comes_first() -> None:
    world, run = two_groups(intake=HTTP)
    prepare(run, "one")
    prepare(run, "two")
    assert world.journal.calls[CLOSE] == 1
    restore(run, "one")
    assert world.outside.http.closed
    restore(run, "two")
    restore(run, "one")
    assert world.journal.calls[OPEN] == 1
    assert after(world).clean


def test_two_actors_may_open_it_at_once() -> None:
    """Tasks that restore groups run side by side; the faster one gives the lock back under the other."""
    world = world_with()
    run, other = run_for(world, intake=HTTP), run_for(world, intake=HTTP)
    prepare(run, "workers")
    raced: list[tuple[str, ...]] = []

    def race(mutation: Mutation) -> None:
        if mutation.action == OPEN and not raced:
            raced.append(())
            raced.append(restore(other, "workers"))

    world.journal.on_mutation = race
    restore(run, "workers")
    assert "the lock of dev.dev is given back" in raced[1]
    assert world.journal.calls[OPEN] == 2
    assert after(world).clean


def test_the_other_one_may_be_refused_before_the_first_has_its_answer() -> None:
    """Groups are prepared side by side; an installer that closes already may answer 409 to whoever asks as well."""
    world, run = two_groups(intake=HTTP)
    world.journal.faults.append(fault(CLOSE, calls=(2,), status=409, code="it closes already"))
    refused: list[Outcome] = []

    def race(mutation: Mutation) -> None:
        if mutation.action == CLOSE and not refused:
            refused.append(prepare(run, "two"))

    world.journal.on_mutation = race
    assert isinstance(prepare(run, "one"), Done)
    assert isinstance(refused[0], Blocked)
    assert world.outside.http.closed
    restore(run, "one")
    restore(run, "two")
    assert not world.outside.http.closed
    assert after(world).clean


def test_or_the_first_dies_before_it_has_written_down_that_it_closed_it() -> None:
    """A refusal only takes back what the refused task itself wrote down."""
    world, run = two_groups(intake=HTTP)
    world.journal.faults.append(fault(CLOSE, calls=(2,), status=409, code="it closes already"))
    refused: list[Outcome] = []

    def race_and_die(mutation: Mutation) -> None:
        if mutation.action == CLOSE and not refused:
            refused.append(prepare(run, "two"))
            raise Crash

    world.journal.on_mutation = race_and_die
    with pytest.raises(Crash):
        prepare(run, "one")
    assert world.outside.http.closed
    restore(run, "one")
    restore(run, "two")
    assert not world.outside.http.closed
    assert after(world).clean


def test_or_refused_after_it_was_closed() -> None:
    world, run = two_groups(intake=HTTP)
    world.journal.faults += [
        seeds.Fault("delay", service="http", action=CLOSE, calls=(1,), delay=2.0),
        fault(CLOSE, calls=(1,), status=409, code="it closes already"),
    ]
    faster: list[Outcome] = []
    world.clock.after(1.0, lambda: faster.append(prepare(run, "two")))
    assert isinstance(prepare(run, "one"), Done)  # it is closed, whoever closed it
    assert isinstance(faster[0], Done)
    restore(run, "one")
    restore(run, "two")
    assert world.journal.calls[OPEN] == 1
    assert after(world).clean


@pytest.mark.parametrize("lost", [False, True])
def test_what_the_refused_one_has_struck_out_is_written_down_again(lost: bool) -> None:
    """It was the first to ask, so it takes its own entry back, while the other's request is on its way."""
    world = world_with(*([seeds.Fault("lost_answer", service="http", action=CLOSE)] if lost else []))
    run = run_for(world, intake=HTTP)

    def strike_out(mutation: Mutation) -> None:
        if mutation.action == CLOSE:
            lock.change(run, lambda ledger: ledger.model_copy(update={"intake": None}))

    world.journal.on_mutation = strike_out
    assert isinstance(prepare(run, "workers"), Waiting if lost else Done)
    restore(run, "workers")
    assert not world.outside.http.closed
    assert after(world).clean


def test_restore_waits_for_it_and_then_gives_up_with_one_message() -> None:
    world = world_with(fault(OPEN))
    run = run_for(world, intake=HTTP)
    prepare(run, "workers")
    restore(run, "workers")
    waiting = restored(run, "workers")
    assert isinstance(waiting, Waiting)
    assert "is closed" in waiting.reasons[0]
    world.clock.wait(61.0)
    restore(run, "workers")
    blocked = restored(run, "workers")
    assert isinstance(blocked, Blocked)
    assert "could not be opened within 60 s" in blocked.reason
    assert any("is closed" in line for line in verify(run).residue)


def test_the_ledger_alone_is_enough_to_open_it() -> None:
    world = world_with()
    prepare(run_for(world, intake=HTTP), "workers")
    lease = world.cluster.lease()
    assert lease is not None
    known = parse(lease.annotations[LEDGER]).intake
    assert known is not None
    assert known.closed
    sweep_all(world, run_for(world, "later", Plan.model_validate(run_for(world).plan), intake=None))
    assert after(world).clean


@pytest.mark.parametrize("intake", [{}, {**HTTP, **PATCH}])
def test_there_is_one_way_to_close_it(intake: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give one of both"):
        Policy.model_validate({"intake": intake})


def test_a_managed_group_is_rolled_while_it_is_closed() -> None:
    memory = managed_world()
    assert engine.rotate(run_for(memory, intake=HTTP)).ok
    done = actions(memory)
    assert done.index(CLOSE) < done.index("UpdateNodegroupVersion") < done.index(OPEN)
