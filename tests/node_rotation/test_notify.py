"""People are told what becomes of a rotation, each thing in one message; no receiver can fail it or hold it up."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from time import monotonic
from typing import Any

import pytest
from tests.node_rotation.clients.silent import silent_server
from tests.node_rotation.crashes import run_for
from tests.node_rotation.receiver import SECRET, Receiver, receiving

from node_rotation import engine, notify
from node_rotation.clients.http import HttpClient, from_environment
from node_rotation.configuration.notify_policy import HttpNotify, NoticeKind, Notify
from node_rotation.engine import Result
from node_rotation.model import Blocker
from node_rotation.outcome import Blocked
from node_rotation.policy import merge
from node_rotation.report import report
from node_rotation.steps.verify import Verdict
from node_rotation.testing.world import MemoryWorld

CAUSE = Blocked("pod a is not Ready", ("pod a",), "Look at it.")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as told:
        yield told


def the_end(behaviour: str = "good", **changed: Any) -> notify.Notice | None:
    """How a rotation of two machines is told.

    :param changed: fields of its result that are otherwise.
    """
    run = run_for(MemoryWorld.simple(2, behaviour=behaviour))
    return notify.ended(report(run.plan, replace(engine.rotate(run), **changed)), "run-1")


def posted(url: str, *kinds: NoticeKind, timeout: float = 5.0, notice: notify.Notice | None = None) -> tuple[str, ...]:
    http = HttpNotify(connection="slack", url=url, request_timeout=timeout)
    wanted = notice or notify.batch_failed("dev.eu", "run-1", "workers/1", CAUSE, "hold")
    to = Notify(kinds=kinds or tuple(NoticeKind), http=http)
    return notify.send(HttpClient(from_environment), [to], wanted)


def test_a_message_has_a_text_for_people_and_everything_for_programs(receiver: Receiver) -> None:
    notice = notify.batch_failed("dev.eu", "run-1", "workers/1", CAUSE, "hold")

    assert posted(receiver.url, notice=replace(notice, url="https://airflow.example/dags/d/runs/1")) == ()

    ((path, body),) = receiver.got
    assert path == SECRET
    assert body == {
        "text": "dev.eu: a batch failed: batch workers/1 failed: pod a is not Ready; on_failure is hold for those "
        "behind it. Look at it. https://airflow.example/dags/d/runs/1",
        "id": notice.id,
        "kind": "batch_failed",
        "cluster": "dev.eu",
        "run": "run-1",
        "url": "https://airflow.example/dags/d/runs/1",
        "what": ["batch workers/1 failed: pod a is not Ready", "on_failure is hold for those behind it"],
        "objects": ["batch workers/1", "pod a"],
        "remedy": "Look at it.",
        "report": None,
    }


def test_its_id_is_that_of_the_thing_not_of_the_message() -> None:
    first = notify.batch_failed("dev.eu", "run-1", "workers/1", CAUSE, "hold")
    assert first.id == replace(first, url="https://elsewhere.example").id
    others = (replace(first, run="run-2"), replace(first, what=("x",)), replace(first, kind=NoticeKind.FAILED))
    assert len({first.id, *(other.id for other in others)}) == 4


def test_what_others_wrote_calls_nobody_in_slack() -> None:
    said = notify.batch_failed("dev.eu", "r", "w/1", Blocked("no capacity <!channel> & more"), "hold").text
    assert "&lt;!channel&gt; &amp; more" in said


BLOCKED = Blocked("another run holds the lock", ("lease dev",), "Wait for it.")
LATER = (("workers/2", "the window closes"),)
ENDS: dict[str, tuple[dict[str, Any], str, str]] = {
    "well": ({}, "ok", "2 machines replaced"),
    "blocked": ({"blocked": BLOCKED}, "blocked", "another run holds the lock"),
    "postponed": ({"postponed": LATER, "verdict": Verdict(drift=("i-1",))}, "postponed", "the window closes"),
    "postponed, and something left": (
        {"postponed": LATER, "verdict": Verdict(drift=("i-1",), residue=("a taint",))},
        "failed",
        "residue: a taint",
    ),
    "a batch failed": ({"failed": (("workers/1", CAUSE),)}, "failed", "workers/1: pod a is not Ready"),
    "something is left behind": ({"verdict": Verdict(residue=("a taint",))}, "failed", "residue: a taint"),
    "superseded": ({"not_begun": "superseded: a newer image"}, "superseded", "a newer image"),
    "rejected": ({"not_begun": "rejected by Ada"}, "not_begun", "rejected by Ada"),
}


@pytest.mark.parametrize(("changed", "kind", "said"), ENDS.values(), ids=ENDS)
def test_every_end_of_a_run_has_its_kind(changed: dict[str, Any], kind: str, said: str) -> None:
    notice = the_end(**changed)
    assert notice is not None
    assert notice.kind == kind
    assert said in notice.text


def test_a_plan_that_can_not_be_carried_out_is_blocked_and_says_what_to_do() -> None:
    run = run_for(MemoryWorld.simple(2))
    blocker = Blocker(reason="termination protection is on", objects=("instance i-1",), remedy="Turn it off.")
    run = replace(run, plan=run.plan.model_copy(update={"blockers": (blocker,)}))

    notice = notify.ended(report(run.plan, engine.rotate(run)), "run-1")

    assert notice is not None
    assert (notice.kind, notice.what) == ("blocked", ("termination protection is on",))
    assert (notice.objects, notice.remedy) == (("instance i-1",), "Turn it off.")


def test_a_run_that_had_nothing_to_do_tells_nothing() -> None:
    run = run_for(MemoryWorld.simple(2))
    empty = run.plan.model_copy(update={"batches": ()})
    assert notify.ended(report(empty, Result(0.0, 1.0)), "run-1") is None


def test_a_long_list_is_short_in_the_text_and_whole_beside_it() -> None:
    notice = the_end(verdict=Verdict(residue=tuple(f"taint {n}" for n in range(5))))
    assert notice is not None
    assert "taint 2; and 2 more." in notice.text
    assert len(notice.body["what"]) == 5


def test_an_image_is_told_by_the_batch_that_had_it_frozen_and_by_no_other() -> None:
    run = run_for(MemoryWorld.simple(2, behaviour="never-joins"))
    result = engine.rotate(run)
    ((_, cause),) = result.failed
    image = run.plan.groups[0].target.image
    record = run.freezes.of(image)

    told = notify.frozen("dev.eu", run.id, record, cause)
    assert told is not None
    assert f"image {image.id} " in told.text
    assert told.remedy.endswith(f": node-rotation unfreeze {image.id} --reason WHY")
    assert notify.frozen("dev.eu", "another-run", record, cause) is None
    assert notify.frozen("dev.eu", run.id, record, CAUSE) is None
    assert notify.frozen("dev.eu", run.id, None, cause) is None


def test_who_wants_only_failures_hears_nothing_else(receiver: Receiver) -> None:
    posted(receiver.url, NoticeKind.FAILED)
    assert receiver.got == []


@pytest.mark.parametrize("status", [404, 429, 503, 302])
def test_a_refusal_is_said_with_its_reason_without_the_secret_and_not_tried_again(
    receiver: Receiver, status: int
) -> None:
    receiver.status = status
    (line,) = posted(receiver.url)
    origin = receiver.url.removesuffix(SECRET)
    assert line.startswith(f"notification batch_failed to slack was not sent: POST {origin} answers {status}: cannot")
    assert "hidden" not in line
    assert len(receiver.got) == 1


def test_one_that_never_answers_is_given_up_in_bounded_time() -> None:
    with silent_server() as (url, callers):
        (line,) = posted(url + SECRET, timeout=0.2)
        assert callers() == 1
    assert "no answer" in line
    assert "hidden" not in line


def test_one_that_never_stops_talking_is_given_up_as_well(receiver: Receiver) -> None:
    receiver.drips = True
    began = monotonic()
    (line,) = posted(receiver.url, timeout=0.3)
    assert monotonic() - began < 3.0
    assert "no answer within 0.3 s" in line


def test_nobody_there_is_one_line_and_the_next_receiver_is_told(receiver: Receiver) -> None:
    nobody = Notify(http=HttpNotify(connection="pager", url="http://127.0.0.1:9/key"))
    there = Notify(http=HttpNotify(connection="slack", url=receiver.url))
    notice = notify.approval("dev.eu", "r", 7, "7 is more than 25%")

    (line,) = notify.send(HttpClient(from_environment), [nobody, there], notice)

    assert "notification approval to pager was not sent" in line
    assert receiver.kinds == ["approval"]


def test_no_log_shows_the_secret_at_any_level(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_TOKEN", "a-token-to-hide")
    to = HttpNotify(connection="slack", url=receiver.url, token_variable="HOOK_TOKEN")  # noqa: S106 - a variable's name
    with caplog.at_level(logging.DEBUG):
        notify.send(HttpClient(from_environment), [Notify(http=to)], notify.no_plan("dev.eu", "r"))
    assert receiver.kinds == ["failed"]
    assert "hidden" not in caplog.text
    assert "a-token-to-hide" not in caplog.text


def test_prod_and_dev_are_told_to_different_people() -> None:
    fleet = {"notify": [{"http": {"connection": "dev"}}]}
    prod = {"notify": [{"kinds": ["failed"], "http": {"connection": "pager"}}]}
    (one,) = merge(fleet, prod).notify
    assert (one.http.connection, one.kinds) == ("pager", (NoticeKind.FAILED,))
