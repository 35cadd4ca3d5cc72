"""The one step trigger: what it is made of again, and how it ends."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse

from node_rotation.errors import BadInputError, BlockedError, RefusedError, TransientError
from node_rotation.outcome import REFUSED_CALL, Blocked, Done, Outcome, Waiting
from node_rotation.planning import make_plan
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow import deeds
from node_rotation_airflow.documents import Cause, Rotation
from node_rotation_airflow.triggers import comms
from node_rotation_airflow.triggers.step import StepTrigger

T0 = 1_794_189_600.0


@pytest.fixture
def run(airflow: Any) -> Any:
    world = MemoryWorld.simple(machines=1)
    made = airflow(world)
    settings = world.settings()
    from node_rotation.detect import detect, observe

    drift = detect(settings, "workers", world.cloud, world.cluster, world.clock)
    snapshot = observe(settings, world.cloud, world.cluster, world.clock)
    plan = make_plan(settings, [drift], snapshot, world.clock.now())
    made.xcoms["plan", "rotation"] = Rotation(settings=settings, plan=plan).dump()
    made.plan = plan
    return made


def fire(run: Any, monkeypatch: pytest.MonkeyPatch, *outcomes: Outcome | Exception, **kwargs: Any) -> Any:
    """The first event of a trigger whose deed has these outcomes, the last one for ever."""
    left = list(outcomes)

    def do(of: Any, subject: str, left_s: float) -> Outcome:
        said = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(said, Exception):
            raise said
        return said

    monkeypatch.setattr(deeds, "DEEDS", {"drain": deeds.Deed(do, lambda of, subject: 60.0)})
    trigger = StepTrigger(
        "drain",
        "workers/1",
        run.plan.id,
        **{"deadline": run.world.clock.now() + 60, "began": run.world.clock.now(), **kwargs},
    )
    return run.fire(trigger, run.context("batch.drain", 0)["ti"])


def test_it_is_made_again_from_what_it_says() -> None:
    trigger = StepTrigger("drain", "workers/1", "p1", T0 + 60, T0)
    path, kwargs = trigger.serialize()

    assert path == "node_rotation_airflow.triggers.step.StepTrigger"
    assert kwargs == {"deed": "drain", "subject": "workers/1", "plan_id": "p1", "deadline": T0 + 60, "began": T0}
    assert StepTrigger(**kwargs, resume=True).serialize()[1]["resume"] is True


def test_done_ends_the_task_without_a_worker(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    began = run.world.clock.now()
    event = fire(run, monkeypatch, Waiting(("pod shop/a",), 4.0), Done())

    assert event.task_instance_state == "success"
    span = {"subject": "workers/1", "deed": "drain", "began": began, "ended": began + 4}
    assert event.xcoms == {"return_value": span}


def test_or_with_one_if_asked(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said = fire(run, monkeypatch, Done(), resume=True).payload
    assert (said["status"], said["span"]["deed"], said["span"]["subject"]) == ("done", "drain", "workers/1")


@pytest.mark.parametrize(
    "said", [Blocked("a budget allows nothing", ("pdb shop/api",)), BadInputError("pdb shop/api", "is wrong")]
)
def test_what_can_not_pass_goes_to_a_worker_with_its_reason(
    run: Any, monkeypatch: pytest.MonkeyPatch, said: Any
) -> None:
    event = fire(run, monkeypatch, said)

    assert event.payload["status"] == "failed"
    assert "pdb shop/api" in str(event.payload)
    cause = Cause.read({key: value for key, value in event.payload.items() if key != "status"})
    wrong = Blocked(str(said), ("batch workers/1",), REFUSED_CALL)
    assert cause.blocked() == (said if isinstance(said, Blocked) else wrong)


def test_a_transient_error_is_waited_out(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    began = run.world.clock.now()
    event = fire(run, monkeypatch, TransientError("throttled", retry_after_s=9), Done())

    assert event.task_instance_state == "success"
    assert run.world.clock.now() - began == 9


FORBIDDEN = RefusedError(Blocked("we are not allowed to list nodes", ("nodes",), "Grant the verb."))


def test_an_api_server_that_refuses_for_a_moment_is_waited_out(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    event = fire(run, monkeypatch, FORBIDDEN, FORBIDDEN, Done())
    assert event.task_instance_state == "success"


def test_one_that_goes_on_refusing_blocks_after_some_minutes(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    began = run.world.clock.now()
    said = fire(run, monkeypatch, FORBIDDEN, deadline=began + 3600.0).payload
    assert (said["status"], said["remedy"]) == ("failed", "Grant the verb.")
    assert 300.0 < run.world.clock.now() - began < 320.0


def test_the_deadline_is_absolute_and_says_what_it_waited_for(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    event = fire(run, monkeypatch, Waiting(("pod shop/a is terminating",), 7.0))

    assert event.payload["status"] == "deadline"
    assert event.payload["reason"].startswith("pod shop/a is terminating (since ")


def test_what_it_waits_for_is_logged_once(
    run: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(StepTrigger, "log", logging.getLogger(__name__))
    fire(run, monkeypatch, *[Waiting(("pod shop/a is terminating",))] * 3, Done())

    assert caplog.text.count("waits: pod shop/a is terminating (since ") == 1


def test_all_triggers_of_a_run_read_its_plan_once(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fire(run, monkeypatch, Done())
    fire(run, monkeypatch, Done())

    assert run.comms.count("GetXCom") == 1


def test_a_run_without_a_plan_says_what_to_clear(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run.xcoms.clear()

    with pytest.raises(RuntimeError, match="Clear its task plan"):
        fire(run, monkeypatch, Done())


@pytest.mark.parametrize(
    "said",
    [
        TransientError("sts does not answer", retry_after_s=0.01),
        BlockedError(Blocked("not allowed: sts:AssumeRole", ("connection aws_dev",), "Allow it.")),
    ],
    ids=["no answer", "the role is refused"],
)
def test_an_account_that_is_away_while_the_run_is_opened_is_waited_for(
    run: Any, monkeypatch: pytest.MonkeyPatch, said: Exception
) -> None:
    opened, tries = comms.open_run, []

    def away_at_first(*args: Any, **kwargs: Any) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise said
        return opened(*args, **kwargs)

    monkeypatch.setattr(comms, "open_run", away_at_first)
    monkeypatch.setattr(comms, "AWAY_S", 0.01)
    assert fire(run, monkeypatch, Done()).task_instance_state == "success"
    assert len(tries) == 3


def test_airflow_being_away_while_the_plan_is_read_is_waited_for(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, tries = run.comms.answers["GetXCom"], []

    def away_at_first(message: Any) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR))
        return answer(message)

    run.comms.answers["GetXCom"] = away_at_first
    monkeypatch.setattr(comms, "AWAY_S", 0.01)
    assert fire(run, monkeypatch, Done()).task_instance_state == "success"
    assert len(tries) == 3
