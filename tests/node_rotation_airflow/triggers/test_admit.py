"""Admission: order, hold, skip and fail, by the ledger's slots and by what Airflow says of earlier gates."""

from __future__ import annotations

from typing import Any

import pytest

from node_rotation import lock
from node_rotation.errors import RefusedError
from node_rotation.outcome import Blocked
from node_rotation.steps.heal import heal
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow.documents import Cause, Request, Rotation
from node_rotation_airflow.operators.detect import DetectOperator
from node_rotation_airflow.operators.plan import PlanOperator
from node_rotation_airflow.operators.step import PrepareOperator
from node_rotation_airflow.runs import open_run
from node_rotation_airflow.triggers import admit, comms
from node_rotation_airflow.triggers.admit import AdmitTrigger

GATE = "batch.health_gate"


def prepared(airflow: Any, machines: int = 3, **policy: Any) -> Any:
    world = MemoryWorld.simple(machines=machines, max_unavailable=4)  # room for two machines at once
    run = airflow(world)
    settings = world.settings(**{"strategy": "detach", "canary": False, "budget": {"max_surge": 1}, **policy})
    run.xcoms["request", "request"] = Request(settings=settings, groups=("workers",)).dump()
    drift = run.run(DetectOperator(task_id="detect", group="workers"), 0)
    run.run(PlanOperator(task_id="plan", drifts=[drift]))
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    return run


def ask(run: Any, index: int) -> Any:
    return run.fire(AdmitTrigger(GATE, "p1"), run.context("batch.admit", index)["ti"])


def after(run: Any, monkeypatch: pytest.MonkeyPatch, looks: int, **states: str) -> None:
    """Have gates end in these states once admission has looked so often."""
    left = [looks]

    async def sleep(seconds: float) -> None:
        run.world.clock.wait(seconds)
        left[0] -= 1
        if left[0] == 0:
            run.states.update({f"{GATE}_{key.removeprefix('gate_')}": value for key, value in states.items()})
        if left[0] < -50:
            raise TimeoutError("admission waits for ever")

    monkeypatch.setattr("node_rotation_airflow.triggers.admit.sleep", sleep)
    monkeypatch.setattr(comms._shared, "_clock", run.world.clock.now)


def test_it_is_made_again_from_what_it_says() -> None:
    assert AdmitTrigger(GATE, "p1").serialize() == (
        "node_rotation_airflow.triggers.admit.AdmitTrigger",
        {"gate_task_id": GATE, "plan_id": "p1"},
    )


def test_the_first_is_admitted_at_once_and_asking_again_changes_nothing(airflow: Any) -> None:
    run = prepared(airflow)

    assert ask(run, 0).task_instance_state == "success"
    mutations = len(run.world.mutations)
    assert ask(run, 0).task_instance_state == "success"
    assert len(run.world.mutations) == mutations


def test_the_next_waits_for_its_slot(airflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = prepared(airflow)
    ask(run, 0)
    after(run, monkeypatch, 1)

    with pytest.raises(TimeoutError):
        ask(run, 1)


def test_a_run_that_is_held_by_a_failed_batch_stays_alive(airflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long somebody takes to look at it: a dead run's lock is anybody's."""
    run = prepared(airflow, lock_duration="1m")
    ask(run, 0)
    run.states[f"{GATE}_0"] = "failed"
    after(run, monkeypatch, 1)
    began = run.world.clock.now()

    with pytest.raises(TimeoutError):
        ask(run, 1)

    now = run.world.clock.now()
    assert now - began > 80
    assert not lock.expired(run.world.cluster.lease(), now)


@pytest.mark.parametrize("windows", [{}, {"windows": [{"from": "00:00", "to": "12:00"}]}], ids=["any time", "a window"])
def test_a_run_that_is_held_waits_out_an_api_server_that_is_away(
    airflow: Any, monkeypatch: pytest.MonkeyPatch, windows: dict[str, Any]
) -> None:
    """Every batch behind the failed one asks every few seconds, for hours: one of them finds it away."""
    run = prepared(airflow, budget={"max_surge": 3}, **windows)
    ask(run, 0)
    run.states[f"{GATE}_0"] = "failed"
    lists = run.world.journal.calls["nodes"]
    run.world.journal.faults.append(seeds.Fault("error", service="kubernetes", action="nodes", calls=(lists + 2,)))
    after(run, monkeypatch, 5, gate_0="success")

    assert ask(run, 1).task_instance_state == "success"
    assert run.world.journal.calls["nodes"] > lists + 2


def test_a_look_that_is_refused_fails_the_batch_and_says_so(airflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = prepared(airflow)
    run.states[f"{GATE}_0"] = "failed"
    after(run, monkeypatch, 100)
    run.world.clock.wait(10.0)
    run.world.journal.faults.append(
        seeds.Fault("error", service="kubernetes", action="nodes", code="Forbidden", status=403)
    )

    refused = ask(run, 1)

    assert refused.task_instance_state == "failed"
    assert "Forbidden" in Cause.read(refused.xcoms["cause"]).reason


def test_an_api_server_that_refuses_is_waited_for_some_minutes(airflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = prepared(airflow)
    blocked = Blocked("we are not allowed to list nodes", ("nodes",), "Grant the verb.")
    real, refusals = run.world.cluster.nodes, [RefusedError(blocked)] * 3

    def nodes() -> Any:
        if refusals:
            raise refusals.pop()
        return real()

    after(run, monkeypatch, 1000)
    run.world.clock.wait(10.0)
    monkeypatch.setattr(run.world.cluster, "nodes", nodes)
    assert ask(run, 0).task_instance_state == "success"

    began = run.world.clock.now()
    refusals += [RefusedError(blocked)] * 1000
    run.world.clock.wait(10.0)
    refused = ask(run, 1)
    assert refused.task_instance_state == "failed"
    assert Cause.read(refused.xcoms["cause"]).remedy == "Grant the verb."
    assert 300.0 < run.world.clock.now() - began < 330.0


def test_who_passed_before_the_lock_was_given_back_keeps_no_place_in_the_queue(
    airflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch failed beside others that passed; their run was restored, then the failed one was cleared."""
    run = prepared(airflow)
    for batch in run.xcoms["plan", "rotation"]["plan"]["batches"][:2]:
        run.world.cloud.terminate_in_group(batch["machines"][0]["instance_id"], decrement=False)
    run.world.clock.wait(120.0)
    after(run, monkeypatch, 100)

    with pytest.raises(TimeoutError):
        ask(run, 2)
    run.states.update({f"{GATE}_{index}": "success" for index in range(2)})
    after(run, monkeypatch, 100)

    assert ask(run, 2).task_instance_state == "success"


@pytest.mark.parametrize("failed", [False, True], ids=["it waited", "it failed"])
def test_a_gate_that_was_marked_as_success_keeps_nobody_once_its_machines_are_gone(
    airflow: Any, monkeypatch: pytest.MonkeyPatch, failed: bool
) -> None:
    """What it waited for was of no interest to somebody; neither gate nor heal will write that it passed."""
    run = prepared(airflow, canary=True)
    ask(run, 0)
    opened = open_run("manual__1", Rotation.read(run.xcoms["plan", "rotation"]))
    canary = opened.plan.batches[0]
    run.states[f"{GATE}_0"] = "success"
    if failed:
        heal(opened, canary, "a pod is not back")
    after(run, monkeypatch, 100)
    with pytest.raises(TimeoutError):  # its machine still serves: it was not rotated
        ask(run, 1)

    run.world.cloud.terminate(canary.machines[0].instance_id)
    run.world.clock.wait(120.0)
    after(run, monkeypatch, 100)

    assert ask(run, 1).task_instance_state == "success"
    held = lock.held(opened)
    assert held
    claim = held.ledger.claim(canary.name)
    assert claim
    assert (claim.state, claim.passed_at is not None) == ("passed", True)


@pytest.mark.parametrize(("rule", "state"), [("skip", "skipped"), ("fail", "failed")])
def test_a_gate_that_failed_before_refuses(
    airflow: Any, monkeypatch: pytest.MonkeyPatch, rule: str, state: str
) -> None:
    run = prepared(airflow, gate={"on_failure": rule})
    ask(run, 0)
    after(run, monkeypatch, 2, gate_0="failed")

    event = ask(run, 1)

    assert event.task_instance_state == state
    said = (event.xcoms or {}).get("cause")
    assert bool(said) is (rule == "fail")
    if said:
        assert Cause.read(said).blocked().objects == ("batch workers/2",)


def test_by_default_it_holds(airflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = prepared(airflow, budget={"max_surge": 3})
    ask(run, 0)
    run.states[f"{GATE}_0"] = "failed"
    after(run, monkeypatch, 3, gate_0="success")

    assert ask(run, 1).task_instance_state == "success"


def test_all_that_wait_share_one_question(airflow: Any) -> None:
    run = prepared(airflow, machines=3, budget={"max_surge": 3})
    for index in range(3):
        ask(run, index)

    assert run.comms.count("GetTaskStates") == 1


def test_who_stands_far_back_asks_half_as_often(airflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = prepared(airflow, machines=12)
    ask(run, 0)
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        raise TimeoutError

    monkeypatch.setattr("node_rotation_airflow.triggers.admit.sleep", sleep)
    monkeypatch.setitem(admit._queues, ("rotate_nodes", "manual__1"), set(range(1, 12)))
    for index in (1, 11):
        with pytest.raises(TimeoutError):
            ask(run, index)

    assert pauses == [2.0, 4.0]
    assert 1 not in admit._queues["rotate_nodes", "manual__1"]


CLOSES = [{"from": "00:00", "to": "02:20"}]
"""The world begins at two."""


def minutes_pass(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def sleep(seconds: float) -> None:
        run.world.clock.wait(60.0)

    monkeypatch.setattr("node_rotation_airflow.triggers.admit.sleep", sleep)
    monkeypatch.setattr(comms._shared, "_clock", run.world.clock.now)


def test_when_the_window_closes_whoever_waits_is_skipped_and_says_why(
    airflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepared(airflow, windows=CLOSES)
    ask(run, 0)
    minutes_pass(run, monkeypatch)

    refused = ask(run, 1)

    assert refused.task_instance_state == "skipped"
    assert refused.xcoms["postponed"]["batch"] == "workers/2"
    assert "window closes at 2026-11-09 02:20 UTC" in refused.xcoms["postponed"]["reason"]


def test_who_stands_behind_one_that_was_too_late_is_not_held_by_it(
    airflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gate that was skipped for the hour is no failure to wait for."""
    run = prepared(airflow, windows=CLOSES)
    run.world.clock.wait(1199.0)
    run.states[f"{GATE}_0"] = "skipped"

    assert ask(run, 1).xcoms["postponed"]["batch"] == "workers/2"


def test_who_is_held_by_a_failed_gate_does_not_wait_beyond_the_window(
    airflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepared(airflow, windows=CLOSES)
    run.states[f"{GATE}_0"] = "failed"
    minutes_pass(run, monkeypatch)

    assert ask(run, 1).xcoms["postponed"]["batch"] == "workers/2"
