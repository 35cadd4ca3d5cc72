"""A group that will end uneven is evened out beside its last batches, in slots that nobody else wants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.node_rotation.builders import Machine, budget, pod
from tests.node_rotation.builders import world as small_world
from tests.node_rotation.crashes import after, dies, rotate, run_for, sweep_all

from node_rotation import engine, lock
from node_rotation.ledger import Claim, ClaimState, Ledger, claim_change
from node_rotation.model import Batch, is_balance
from node_rotation.run import Run
from node_rotation.steps import evening
from node_rotation.steps.evening import even_out_beside
from node_rotation.steps.scene import ledger_of
from node_rotation.testing import seeds
from node_rotation.testing.faults import Crash, Mutation
from node_rotation.testing.world import MemoryWorld

SURGE: dict[str, Any] = {"strategy": "surge", "budget": {"max_surge": 3}}
FIRST = "workers/balance-1"
When = Callable[[engine.Event, Run], None]


def three_zones(machines: int = 3, **more: Any) -> MemoryWorld:
    """After the canary two machines go at once, and the group launches two replacements in one zone of them."""
    return MemoryWorld.simple(machines, replicas=machines, max_unavailable=3, **more)


def rotated(
    world: MemoryWorld, when: When = lambda event, run: None, **policy: Any
) -> tuple[engine.Result, list[engine.Event]]:
    run = run_for(world, **{**SURGE, **policy})
    events: list[engine.Event] = []

    def hear(event: engine.Event) -> None:
        events.append(event)
        when(event, run)

    return engine.rotate(run, hear), events


def zones(world: MemoryWorld) -> list[int]:
    group = world.cloud.groups([world.asg("workers")])[world.asg("workers")]
    return sorted(Counter(member.zone for member in group.members).values())


def begun(events: list[engine.Event]) -> list[float]:
    return [e.at for e in events if isinstance(e, engine.Note) and "are uneven, so instance" in e.text]


def passed(events: list[engine.Event]) -> list[float]:
    return [e.at for e in events if isinstance(e, engine.BatchMoved) and e.step is None and e.failed is None]


def admitted(events: list[engine.Event]) -> list[float]:
    return [e.at for e in events if isinstance(e, engine.BatchMoved) and e.step == "launch"]


def test_it_begins_before_the_last_batch_has_passed_and_no_slot_more_is_taken() -> None:
    world = three_zones(6)
    result, events = rotated(world)
    assert result.ok
    (at,) = begun(events)
    assert max(admitted(events)) <= at < max(passed(events))
    assert world.monitor.max_extra[world.asg("workers")] <= 3
    assert zones(world) == [2, 2, 2]
    machines = set(world.on_image("base-new"))
    world.clock.wait(600.0)
    assert set(world.on_image("base-new")) == machines
    assert after(world).clean


def test_what_it_said_is_how_the_zones_would_have_ended() -> None:
    _, events = rotated(three_zones())
    (said,) = [e.text for e in events if isinstance(e, engine.Note) and "are uneven" in e.text]
    assert "zones eu-central-1a 2, eu-central-1b 1, eu-central-1c 0 are uneven" in said


def test_restore_goes_on_with_what_was_begun() -> None:
    world = three_zones()
    result, events = rotated(world)
    notes = [e.text for e in events if isinstance(e, engine.Note)]
    assert result.ok
    assert result.ledger is not None
    assert [c.batch for c in result.ledger.claims if is_balance(c.batch)] == [FIRST]
    assert notes.index(f"batch {FIRST} passed") < notes.index("group dev-workers: resumed AZRebalance")


def test_it_takes_no_slot_while_a_batch_waits_for_one() -> None:
    world = three_zones(6)

    def nobody_waits(event: engine.Event, run: Run) -> None:
        found = ledger_of(run.look().lease, run.id)
        if found is not None and any(is_balance(c.batch) for c in found.claims):
            assert all(found.claim(batch.name) for batch in run.plan.batches)

    result, _ = rotated(world, nobody_waits)
    assert result.ok


def test_it_counts_against_the_budget_as_every_machine_in_flight() -> None:
    world = three_zones(6)
    most: list[int] = []

    def count(event: engine.Event, run: Run) -> None:
        found = ledger_of(run.look().lease, run.id)
        most.append(sum(len(c.machines) for c in found.claims if c.open) if found else 0)

    rotated(world, count)
    assert max(most) == 3


def test_a_group_that_was_as_uneven_before_is_left_alone() -> None:
    def uneven_before(event: engine.Event, run: Run) -> None:
        if isinstance(event, engine.BatchMoved) and event.batch == "workers/1" and event.step == "launch":
            lock.change(run, lambda now: now.with_group("workers", _uneven(now.groups["workers"])))

    result, events = rotated(three_zones(), uneven_before)
    assert result.ok
    assert not begun(events)


def _uneven(baseline: Any) -> Any:
    return baseline.model_copy(update={"uneven": 2})


def test_somebody_who_resumed_az_rebalance_evens_it_out_himself() -> None:
    world = three_zones()

    def resume(event: engine.Event, run: Run) -> None:
        if isinstance(event, engine.BatchMoved) and event.batch == "workers/3" and event.step == "launch":
            run.cloud.resume(world.asg("workers"), ["AZRebalance"])

    _, events = rotated(world, resume)
    assert not begun(events)


def test_while_a_failed_batch_holds_the_others_nothing_is_begun_beside_them() -> None:
    def went_back(event: engine.Event, run: Run) -> None:
        if isinstance(event, engine.BatchMoved) and event.batch == "workers/6" and event.step == "launch":
            lock.change(run, claim_change("workers/2", state=ClaimState.HEALED))

    _, events = rotated(three_zones(6), went_back)
    assert begun(events)
    assert all(at >= max(passed(events)) for at in begun(events))


def test_without_capacity_it_is_given_up_and_the_batches_pass_all_the_same() -> None:
    world = three_zones()

    def dries_up(event: engine.Event, run: Run) -> None:
        if isinstance(event, engine.Note) and "are uneven" in event.text:
            world.journal.faults.append(seeds.Fault(kind="capacity"))

    result, events = rotated(world, dries_up)
    given_up = [e.text for e in events if isinstance(e, engine.Note) and "stay uneven" in e.text]
    assert result.ok
    assert set(result.passed) == {"workers/1", "workers/2", "workers/3"}
    assert any("capacity" in text for text in given_up)
    assert not world.residue()
    assert len(world.on_image("base-new")) == 3


def test_a_pause_between_rotations_is_kept_for_it_too() -> None:
    world = three_zones()
    _, events = rotated(world, wait_between_rotations="30s")
    earlier = [at for at in passed(events) if at <= begun(events)[0]]
    assert begun(events)[0] - max(earlier) >= 30.0 or begun(events)[0] >= max(passed(events))


def ripe(monkeypatch: pytest.MonkeyPatch, machines: int, slots: int) -> tuple[MemoryWorld, Run]:
    """A run at the moment at which it would begin to even out."""
    world = MemoryWorld.simple(
        machines, replicas=machines, max_unavailable=slots, boot_jitter=0.4, stop_jitter=0.4, seed=1
    )
    run = run_for(world, **{**SURGE, "budget": {"max_surge": slots}})

    def would_begin(run: Run, batch: Batch) -> tuple[str, ...]:
        if batch.name == (flying(run) or [""])[0] and evening._next(run, "workers") is not None:
            raise Crash
        return ()

    with monkeypatch.context() as patch:
        patch.setattr(engine, "even_out_beside", would_begin)
        with pytest.raises(Crash):
            engine.rotate(run)
    return world, run


def ledger(run: Run) -> Ledger:
    held = lock.held(run)
    assert held is not None
    return held.ledger


def flying(run: Run) -> list[str]:
    held = lock.held(run)
    return [c.batch for c in held.ledger.claims if c.state is ClaimState.ADMITTED] if held else []


def begins(run: Run) -> Claim | None:
    """The claim that evens out, once every batch that waits has had its turn."""
    run.look.forget()
    for batch in run.plan.batches:
        even_out_beside(run, batch)
    return ledger(run).claim(FIRST)


def test_only_the_earliest_batch_in_flight_drives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world, run = ripe(monkeypatch, 12, 6)
    first, *others = flying(run)
    mutations = len(world.mutations)
    for batch in (b for b in run.plan.batches if b.name in others):
        assert not even_out_beside(run, batch)
    assert len(world.mutations) == mutations
    (leading,) = [b for b in run.plan.batches if b.name == first]
    assert even_out_beside(run, leading)


def test_it_takes_no_machine_that_a_batch_in_flight_has_to_do_with(monkeypatch: pytest.MonkeyPatch) -> None:
    _, run = ripe(monkeypatch, 12, 6)
    busy = {m for c in ledger(run).claims if c.open for m in (*c.machines, *c.replacements.values())}
    claim = begins(run)
    assert claim is not None
    assert not busy & {*claim.machines}


def test_where_one_launch_could_go_either_way_two_machines_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    world, run = ripe(monkeypatch, 12, 5)
    claim = begins(run)
    assert claim is not None
    assert sorted(world.ec2.found[m].zone[-1] for m in claim.machines) == ["a", "b"]


def test_a_pair_ends_even_within_the_budget() -> None:
    world = MemoryWorld.simple(12, replicas=12, max_unavailable=5, boot_jitter=0.4, stop_jitter=0.4, seed=1)
    result, events = rotated(world, budget={"max_surge": 5})
    assert result.ok
    assert len(begun(events)) == 1
    assert result.ledger is not None
    assert [len(c.machines) for c in result.ledger.claims if is_balance(c.batch)] == [2]
    assert zones(world) == [4, 4, 4]
    assert world.monitor.max_extra[world.asg("workers")] <= 5
    assert after(world).clean


@pytest.mark.parametrize(("allowed", "together"), [(1, False), (2, True)])
def test_two_machines_under_one_tight_budget_do_not_go_together(
    monkeypatch: pytest.MonkeyPatch, allowed: int, together: bool
) -> None:
    _, run = ripe(monkeypatch, 12, 5)
    pair = small_world(
        {"dev-workers": [Machine("i-1"), Machine("i-2")]},
        pods=[pod("api-1", "node-i-1"), pod("api-2", "node-i-2")],
        budgets=[budget(allowed=allowed)],
    )
    judged = evening._share_a_budget
    monkeypatch.setattr(evening, "_share_a_budget", lambda _, machines: judged(pair, ("i-1", "i-2")[: len(machines)]))
    assert (begins(run) is not None) is together


def test_it_waits_for_a_batch_that_is_still_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its launch will change how the zones end; slots alone don't tell, it may wait for something else."""
    _, run = ripe(monkeypatch, 12, 6)
    plan = run.plan
    one = plan.batches[0].model_copy(update={"name": "workers/13", "canary": False})
    groups = tuple(group.model_copy(update={"slots": 12}) for group in plan.groups)
    wider = plan.model_copy(update={"batches": (*plan.batches, one), "groups": groups, "slots": 12})
    assert begins(replace(run, plan=wider)) is None
    assert begins(run) is not None


def test_it_waits_for_a_launch_whose_zone_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    world, run = ripe(monkeypatch, 12, 6)
    group = run.cloud.groups([world.asg("workers")])[world.asg("workers")]
    run.cloud.set_sizes(group.name, desired=group.desired + 1)  # somebody else's
    assert begins(run) is None


def test_it_waits_for_a_replacement_that_went_away_again(monkeypatch: pytest.MonkeyPatch) -> None:
    _, run = ripe(monkeypatch, 12, 6)
    lock.change(run, claim_change(flying(run)[-1], replacements={}))
    assert begins(run) is None


def test_it_waits_while_every_slot_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    _, run = ripe(monkeypatch, 12, 6)
    taken = len(flying(run))
    groups = tuple(group.model_copy(update={"slots": taken}) for group in run.plan.groups)
    assert begins(replace(run, plan=run.plan.model_copy(update={"groups": groups}))) is None


class Second:
    """Another actor of the same run, which evens out after every change of the first."""

    def __init__(self, run: Run) -> None:
        self._run, self._busy, self.did = run, False, 0

    def __call__(self, mutation: Mutation) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            self.did += sum(bool(even_out_beside(self._run, batch)) for batch in self._run.plan.batches)
        finally:
            self._busy = False


def test_two_actors_do_no_harm_to_each_other() -> None:
    world = three_zones(6)
    run = run_for(world, **SURGE)
    second = Second(run_for(world, run.id, plan=run.plan, **SURGE))
    world.journal.on_mutation = second
    result = engine.rotate(run)
    world.journal.on_mutation = None
    world.clock.wait(600.0)
    assert second.did
    assert result.ok, result
    assert after(world).clean, after(world)
    assert zones(world) == [2, 2, 2]
    assert world.monitor.max_extra[world.asg("workers")] <= 3
    assert result.ledger is not None
    assert sum(is_balance(c.batch) for c in result.ledger.claims) == 1


def crashes_beside() -> Iterator[tuple[int, bool, MemoryWorld, Run]]:
    """Every death of a run from the claim that evens out until the run's end."""
    world = three_zones()
    run, first = run_for(world, **SURGE), 0
    before = len(world.mutations)

    def hear(event: engine.Event) -> None:
        nonlocal first
        if isinstance(event, engine.Note) and "are uneven" in event.text:
            first = first or len(world.mutations) - before

    engine.rotate(run, hear)
    assert first
    for at in range(first, len(world.mutations) - before + 1):
        for early in (True, False):
            world = three_zones()
            run = run_for(world, **SURGE)
            assert dies(run, world, at, before=early)
            yield at, early, world, run


@pytest.mark.parametrize("then", ["sweep", "same run", "new run"])
def test_whenever_it_dies_nothing_is_lost_and_nothing_left(then: str) -> None:
    for at, early, world, run in crashes_beside():
        where = f"died {'before' if early else 'after'} mutation {at}"
        if then == "sweep":
            assert not sweep_all(world, run).left, where
        elif then == "same run":
            assert engine.rotate(run_for(world, run.id, plan=run.plan, **SURGE)).ok, where
        else:
            world.clock.wait(run.settings.policy.lock_duration * 2)
            rotate(world, "run-2", **SURGE)
        world.clock.wait(60.0)
        left = after(world)
        assert left.clean, f"{where}: {left}"
        assert len(world.on_image("base-old")) + len(world.on_image("base-new")) == 3, where
        assert max(zones(world)) - min([*zones(world), *[0] * (3 - len(zones(world)))]) <= 1, where
