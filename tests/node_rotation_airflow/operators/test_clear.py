"""Before anything is touched: one look in a worker, then a wait without one."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRuntimeError,
    AirflowSkipException,
    ErrorType,
    TaskDeferred,
)
from airflow.sdk.execution_time.comms import ErrorResponse

from node_rotation.clearance.freezes import Freezes
from node_rotation.configuration.notify_policy import NoticeKind
from node_rotation.notify import outcome
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow import newest
from node_rotation_airflow.constants import ENDED_KEY
from node_rotation_airflow.documents import Request, Rotation
from node_rotation_airflow.newest import Aim, Waiter, supersedes
from node_rotation_airflow.operators.clear import ClearOperator
from node_rotation_airflow.operators.detect import DetectOperator
from node_rotation_airflow.operators.plan import PlanOperator
from node_rotation_airflow.operators.report import ReportOperator
from node_rotation_airflow.operators.step import PrepareOperator
from node_rotation_airflow.operators.verify import VerifyOperator
from node_rotation_airflow.triggers.clear import ClearTrigger

NIGHT = datetime(2026, 11, 9, 1, tzinfo=UTC)
LATER = [{"from": "04:00", "to": "12:00"}]  # it is two in the morning
KEY = "node_rotation_newest_dev.dev"
NOW = [{"from": "00:00", "to": "12:00"}]


def waiting(
    airflow: Any, world: MemoryWorld, as_of: datetime | None = None, **policy: Any
) -> tuple[Any, ClearOperator]:
    run = airflow(world)
    request = Request(settings=world.settings(**policy), groups=("workers",), as_of=as_of)
    run.xcoms["request", "request"] = request.dump()
    drift = run.run(DetectOperator(task_id="detect", group="workers"), 0)
    batches = run.run(PlanOperator(task_id="plan", drifts=[drift]))
    return run, ClearOperator(task_id="wait", batches=batches)


def announced(run: Any, *, run_id: str = "scheduled__2", days: int = 1, **image: Any) -> Waiter:
    """Another run of the same groups that waits, as it said of itself.

    :param days: so much later it was made.
    :param image: what differs of the image its groups are to run.
    """
    rotation = Rotation.read(run.xcoms["plan", "rotation"])
    groups = tuple(
        group.model_copy(
            update={"target": group.target.model_copy(update={"image": group.target.image.model_copy(update=image)})}
        )
        for group in rotation.plan.groups
    )
    plan = rotation.plan.model_copy(update={"groups": groups})
    other = newest.waiter(run_id, NIGHT + timedelta(days=days), rotation.model_copy(update={"plan": plan}))
    run.variables[KEY] = other.model_dump_json()
    run.others[run_id] = ("running", "deferred")
    return other


def waits_in(run: Any) -> ClearTrigger:
    return ClearTrigger(run.xcoms["plan", "rotation"]["plan"]["id"], NIGHT.isoformat())


@pytest.mark.parametrize("policy", [{}, {"windows": NOW}, {"windows": LATER, "outside_windows": "CVE-2026-1"}])
def test_with_nothing_in_its_way_it_ends_in_the_worker(airflow: Any, policy: dict[str, Any]) -> None:
    run, wait = waiting(airflow, MemoryWorld.simple(2), **policy)

    wait.execute(run.context("wait"))


def test_with_nothing_to_do_it_asks_nothing(airflow: Any) -> None:
    run, wait = waiting(airflow, MemoryWorld.simple(2), mode="plan", windows=LATER)

    wait.execute(run.context("wait"))


def test_it_waits_in_the_triggerer_until_the_window_opens_and_has_touched_nothing(airflow: Any) -> None:
    world = MemoryWorld.simple(2)
    run, wait = waiting(airflow, world, windows=LATER)

    with pytest.raises(TaskDeferred) as deferred:
        wait.execute(run.context("wait"))
    assert deferred.value.trigger.serialize() == (
        "node_rotation_airflow.triggers.clear.ClearTrigger",
        {"plan_id": run.xcoms["plan", "rotation"]["plan"]["id"], "since": "2026-11-09T01:00:00+00:00"},
    )
    event = run.fire(deferred.value.trigger, run.context("wait")["ti"])

    assert event.task_instance_state == "success"
    assert world.clock.now() % 86400 >= 4 * 3600
    assert world.mutations == []


def test_thirty_days_are_thirty_days_however_often_it_is_tried_and_then_it_says_what_it_waited_for(
    airflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = MemoryWorld.simple(2)
    run, wait = waiting(airflow, world, windows=LATER)
    monkeypatch.setattr("node_rotation_airflow.operators.base.time", world.clock.now)
    with pytest.raises(TaskDeferred) as deferred:
        wait.execute(run.context("wait"))
    assert deferred.value.timeout == timedelta(days=30)
    world.clock.wait(86400.0)
    with pytest.raises(TaskDeferred) as deferred:
        wait.execute(run.context("wait"))
    assert deferred.value.timeout == timedelta(days=29)
    world.clock.wait(29 * 86400.0)

    with pytest.raises(AirflowFailException, match="wait took too long: the maintenance window is closed"):
        wait.execute(run.context("wait"))


def test_its_log_says_what_it_waits_for_once_and_until_when(airflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = waiting(airflow, MemoryWorld.simple(2), windows=LATER)
    trigger, said = waits_in(run), []
    monkeypatch.setattr(trigger.log, "info", lambda text, *args: said.append(text % args if args else text))

    run.fire(trigger, run.context("wait")["ti"])

    (waits,) = [line for line in said if line.startswith("waits: ")]
    assert "the maintenance window is closed: it opens at 2026-11-09 04:00 UTC" in waits


def test_a_newer_image_ends_it_in_the_worker_and_the_report_says_so(
    airflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a past night that a newer image has overtaken."""
    monkeypatch.setenv("NODE_ROTATION_REPORTS", str(tmp_path))
    world = MemoryWorld.simple(2)
    run, wait = waiting(airflow, world, image={"owner": "self", "name": "base-*"}, image_step="launch_template")
    world.add_image(seeds.Image("base-newest", created="2026-11-09T01:00:00.000Z"))
    world.clock.wait(10)

    with pytest.raises(AirflowSkipException, match=r"superseded: .*base-newest"):
        wait.execute(run.context("wait"))
    run.states["wait"] = "skipped"
    with pytest.raises(AirflowSkipException, match="nothing was begun: superseded: group workers is to run"):
        run.run(VerifyOperator(task_id="verify"))
    page = run.run(ReportOperator(task_id="report"))

    value = json.loads(Path(page).with_suffix(".json").read_text())
    assert "base-newest" in value["not_begun"]
    assert "nothing was touched: superseded: group workers is to run" in Path(page).read_text()
    assert world.mutations == []


@pytest.mark.parametrize("where", ["worker", "triggerer"])
def test_what_it_can_not_begin_for_is_in_the_report_with_what_to_do(
    airflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The image is frozen once the plan is made: in between, or while the run waits."""
    monkeypatch.setenv("NODE_ROTATION_REPORTS", str(tmp_path))
    world = MemoryWorld.simple(2)
    run, wait = waiting(airflow, world)
    image = Rotation.read(run.xcoms["plan", "rotation"]).plan.groups[0].target.image
    Freezes(world.settings(), world.cloud, world.clock).freeze(image, "a CVE in it", "cli me")

    if where == "worker":
        with pytest.raises(AirflowFailException, match="a CVE in it"):
            run.run(wait)
    else:
        event = run.fire(waits_in(run), run.context("wait")["ti"])
        assert event.task_instance_state == "failed"
        run.xcoms |= {("wait", key): value for key, value in event.xcoms.items()}
    run.states |= {"wait": "failed", "verify": "failed"}
    with pytest.raises(AirflowFailException, match="drift"):
        run.run(VerifyOperator(task_id="verify"))

    value = json.loads(Path(run.run(ReportOperator(task_id="report"))).with_suffix(".json").read_text())
    assert f"{image.id} (base-new) is frozen" in value["blocked"]["reason"]
    assert value["blocked"]["objects"] == [f"image {image.id}", "group workers"]
    assert "node-rotation unfreeze" in value["blocked"]["remedy"]
    assert outcome(value) is NoticeKind.BLOCKED


def test_a_newer_run_takes_the_place_of_one_that_waits(airflow: Any) -> None:
    world = MemoryWorld.simple(2)
    run, wait = waiting(airflow, world, windows=LATER)
    with pytest.raises(TaskDeferred):
        wait.execute(run.context("wait"))
    announced(run)

    event = run.fire(waits_in(run), run.context("wait")["ti"])

    assert event.task_instance_state == "skipped"
    assert event.xcoms == {"ended": "superseded: run scheduled__2 is newer and does the same"}
    assert world.mutations == []


def test_a_newer_run_to_an_older_image_does_not(airflow: Any) -> None:
    """One of a past night, or of an image that somebody froze since."""
    run, _ = waiting(airflow, MemoryWorld.simple(2), windows=LATER)
    announced(run, id="ami-older", created=NIGHT - timedelta(days=9))

    assert run.fire(waits_in(run), run.context("wait")["ti"]).task_instance_state == "success"


@pytest.mark.parametrize(
    "state",
    [
        ("failed", "failed"),
        ("success", "skipped"),
        ("failed", "success"),
        ("running", "skipped"),
        ("running", "failed"),
    ],
)
def test_a_newer_run_that_is_over_or_will_not_begin_does_not(airflow: Any, state: tuple[str, str]) -> None:
    """Marked failed, superseded itself, blocked: its last tasks may still be at work."""
    run, wait = waiting(airflow, MemoryWorld.simple(2), windows=LATER)
    announced(run)
    run.others["scheduled__2"] = state

    with pytest.raises(TaskDeferred):
        wait.execute(run.context("wait"))
    assert Waiter.model_validate_json(run.variables[KEY]).run_id == "manual__1"
    announced(run)
    run.others["scheduled__2"] = state
    assert run.fire(waits_in(run), run.context("wait")["ti"]).task_instance_state == "success"


def test_a_newer_run_that_was_deleted_does_not(airflow: Any) -> None:
    run, _ = waiting(airflow, MemoryWorld.simple(2), windows=LATER)
    announced(run)
    run.others.clear()

    assert run.fire(waits_in(run), run.context("wait")["ti"]).task_instance_state == "success"


def test_while_airflow_can_not_say_whether_a_newer_run_goes_on_it_waits(airflow: Any) -> None:
    run, _ = waiting(airflow, MemoryWorld.simple(2), windows=LATER)
    announced(run)

    def away(message: Any) -> Any:
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR))

    run.comms.answers["GetDRCount"] = away

    assert run.fire(waits_in(run), run.context("wait")["ti"]).task_instance_state == "success"


def test_what_a_run_of_the_version_before_said_of_itself_counts_no_more(airflow: Any) -> None:
    """It did not say which image it was about."""
    run, wait = waiting(airflow, MemoryWorld.simple(2), windows=LATER)
    run.others["scheduled__2"] = ("running", "deferred")
    run.variables[KEY] = '{"run_id":"scheduled__2","since":"2026-11-10T01:00:00Z","groups":["workers"]}'

    assert run.fire(waits_in(run), run.context("wait")["ti"]).task_instance_state == "success"
    wait.execute(run.context("wait"))
    assert Waiter.model_validate_json(run.variables[KEY]).run_id == "manual__1"


def test_a_run_of_a_past_night_that_a_newer_image_ends_takes_nobodys_place(airflow: Any) -> None:
    world = MemoryWorld.simple(2)
    world.add_image(seeds.Image("base-tonight", created="2026-11-09T00:30:00.000Z"))
    night = datetime(2026, 11, 8, 12, tzinfo=UTC)
    source = {"owner": "self", "name": "base-*"}
    run, wait = waiting(airflow, world, as_of=night, image=source, image_step="launch_template", windows=LATER)

    with pytest.raises(AirflowSkipException, match="base-tonight"):
        wait.execute(run.context("wait"))

    assert run.variables == {}


def test_one_that_can_not_begin_takes_nobodys_place(airflow: Any) -> None:
    world = MemoryWorld.simple(2)
    run, wait = waiting(airflow, world, windows=LATER)
    image = Rotation.read(run.xcoms["plan", "rotation"]).plan.groups[0].target.image
    Freezes(world.settings(), world.cloud, world.clock).freeze(image, "a CVE in it", "cli me")

    with pytest.raises(AirflowFailException, match="a CVE in it"):
        wait.execute(run.context("wait"))

    assert run.variables == {}


def test_no_newer_run_takes_the_place_of_one_that_has_begun_and_is_cleared(airflow: Any) -> None:
    """Held by a failed batch it keeps the lock, so the next night's run has announced itself and got no further."""
    run, wait = waiting(airflow, MemoryWorld.simple(2))
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    announced(run)

    wait.execute(run.context("wait"))
    assert run.fire(waits_in(run), run.context("wait")["ti"]).task_instance_state == "success"


@pytest.mark.parametrize("task", ["approve", "wait"])
def test_a_run_that_ends_before_it_is_opened_again_gives_back_what_it_holds_and_does_not_say_it_touched_nothing(
    airflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    """Cleared from its plan or approval while it was held; then rejected, not answered, or overtaken by an image."""
    monkeypatch.setenv("NODE_ROTATION_REPORTS", str(tmp_path))
    world = MemoryWorld.simple(2)
    run, _ = waiting(airflow, world, image={"ssm": "/images/base/current"})
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    run.states[task] = "skipped"
    run.xcoms[task, ENDED_KEY] = "rejected by alice"

    with pytest.raises(AirflowFailException, match="not as planned"):
        run.run(VerifyOperator(task_id="verify"))
    run.states["verify"] = "failed"
    page = Path(run.run(ReportOperator(task_id="report")))

    assert world.residue() == ()
    value = json.loads(page.with_suffix(".json").read_text())
    assert (value["ok"], value["not_begun"], bool(value["verdict"]["drift"])) == (False, None, True)
    assert "nothing was touched" not in page.read_text()


def test_no_newer_run_and_no_newer_image_takes_the_place_of_one_that_is_pinned(airflow: Any) -> None:
    world = MemoryWorld.simple(2)
    run, wait = waiting(
        airflow, world, image={"owner": "self", "name": "base-*"}, image_step="launch_template", pin=True
    )
    announced(run)
    world.add_image(seeds.Image("base-newest", created="2026-11-09T01:00:00.000Z"))
    world.clock.wait(10)

    wait.execute(run.context("wait"))


def test_one_that_is_pinned_takes_nobodys_place(airflow: Any) -> None:
    """An older image than another's, as a rule: whoever waits with a newer one goes on."""
    run, wait = waiting(airflow, MemoryWorld.simple(2), pin=True)

    wait.execute(run.context("wait"))

    assert run.variables == {}


@pytest.mark.parametrize(
    ("image", "ended"),
    [({}, "skipped"), ({"id": "ami-newer", "created": NIGHT}, "success")],
)
def test_one_whose_image_is_given_by_its_id_gives_way_to_the_same_image_alone(
    airflow: Any, image: dict[str, Any], ended: str
) -> None:
    """The fleet file may give it: its nights' runs wait for one window, and only one of them may begin."""
    world = MemoryWorld.simple(2)
    given = next(image.id for image in world.cloud.images("self", "base-*", "x86_64") if image.name == "base-new")
    run, _ = waiting(airflow, world, image={"id": given}, image_step="launch_template", windows=LATER)
    announced(run, **image)

    assert run.fire(waits_in(run), run.context("wait")["ti"]).task_instance_state == ended


@pytest.mark.parametrize(("theirs", "mine"), [(True, False), (False, True)])
def test_an_image_given_by_its_id_is_no_newer_one(theirs: bool, mine: bool) -> None:
    one, other = waiter("mine", 0, a=0), waiter("other", 1, a=1)
    one, other = (
        who.model_copy(update={"aims": tuple(aim.model_copy(update={"given": given}) for aim in who.aims)})
        for who, given in ((one, mine), (other, theirs))
    )

    assert not supersedes(other, one)


def test_the_newest_run_is_not_made_older_by_one_that_is_cleared(airflow: Any) -> None:
    run, wait = waiting(airflow, MemoryWorld.simple(2))
    newer = announced(run, id="ami-older", created=NIGHT - timedelta(days=9))

    wait.execute(run.context("wait"))

    assert Waiter.model_validate_json(run.variables[KEY]) == newer


def test_a_run_that_is_cleared_and_plans_another_image_says_so(airflow: Any) -> None:
    run, wait = waiting(airflow, MemoryWorld.simple(2))
    before = announced(run, run_id="manual__1", days=0, id="ami-older", created=NIGHT - timedelta(days=9))

    wait.execute(run.context("wait"))

    now = Waiter.model_validate_json(run.variables[KEY])
    assert (now.run_id, now.since) == (before.run_id, before.since)
    assert now != before


def waiter(run_id: str, later_s: int, **images: int) -> Waiter:
    """A run to images that were made so many days after another's; 0 is the same one."""
    aims = (
        Aim(group=group, image=f"ami-{days}", created=NIGHT + timedelta(days=days)) for group, days in images.items()
    )
    return Waiter(run_id=run_id, since=NIGHT + timedelta(seconds=later_s), aims=tuple(aims))


@pytest.mark.parametrize(
    ("run_id", "later_s", "images", "does"),
    [
        ("other", 1, {"a": 0, "b": 0}, True),
        ("other", 1, {"a": 0, "b": 1}, True),
        ("other", 1, {"a": 1, "b": 1, "c": -1}, True),
        ("other", 1, {"a": 1, "b": -1}, False),
        ("other", 1, {"a": 0}, False),
        ("other", -1, {"a": 0, "b": 0}, False),
        ("mine", 1, {"a": 0, "b": 0}, False),
    ],
)
def test_only_a_newer_run_that_does_all_the_same_or_better_supersedes(
    run_id: str, later_s: int, images: dict[str, int], does: bool
) -> None:
    assert supersedes(waiter(run_id, later_s, **images), waiter("mine", 0, a=0, b=0)) is does


def test_of_two_images_of_one_moment_neither_is_newer() -> None:
    mine = waiter("mine", 0, a=0)
    (aim,) = mine.aims
    other = waiter("other", 1).model_copy(update={"aims": (aim.model_copy(update={"image": "ami-twin"}),)})

    assert not supersedes(other, mine)


def test_an_older_run_that_writes_a_moment_later_does_not_take_its_place(airflow: Any) -> None:
    run = airflow(MemoryWorld.simple(1))
    newer = waiter("newer", 7200, workers=0)
    older = newer.model_copy(update={"run_id": "older", "since": datetime(2026, 11, 9, 2, tzinfo=UTC)})
    late = [older.model_dump_json()]  # it has read before the newer one wrote

    def put(message: Any) -> None:
        run.variables[message.key] = message.value
        if late:
            run.variables[message.key] = late.pop()

    run.comms.answers["PutVariable"] = put
    newest.announce("dev.dev", newer)
    assert Waiter.model_validate_json(run.variables[KEY]) == newer
