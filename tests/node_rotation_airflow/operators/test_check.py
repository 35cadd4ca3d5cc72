"""The check: a request from a partition, drift or none, an event or none; and the sweep."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from tests.node_rotation.soaking import LEFT_OUT, soaking, told

from node_rotation.clearance import freeze
from node_rotation.clearance.freeze import Frozen
from node_rotation.errors import TransientError
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow.constants import ROTATION_KEY
from node_rotation_airflow.documents import Request, Rotation
from node_rotation_airflow.operators.admit import AdmitOperator
from node_rotation_airflow.operators.detect import DetectOperator
from node_rotation_airflow.operators.plan import PlanOperator
from node_rotation_airflow.operators.publish import DRIFT, PublishDriftOperator
from node_rotation_airflow.operators.request import RequestOperator
from node_rotation_airflow.operators.step import LaunchOperator, PrepareOperator
from node_rotation_airflow.operators.sweep import SweepOperator
from node_rotation_airflow.params import check_params

TONIGHT = datetime.now(UTC).strftime("%Y-%m-%d")
ONE = [{"group": "workers", "drifted": [{}, {}]}, {"group": "masters", "drifted": []}]


@pytest.fixture
def run(airflow: Any, fleet_file: Path) -> Any:
    made = airflow(MemoryWorld.simple(machines=1))
    made.outlets = {DRIFT: SimpleNamespace(extra=None)}
    return made


def test_a_partition_becomes_a_request(run: Any) -> None:
    groups = run.run(RequestOperator(task_id="request"), partition_key=f"{TONIGHT}~dev.one")

    assert groups == ["workers", "masters"]
    assert run.xcoms["request", "request"]["settings"]["environment"] == "dev"


@pytest.mark.parametrize(
    ("dag_run", "message"),
    [
        ({}, "partition key: is missing. Give one such as "),
        ({"partition_key": "tonight"}, "is no night and cluster"),
        ({"partition_key": f"{TONIGHT}~dev.two"}, "there is no cluster 'dev.two'"),
        (
            {"partition_key": f"{TONIGHT}~dev.one", "conf": {"image": "x"}},
            "conf image: is no parameter of this DAG. Known: pin.",
        ),
    ],
)
def test_a_bad_request_fails_at_once_and_touches_nothing(run: Any, dag_run: dict[str, Any], message: str) -> None:
    with pytest.raises(AirflowFailException, match=message):
        run.run(RequestOperator(task_id="request", known=tuple(check_params())), **dag_run)

    assert run.world.mutations == []


def test_drift_is_published_with_environment_cluster_and_night(run: Any) -> None:
    run.run(PublishDriftOperator(task_id="publish", drifts=ONE), partition_key=f"{TONIGHT}~dev.one")

    extra = {"environment": "dev", "cluster": "dev.one", "night": TONIGHT, "drifted": {"workers": 2}}
    assert run.outlets[DRIFT].extra == extra


def test_without_drift_there_is_no_event(run: Any) -> None:
    with pytest.raises(AirflowSkipException, match=r"no drift in dev\.one"):
        run.run(PublishDriftOperator(task_id="publish", drifts=ONE[1:]), partition_key=f"{TONIGHT}~dev.one")

    assert run.outlets[DRIFT].extra is None


@pytest.mark.parametrize("pin", [True, False])
def test_a_check_that_pins_has_its_rotation_keep_the_nights_image(run: Any, pin: bool) -> None:
    asked = {"partition_key": f"{TONIGHT}~dev.one", "conf": {"pin": pin}}
    run.run(RequestOperator(task_id="request", known=tuple(check_params())), **asked)
    run.run(PublishDriftOperator(task_id="publish", drifts=ONE), **asked)
    extra = run.outlets[DRIFT].extra
    assert extra.get("pin", False) is pin

    events = [SimpleNamespace(extra={}), SimpleNamespace(extra=extra)]
    run.run(RequestOperator(task_id="request"), partition_key=asked["partition_key"], consumed_asset_events=events)

    settings = run.xcoms["request", "request"]["settings"]
    assert settings["policy"]["pin"] is pin


NAMED = {"owner": "self", "name": "base-*"}
LONG_AGO = datetime(2026, 10, 1, 1, tzinfo=UTC)


def published(airflow: Any, world: MemoryWorld, as_of: datetime | None = None, **policy: Any) -> Any:
    """What the check says of a world: every group is looked at, then the last task decides."""
    run = airflow(world)
    run.outlets = {DRIFT: SimpleNamespace(extra=None)}
    groups = tuple(group.name for group in world.seed.groups)
    run.xcoms["request", "request"] = Request(settings=world.settings(**policy), groups=groups, as_of=as_of).dump()
    drifts = [run.run(DetectOperator(task_id="detect", group=g), n) for n, g in enumerate(groups)]
    try:
        run.run(PublishDriftOperator(task_id="publish", drifts=drifts), partition_key=f"{TONIGHT}~dev.dev")
    finally:
        assert world.mutations == []
    return run.outlets[DRIFT].extra


def with_unknown_ami_type() -> MemoryWorld:
    group = seeds.Group("workers", "base-old", desired=1, max=2, kind="eks-managed", ami_type="BEOS_x86_64")
    return MemoryWorld.of(groups=(group,), images=(seeds.Image("base-old"),))


def simple() -> MemoryWorld:
    return MemoryWorld.simple(1)


def deprecated() -> MemoryWorld:
    images = (seeds.Image("base-old", deprecated="2026-11-02T06:00:00Z"),)
    return MemoryWorld.of(groups=(seeds.Group("workers", image="base-old", desired=1),), images=images)


@pytest.mark.parametrize(
    ("world", "asked", "message"),
    [
        (with_unknown_ami_type, {}, "AMI type BEOS_x86_64 of node group dev/workers is not known here"),
        (
            simple,
            {"image": {"template": True}, "as_of": LONG_AGO},
            r"as of 2026-10-01T01:00Z cannot be answered from template .*Remedy: give image.owner and image.name",
        ),
        (
            simple,
            {"image": {"ssm": "/images/nowhere"}},
            r"^dev\.dev: there is no SSM parameter /images/nowhere \(ssm /images/nowhere\)\. "
            r"Remedy: correct image\.ssm in the fleet file, or create the parameter\.$",
        ),
        (deprecated, {"image": NAMED}, "every image that matches .* is deprecated"),
    ],
    ids=["unknown AMI type", "past night of a template", "missing parameter", "deprecated"],
)
def test_a_night_that_can_not_be_answered_fails_and_says_why(
    airflow: Any, world: Any, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(AirflowFailException, match=message):
        published(airflow, world(), **asked)


def frozen() -> MemoryWorld:
    world = simple()
    image = world.cloud.image(world.image_id("base-new"))
    assert image is not None
    record = Frozen(image=image, reason="its nodes never join", by="run-1", at=LONG_AGO)
    world.cloud.put_parameter(freeze.key(image), record.model_dump_json())
    world.mutations.clear()
    return world


@pytest.mark.parametrize(
    ("world", "image", "message"),
    [
        (
            frozen,
            {"ssm": "/images/base/current"},
            r"\(base-new\) is frozen since .*: its nodes never join.* --reason WHY\.$",
        ),
        (simple, {**NAMED, "soak": "300d"}, r"dev\.dev: image ami-.* soaks until 2027-.*wait, or lower image\.soak"),
    ],
    ids=["frozen", "soaks"],
)
def test_an_image_that_is_held_back_is_no_failure_and_no_drift_but_the_reason_is_said(
    airflow: Any, world: Any, image: dict[str, Any], message: str
) -> None:
    with pytest.raises(AirflowSkipException, match=message):
        published(airflow, world(), image=image)


def test_of_several_reasons_none_is_lost_and_the_one_that_needs_somebody_comes_first(run: Any) -> None:
    soaks = {"reason": "image ami-1 soaks", "objects": ["group a"], "remedy": "wait", "held_back": True}
    gone = {"reason": "there is no parameter /x", "objects": ["group b"], "remedy": "create it"}
    drifts = [{"group": g, "drifted": [], "blockers": [b]} for g, b in (("a", soaks), ("b", gone), ("c", gone))]

    with pytest.raises(AirflowFailException) as refused:
        run.run(PublishDriftOperator(task_id="publish", drifts=drifts), partition_key=f"{TONIGHT}~dev.one")

    assert str(refused.value) == (
        "dev.one: there is no parameter /x; image ami-1 soaks (group b, group a). Remedy: create it; wait."
    )


def test_beside_groups_that_drifted_the_reasons_of_the_others_are_in_log_and_event(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = {"reason": "there is no parameter /x", "objects": ["group masters"], "remedy": "create it"}
    publish = PublishDriftOperator(task_id="publish", drifts=[ONE[0], {**ONE[1], "blockers": [gone]}])
    said: list[str] = []
    monkeypatch.setattr(publish.log, "warning", lambda text, *args: said.append(text % args))

    run.run(publish, partition_key=f"{TONIGHT}~dev.one")

    reason = "dev.one: there is no parameter /x (group masters). Remedy: create it."
    assert said[-1] == f"its plan will be refused: {reason}"
    assert run.outlets[DRIFT].extra["drifted"] == {"workers": 2}
    assert run.outlets[DRIFT].extra["blocked"] == ["there is no parameter /x"]


def test_a_group_whose_image_is_held_back_is_left_out_by_announcement_and_plan_alike(
    airflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = soaking()
    night = airflow(world)
    night.outlets = {DRIFT: SimpleNamespace(extra=None)}
    night.xcoms["request", "request"] = Request(settings=told(world), groups=("workers", "gpu")).dump()
    drifts = [night.run(DetectOperator(task_id="detect", group=g), n) for n, g in enumerate(("workers", "gpu"))]
    publish = PublishDriftOperator(task_id="publish", drifts=drifts)
    said: list[str] = []
    monkeypatch.setattr(publish.log, "warning", lambda text, *args: said.append(text % args))

    night.run(publish, partition_key=f"{TONIGHT}~dev.dev")
    batches = night.run(PlanOperator(task_id="plan", drifts=drifts))

    extra = night.outlets[DRIFT].extra
    (left_out,) = extra["left_out"]
    assert left_out.startswith(LEFT_OUT)
    assert (extra["drifted"], extra.get("blocked")) == ({"workers": 2}, None)
    assert (said[-1], any("refused" in line for line in said)) == (left_out, False)
    assert [batch["name"] for batch in batches] == ["workers/1", "workers/2"]
    assert left_out in Rotation.read(night.xcoms["plan", ROTATION_KEY]).plan.notes


SWEPT = """
environments:
  - name: dev
    clusters:
      - name: dev
        aws: {region: eu-central-1}
        groups: [{name: workers, asg: dev-workers}]
"""


@pytest.fixture
def swept(run: Any, fleet_file: Path) -> Any:
    fleet_file.write_text(SWEPT)
    return run


def sweep(run: Any) -> Any:
    return run.run(SweepOperator(task_id="sweep", cluster="dev.dev"), 0)


def test_a_sweep_of_a_clean_cluster_does_nothing(swept: Any) -> None:
    assert sweep(swept) == []
    assert swept.world.mutations == []


def test_what_can_not_leave_at_once_is_swept_by_the_next_try_and_not_in_an_hour(swept: Any) -> None:
    world = swept.world
    swept.xcoms["request", "request"] = Request(settings=world.settings(), groups=("workers",)).dump()
    drift = swept.run(DetectOperator(task_id="detect", group="workers"), 0)
    (batch, *_) = swept.run(PlanOperator(task_id="plan", drifts=[drift]))
    swept.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    swept.run(AdmitOperator(task_id="batch.admit", spec=batch, gate_task_id="batch.health_gate"), 0)
    swept.run(LaunchOperator(task_id="batch.launch", spec=batch), 0)
    world.clock.wait(1000)

    with pytest.raises(TransientError, match="left in dev.dev") as left:
        sweep(swept)
    for _ in range(10):
        world.clock.wait(left.value.retry_after_s)
        with suppress(TransientError):
            sweep(swept)
            break

    assert world.residue() == ()
    assert world.orphans() == ()


def test_what_a_dead_run_left_is_swept_and_a_live_one_is_not_touched(swept: Any) -> None:
    world = swept.world
    swept.xcoms["request", "request"] = Request(settings=world.settings(), groups=("workers",)).dump()
    drift = swept.run(DetectOperator(task_id="detect", group="workers"), 0)
    swept.run(PlanOperator(task_id="plan", drifts=[drift]))
    swept.run(PrepareOperator(task_id="prepare", group="workers"), 0)
    held = world.residue()

    assert sweep(swept) == []
    assert world.residue() == held != ()
    world.clock.wait(1000)
    assert sweep(swept) != []
    assert world.residue() == ()
