"""The Lease is lock and ledger at once."""

from __future__ import annotations

from typing import Any

import pytest
from tests.node_rotation.crashes import rotate, run_for

from node_rotation import lock, names
from node_rotation.errors import BlockedError, ConflictError, PermanentError
from node_rotation.ledger import MAX_BYTES, Claim, ClaimState, FoundDead, Ledger, claim_change, dump, parse
from node_rotation.model import Strategy
from node_rotation.steps.prepare import prepare
from node_rotation.sweep import sweep
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.kubernetes import Lease


def claim(batch: str = "workers/1") -> Claim:
    return Claim(batch=batch, group="workers", machines=("i-1",), strategy=Strategy.DETACH, since=1.0)


def nobody_holds(world: MemoryWorld) -> None:
    """Somebody takes the holder out of the Lease."""
    lease = world.cluster.lease()
    assert lease is not None
    now = world.clock.now()
    world.cluster.update_lease(lease, holder="", duration_s=60.0, annotations=lease.annotations, renewed_at=now)


def test_the_first_takes_it_and_the_second_is_told_who_has_it() -> None:
    world = MemoryWorld.simple(1)
    lock.acquire(run_for(world, "run-1"))
    with pytest.raises(BlockedError, match=r"rotated by run-1.*expired"):
        lock.acquire(run_for(world, "run-2"))


def test_taking_it_again_is_fine_and_keeps_the_ledger() -> None:
    world = MemoryWorld.simple(1)
    run = run_for(world)
    lock.acquire(run)
    lock.change(run, lambda ledger: ledger.with_claim(claim()))
    assert lock.acquire(run_for(world)).claim("workers/1") == claim()


def test_an_unchanged_ledger_is_not_written() -> None:
    world = MemoryWorld.simple(1)
    run = run_for(world)
    lock.acquire(run)
    before = len(world.mutations)
    lock.change(run, lambda ledger: ledger)
    assert len(world.mutations) == before


def test_two_actors_of_a_run_lose_no_change() -> None:
    world = MemoryWorld.simple(1)
    one, two = run_for(world), run_for(world)
    lock.acquire(one)
    tries: list[int] = []

    def slow(ledger: Ledger) -> Ledger:
        if not tries:
            lock.change(two, lambda now: now.with_claim(claim("workers/2")))
        tries.append(1)
        return ledger.with_claim(claim("workers/1"))

    assert {c.batch for c in lock.change(one, slow).claims} == {"workers/1", "workers/2"}
    assert len(tries) == 2


def a_renewal_meets_a_change(monkeypatch: pytest.MonkeyPatch, world: MemoryWorld) -> None:
    """The lock has to be renewed; before the next call that renews it arrives, another actor of the run claims."""
    world.clock.wait(60.0)
    update = world.cluster.update_lease

    def overtaken(*args: Any, **fields: Any) -> Lease:
        monkeypatch.undo()
        lock.change(run_for(world), lambda now: now.with_claim(claim("workers/2")))
        return update(*args, **fields)

    monkeypatch.setattr(world.cluster, "update_lease", overtaken)


def test_a_renewal_that_meets_a_change_loses_it_not(monkeypatch: pytest.MonkeyPatch) -> None:
    world = MemoryWorld.simple(1)
    run = run_for(world)
    lock.acquire(run)
    a_renewal_meets_a_change(monkeypatch, world)
    lock.change(run, lambda now: now.with_claim(claim("workers/1")))
    assert {c.batch for c in lock.require(run).ledger.claims} == {"workers/1", "workers/2"}


def test_whoever_takes_it_again_meanwhile_sees_that_change(monkeypatch: pytest.MonkeyPatch) -> None:
    world = MemoryWorld.simple(1)
    run = run_for(world)
    lock.acquire(run)
    a_renewal_meets_a_change(monkeypatch, world)
    assert lock.acquire(run).claim("workers/2") == claim("workers/2")


def test_a_race_that_is_always_lost_ends() -> None:
    world = MemoryWorld.simple(1, faults=[seeds.Fault(kind="conflict", action="update_lease")])
    run = run_for(world)
    lock.acquire(run)
    with pytest.raises(ConflictError, match="changed 20 times"):
        lock.change(run, lambda ledger: ledger.with_claim(claim()))


def test_a_look_does_not_go_back_to_what_a_slower_actor_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread has read the Lease; before it tells the look they share, another one has written a newer."""
    world = MemoryWorld.simple(1)
    run = run_for(world)
    lock.acquire(run)
    run.look()
    read = world.cluster.lease

    def overtaken() -> Lease | None:
        lease = read()
        monkeypatch.undo()
        lock.change(run, lambda ledger: ledger.with_claim(claim()))
        return lease

    monkeypatch.setattr(world.cluster, "lease", overtaken)
    lock.held(run)
    assert run.look().lease == world.cluster.lease()


def test_it_is_renewed_by_whoever_acts_but_not_at_every_act() -> None:
    world = MemoryWorld.simple(1)
    run = run_for(world, lock_duration="90s")
    lock.acquire(run)
    before = len(world.mutations)
    lock.require(run)
    assert len(world.mutations) == before
    world.clock.wait(31.0)
    lock.require(run)
    lease = world.cluster.lease()
    assert lease is not None
    assert lease.renewed_at == world.clock.now()


def test_a_live_holder_is_not_taken_over_and_a_silent_one_is_with_its_ledger() -> None:
    world = MemoryWorld.simple(1)
    first, second = run_for(world, "run-1", lock_duration="60s"), run_for(world, "run-2", lock_duration="60s")
    lock.acquire(first)
    lock.change(first, lambda ledger: ledger.with_claim(claim()))
    world.clock.wait(61.0)
    with pytest.raises(BlockedError):
        lock.take_over(second)
    world.clock.wait(60.0)
    found = lock.take_over(second)
    assert found is not None
    assert (found.lease.holder, found.ledger.run) == ("run-2", "run-1")
    with pytest.raises(BlockedError, match="run-2"):
        lock.require(first)


def test_only_the_holder_gives_it_back() -> None:
    world = MemoryWorld.simple(1)
    first, second = run_for(world, "run-1"), run_for(world, "run-2")
    lock.acquire(first)
    assert not lock.release(second)
    assert lock.release(first)
    assert world.cluster.lease() is None
    with pytest.raises(BlockedError, match="does not hold the lock"):
        lock.require(first)


def test_a_lease_that_somebody_took_the_holder_out_of_is_free() -> None:
    world = MemoryWorld.simple(1)
    first, second = run_for(world, "run-1"), run_for(world, "run-2")
    lock.acquire(first)
    nobody_holds(world)
    assert lock.take_over(second) is None
    assert not lock.release(first)
    assert lock.acquire(second).run == "run-2"
    assert lock.require(second).lease.holder == "run-2"
    with pytest.raises(BlockedError, match="run-2"):
        lock.require(first)
    assert lock.release(second)


def test_but_what_its_ledger_still_has_to_put_back_is_a_dead_runs() -> None:
    world = MemoryWorld.simple(1)
    first, second = run_for(world, "run-1"), run_for(world, "run-2")
    prepare(first, "workers")
    nobody_holds(world)
    with pytest.raises(BlockedError, match=r"what run-1 changed is not put back.*sweep"):
        lock.acquire(second)
    assert lock.inherited(second) == lock.inherited(first) == "run-1"
    found = lock.take_over(second)
    assert found is not None
    assert (found.lease.holder, found.ledger.run, *found.ledger.groups) == ("run-2", "run-1", "workers")


def test_with_a_ledger_that_nobody_can_read_it_is_free_as_well() -> None:
    world = MemoryWorld.simple(1)
    run = run_for(world)
    world.cluster.create_lease("run-1", 60.0, {names.LEDGER: '{"schema_version": 9}'})
    nobody_holds(world)
    assert lock.inherited(run) == ""
    assert lock.acquire(run).run == run.id


def test_a_ledger_reads_back_as_it_was_and_a_foreign_one_is_named() -> None:
    ledger = Ledger(run="r", plan="p", cluster="dev.one").with_claim(claim())
    assert parse(dump(ledger)) == ledger
    with pytest.raises(BlockedError, match="can't be read"):
        parse('{"schema_version": 9}')


def test_a_claim_changes_in_its_place() -> None:
    ledger = Ledger(run="r", plan="p", cluster="c").with_claim(claim("a")).with_claim(claim("b"))
    changed = claim_change("a", state=ClaimState.PASSED)(ledger)
    assert [(c.batch, c.state) for c in changed.claims] == [("a", "passed"), ("b", "admitted")]
    assert claim_change("c", state=ClaimState.PASSED)(ledger) == ledger


@pytest.mark.parametrize("state", [ClaimState.PASSED, ClaimState.FAILED, ClaimState.HEALED])
def test_a_batch_that_has_ended_forgets_what_it_evicted(state: ClaimState) -> None:
    flying = claim().model_copy(update={"evicted": tuple(f"Deployment web/site-{n}" for n in range(99))})
    ledger = Ledger(run="r", plan="p", cluster="c").with_claim(flying)
    ended = claim_change(flying.batch, state=state, why="its image never joined")(ledger)
    assert ended.claims[0].evicted == ()
    assert len(dump(ended)) < len(dump(ledger))


def test_a_ledger_that_is_taken_over_shrinks() -> None:
    evicted = tuple(f"Deployment web/site-{n}" for n in range(5))
    flying = claim().model_copy(update={"evicted": evicted, "drain_since": 1.0, "gate_since": 1.0})
    ledger = Ledger(run="r", plan="p", cluster="c").with_claim(flying)
    assert len(dump(ledger.taken_up(1_762_650_000.123))) < len(dump(ledger))


def test_a_ledger_remembers_when_its_run_was_first_found_dead_whoever_sweeps_now() -> None:
    ledger = Ledger(run="r", plan="p", cluster="c").taken_up(100.0).taken_up(3700.0)
    assert ledger.found_dead == FoundDead(first=100, last=3700)


def test_a_run_s_ledger_names_the_workloads_of_machines_in_flight_only() -> None:
    world = MemoryWorld.simple(4, replicas=8)
    seen: list[Ledger] = []
    world.cluster.on_lease = lambda lease: seen.append(parse(lease.annotations[names.LEDGER])) if lease else None
    assert rotate(world).ok
    claims = [c for ledger in seen for c in ledger.claims]
    assert any(c.evicted for c in claims if c.open)
    assert not any(c.evicted for c in claims if not c.open)
    assert len(seen[-1].claims) == 4


def test_a_large_ledger_is_refused_by_the_api_server_and_its_run_can_still_be_swept() -> None:
    world = MemoryWorld.simple(2)
    run = run_for(world, lock_duration="60s")
    prepare(run, "workers")
    key = "Deployment web/site"
    full = (names.LEDGER, lock.require(run).ledger.with_claim(claim()))
    room = (MAX_BYTES - len(full[0]) - len(dump(full[1])) - 100) // (len(key) + 3)
    lock.change(run, lambda now: now.with_claim(claim().model_copy(update={"evicted": (key,) * room})))
    with pytest.raises(PermanentError, match="Too long"):
        lock.change(run, claim_change("workers/1", why="x" * 200))
    world.clock.wait(200.0)
    for _ in range(9):
        swept = sweep(world.settings(), world.cloud, world.cluster, world.clock, "sweep-1")
        world.clock.wait(5.0)
    assert not swept.left
    assert world.cluster.lease() is None
    assert not world.residue()
