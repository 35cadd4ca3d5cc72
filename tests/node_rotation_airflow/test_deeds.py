"""What Airflow's tasks repeat works on a managed group as on any other: the same chain, no task of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.node_rotation.crashes import run_for
from tests.node_rotation.eks_world import NEW, OLD, world

from node_rotation import engine, lock
from node_rotation.errors import RefusedError
from node_rotation.model import StepName, is_balance
from node_rotation.outcome import Blocked, Done, Waiting
from node_rotation.run import Run
from node_rotation.scaling.zones import unevenness
from node_rotation.steps import ORDER
from node_rotation.steps.heal import heal
from node_rotation.steps.scene import ledger_of
from node_rotation.testing import seeds
from node_rotation.testing.faults import Crash
from node_rotation.testing.managed_values import UpdateFailed
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow import admission
from node_rotation_airflow.deeds import DEEDS, PREPARE, RESTORE, attempt


def done(memory: MemoryWorld, run: Run, deed: str, subject: str) -> Done | Blocked:
    """A deed until it is done or blocked, within its own time."""
    deadline = run.clock.now() + DEEDS[deed].timeout_s(run, subject)
    while run.clock.now() < deadline:
        outcome = attempt(deed, run, subject, deadline - run.clock.now())
        if isinstance(outcome, Done | Blocked):
            return outcome
        memory.clock.wait(outcome.poll_s)
    raise AssertionError(f"{deed} of {subject} ran out of time: {outcome}")


def test_the_batch_chain_rolls_a_managed_group() -> None:
    memory = world()
    run = run_for(memory)
    assert isinstance(done(memory, run, PREPARE, "workers"), Done)
    for step in ORDER:
        assert isinstance(done(memory, run, step.value, "workers/1"), Done), step
    assert isinstance(done(memory, run, "heal", "workers/1"), Done)
    assert isinstance(done(memory, run, RESTORE, "workers"), Done)
    assert memory.on_image(OLD) == ()
    assert len(memory.on_image(NEW)) == 3
    assert memory.cluster.lease() is None


def test_who_was_let_in_waits_where_an_api_server_refuses_and_who_comes_first_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory, blocked = world(), Blocked("we are not allowed to list nodes", ("nodes",), "Grant the verb.")
    run = run_for(memory)

    def nodes() -> None:
        raise RefusedError(blocked)

    with monkeypatch.context() as refuses:
        refuses.setattr(memory.cluster, "nodes", nodes)
        assert attempt(PREPARE, run, "workers") == blocked
    assert isinstance(done(memory, run, PREPARE, "workers"), Done)
    monkeypatch.setattr(memory.cluster, "nodes", nodes)
    run.look.forget()
    waits = attempt(StepName.ADMIT.value, run, "workers/1")
    assert isinstance(waits, Waiting)
    assert waits.refused == blocked


def test_eks_failure_ends_the_chain_by_its_code_and_heal_gives_the_slots_back() -> None:
    memory = world()
    run = run_for(memory)
    memory.eks.next_failure = UpdateFailed("InsufficientFreeAddresses", "none left")
    done(memory, run, PREPARE, "workers")
    outcomes = []
    for step in ORDER:
        outcomes.append(done(memory, run, step.value, "workers/1"))
        if isinstance(outcomes[-1], Blocked):
            break
    assert "InsufficientFreeAddresses" in str(outcomes[-1])
    (batch,) = run.plan.batches
    heal(run, batch, str(outcomes[-1]))
    healed = done(memory, run, "heal", "workers/1")
    assert isinstance(healed, Done)
    assert "InsufficientFreeAddresses" in healed.detail
    assert isinstance(done(memory, run, RESTORE, "workers"), Done)
    assert memory.cluster.lease() is None


def test_a_group_that_is_uneven_when_it_is_restored_has_the_time_to_be_evened_out() -> None:
    """Its task's deadline is fixed before anything is claimed for that."""
    memory = MemoryWorld.simple(3, replicas=6, boot=100.0)
    run = run_for(memory, strategy="surge", budget={"max_surge": 2}, launch_timeout="3m")
    passed: list[str] = []

    def dies_after_the_last(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step is None:
            passed.append(event.batch)
            if len(passed) == 3:
                raise Crash

    with pytest.raises(Crash):
        engine.rotate(run, dies_after_the_last)
    group = memory.cloud.groups([memory.asg("workers")])[memory.asg("workers")]
    assert unevenness(group) == 2
    assert isinstance(done(memory, run, RESTORE, "workers"), Done)
    group = memory.cloud.groups([memory.asg("workers")])[memory.asg("workers")]
    assert unevenness(group) < 2
    assert memory.cluster.lease() is None


def test_whoever_waits_for_the_last_batches_evens_out_zones_beside_them() -> None:
    memory = MemoryWorld.simple(3, replicas=3, max_unavailable=3)
    run = run_for(memory, strategy="surge", budget={"max_surge": 3})
    done(memory, run, PREPARE, "workers")
    for step in ORDER:
        assert isinstance(done(memory, run, step.value, "workers/1"), Done)
    both = {"workers/2": list(ORDER), "workers/3": list(ORDER)}
    beside: set[str] = set()
    while any(both.values()):
        for batch, left in both.items():
            if left and isinstance(attempt(left[0].value, run, batch), Done):
                left.pop(0)
        ledger = ledger_of(run.look().lease, run.id)
        assert ledger is not None
        if any(ledger.claim(batch).state == "admitted" for batch in both if ledger.claim(batch)):
            beside |= {claim.batch for claim in ledger.claims if is_balance(claim.batch)}
        memory.clock.wait(1.0)
    assert beside == {"workers/balance-1"}
    assert isinstance(done(memory, run, RESTORE, "workers"), Done)
    group = memory.cloud.groups([memory.asg("workers")])[memory.asg("workers")]
    assert unevenness(group) == 0
    assert memory.cluster.lease() is None
    assert memory.monitor.max_extra[memory.asg("workers")] <= 3


@pytest.mark.parametrize(
    "ask",
    [lambda run: attempt(StepName.LAUNCH.value, run, "workers/1"), lambda run: admission.ask(run, 1, {0: "failed"})],
    ids=["a step", "a held batch"],
)
def test_a_run_keeps_its_lock_while_aws_gives_no_answer(ask: Callable[[Run], object]) -> None:
    """The API server answers: the hourly sweep would take it over, and open everything again."""
    memory = MemoryWorld.simple(3, replicas=3, max_unavailable=3)
    run = run_for(memory)
    done(memory, run, PREPARE, "workers")
    done(memory, run, StepName.ADMIT.value, "workers/1")
    memory.journal.faults.append(seeds.Fault(kind="throttle", service="autoscaling"))
    until = memory.clock.now() + 1800.0
    while memory.clock.now() < until:
        outcome = ask(run)
        assert isinstance(outcome, Waiting)
        memory.clock.wait(outcome.poll_s)

    lease = memory.cluster.lease()
    assert lease is not None
    assert not lock.expired(lease, memory.clock.now())


def test_of_all_who_wait_for_a_cluster_that_gives_no_answer_one_looks_and_one_asks_for_the_lock() -> None:
    """Sixty-four who each wait fifteen seconds for an answer would need a quarter of an hour to find out once."""
    memory = MemoryWorld.simple(3, replicas=3, max_unavailable=3)
    run = run_for(memory)
    done(memory, run, PREPARE, "workers")
    memory.clock.wait(10.0)
    memory.journal.calls.clear()
    memory.journal.away = lambda service: "no answer" if service == "kubernetes" else ""

    for _ in range(64):
        assert isinstance(admission.ask(run, 0, {}), Waiting)

    assert memory.journal.calls["lease"] == 2
