"""What stands before a rotation, through a real Airflow: approval, promotion, what is newer, windows, frozen images.

Two environments, dev and staging; staging comes after dev, and asks. One story after the other in one world; the last
ones look at what such a run does beside its machines: messages, metrics, an intake that is a Kubernetes object.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import boto3
import pytest
import yaml
from kubernetes import client
from tests.e2e import land as land_of_two
from tests.e2e.land import BETWEEN, CHECK, NIGHTS, ROTATE, TODAY, Land, eventually
from tests.e2e.watching import following
from tests.node_rotation.receiver import Receiver, receiving
from tests.node_rotation_airflow.collector import Collector, collecting

from node_rotation.cli import main

pytestmark = [pytest.mark.airflow, pytest.mark.proving_ground, pytest.mark.timeout(1500)]

DEV, STAGING = "dev.dev", "staging.staging"
SCENARIO = copy.deepcopy(land_of_two.SCENARIO)
SCENARIO["clusters"][0]["groups"][0]["desired"] = 2
FLEET = """
defaults:
  strategy: detach
  image: {owner: self, name: "base-*"}
  image_step: launch_template
  budget: {max_surge: 4}
  canary: false
  gate: {settle: 1s}
  poll: 2s
environments:
  - name: dev
    clusters:
      - name: dev
        aws: {region: eu-central-1}
        kubernetes: {connection: kubernetes_dev}
        groups:
          - {name: workers, asg: dev-workers}
          - {name: batch, asg: dev-batch}
  - name: staging
    policy:
      promotion: {after: previous, soak: 5s}
      approval: {required: true, timeout: 1h}
    clusters:
      - name: staging
        aws: {region: eu-central-1}
        kubernetes: {connection: kubernetes_staging}
        groups: [{name: workers, asg: staging-workers}]
"""
INTAKE = """
kubernetes:
  {api_version: v1, kind: ConfigMap, namespace: default, name: intake,
   close: {data: {open: "false"}}, open: {data: {open: "true"}}}
"""
OURS = "airflow.node_rotation"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def more_env(collector: Collector) -> dict[str, str]:
    return {
        "AIRFLOW__METRICS__OTEL_ON": "True",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }


@pytest.fixture
def receiver(land: Land) -> Iterator[Receiver]:
    with receiving() as told:
        chat = {"connection_id": "chat", "conn_type": "http", "host": told.url}
        land.airflow.api("POST", "/connections", json=chat)
        yield told


@pytest.fixture
def intake(land: Land) -> Iterator[list[str]]:
    """Everything that the object said in turn."""
    said: list[str] = []
    made = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="intake"), data={"open": "true"})
    land.core.create_namespaced_config_map("default", made)
    with following(
        land.core.list_namespaced_config_map,
        "default",
        lambda found: said.append(found.data["open"]),
        field_selector="metadata.name=intake",
    ):
        yield said


@pytest.fixture(scope="module")
def opens() -> datetime:
    """When dev's maintenance window opens: in two or three minutes, late enough for two runs to come before it."""
    return (datetime.now(UTC) + timedelta(seconds=180)).replace(second=0, microsecond=0)


@pytest.fixture(scope="module")
def closes(opens: datetime) -> datetime:
    """A batch is reckoned to take just under five minutes: one that asks in the second minute comes too late."""
    return opens + timedelta(minutes=6)


def test_a_backfill_brings_both_environments_to_the_nights_image_in_order(land: Land) -> None:
    """Somebody approves staging at once; it still waits until dev has proven the image."""
    _backfill(land, *NIGHTS)
    eventually("both environments rotate", lambda: len(land.rotations()) == 2, 300)
    dev, staging = (_run_of(land, f"{NIGHTS[1]}~{cluster}") for cluster in (DEV, STAGING))
    land.answer(staging, "Approve")

    assert land.ends(dev) == "success"
    assert land.ends(staging) == "success"
    assert set(land.machines("dev-workers").values()) == {land.image("base-2")}
    assert set(land.machines("staging-workers").values()) == {land.image("base-2")}
    assert min(land.times(staging, "opened")) > max(land.times(dev, "batch.drain", "end_date"))
    assert land.report(staging)["approval"]["by"]


def test_rejected_it_ends_with_nothing_touched(land: Land) -> None:
    land.publish("base-3")
    mutations = land.mutations()
    run = land.run({"cluster": STAGING})
    land.answer(run, "Reject")

    assert land.ends(run) == "success"
    assert _skipped(land, run) >= {"approve", "wait", "opened", "verify"}
    assert land.report(run)["not_begun"].startswith("rejected by ")
    assert land.mutations() == mutations


def test_what_a_newer_image_overtakes_while_it_waits_ends_superseded(land: Land) -> None:
    """Approved, staging waits for dev, which is not on the third image; then a fourth comes out."""
    mutations = land.mutations()
    run = land.run({"cluster": STAGING})
    land.answer(run, "Approve")
    _waits(land, run)
    land.publish("base-4")

    assert land.ends(run) == "success"
    assert _skipped(land, run) >= {"wait", "opened", "verify"}
    said = land.airflow.log(ROTATE, run, "wait")
    assert f"waits: dev.dev group workers: 2 of 2 machines do not run {land.image('base-3')} (base-3) yet" in said
    assert "(base-4) by now, newer than" in land.report(run)["not_begun"]
    assert land.mutations() == mutations


def test_planned_again_for_a_newer_image_it_is_not_approved_by_the_question_it_asked_first(land: Land) -> None:
    """Airflow goes on showing a task's first question: whoever said yes to it would say yes to another plan."""
    run, mutations = list(land.rotations())[-1], land.mutations()

    land.clear(run, "detect")

    assert land.ends(run).startswith("failed")
    assert land.state(run, "approve") == "failed"
    assert "still shows this run's first question" in land.report(run)["blocked"]["reason"]
    assert land.mutations() == mutations


def test_a_past_night_that_a_newer_image_has_overtaken_changes_nothing(land: Land) -> None:
    """An image of that night turns up; staging is asked for approval as well, and nobody is there to give it."""
    land.publish("base-2b", created=f"{BETWEEN + timedelta(hours=3):%Y-%m-%dT%H:%M:%S}.000Z", parameter=None)
    _fleet(land, ["batch"], staging={"approval": {"required": True, "timeout": "15s"}})
    known, mutations = land.rotations(), land.mutations()
    _backfill(land, NIGHTS[1], NIGHTS[1], "--reprocess-behavior", "completed")
    eventually("both environments have a run", lambda: len(_since(land, known)) == 2, 300)
    dev, staging = (_run_of(land, f"{NIGHTS[1]}~{cluster}", known) for cluster in (DEV, STAGING))

    assert land.ends(dev) == "success"
    assert land.report(dev)["not_begun"].startswith("superseded: group batch is to run ")
    assert land.ends(staging) == "success"
    assert land.report(staging)["not_begun"] == "nobody approved it in time"
    assert _skipped(land, staging) >= {"approve", "wait", "opened", "verify"}
    assert land.mutations() == mutations


def test_told_to_pin_it_rolls_the_nights_image_and_the_next_environment_waits_while_it_soaks(land: Land) -> None:
    """Staging stays with that image as well; called off while it waits, it has touched nothing."""
    soak = {"promotion": {"after": "previous", "soak": "1h"}, "approval": {}}
    _fleet(land, ["batch"], staging=soak)
    known, before = land.rotations(), land.machines("staging-workers")
    _backfill(land, NIGHTS[1], NIGHTS[1], "--reprocess-behavior", "completed", "--dag-run-conf", '{"pin": true}')
    eventually("both environments have a run", lambda: len(_since(land, known)) == 2, 300)
    dev, staging = (_run_of(land, f"{NIGHTS[1]}~{cluster}", known) for cluster in (DEV, STAGING))

    assert land.ends(dev) == "success"
    image, (machine,) = land.image("base-2b"), land.machines("dev-batch").items()
    assert machine[1] == image
    until = f"{_launched(machine[0]) + timedelta(hours=1):%Y-%m-%d %H:%M} UTC"
    soaks = f"waits: dev.dev group batch: {image} (base-2b) soaks until {until}"
    eventually("it says until when", lambda: soaks in land.airflow.log(ROTATE, staging, "wait"), 60)
    land.airflow.api("PATCH", f"/dags/{ROTATE}/dagRuns/{staging}", json={"state": "failed"})
    eventually("its report is written", lambda: land.state(staging, "report") == "success")
    assert land.machines("staging-workers") == before


def test_a_template_that_terraform_changed_is_found_by_the_check_and_waits_for_its_window(
    land: Land, opens: datetime, closes: datetime
) -> None:
    """Its window will have room for one machine: the next may go five minutes later."""
    window = {"from": f"{opens:%H:%M}", "to": f"{closes:%H:%M}"}
    slowly = {"image": {"template": True}, "budget": {"max_surge": 1}, "wait_between_rotations": "5m"}
    _fleet(land, ["workers"], dev={"windows": [window], **slowly})
    ec2: Any = boto3.client("ec2")
    ec2.create_launch_template_version(
        LaunchTemplateId=_template("dev-workers"),
        SourceVersion="$Latest",
        LaunchTemplateData={"ImageId": land.image("base-4")},
    )
    known, mutations = land.rotations(), land.mutations()

    land.airflow.trigger(CHECK, partition_key=f"{TODAY}~{DEV}")

    eventually("its rotation", lambda: f"{TODAY}~{DEV}" in _since(land, known).values(), 300)
    run = _run_of(land, f"{TODAY}~{DEV}", known)
    _waits(land, run)
    assert f"it opens at {opens:%Y-%m-%d %H:%M} UTC" in land.airflow.log(ROTATE, run, "wait")
    assert land.mutations() == mutations


def test_a_newer_run_takes_its_place_and_what_the_window_has_no_room_for_is_left(
    land: Land, opens: datetime, closes: datetime
) -> None:
    before, mutations = land.aws(), land.mutations()
    older = _run_of(land, f"{TODAY}~{DEV}")
    run = land.run({"cluster": DEV})
    _waits(land, run)
    assert land.mutations() == mutations

    assert land.ends(older) == "success"
    assert land.report(older)["not_begun"] == f"superseded: run {run} is newer and does the same"
    assert land.ends(run).startswith("failed")
    assert min(land.times(run, "prepare")) >= opens
    report = land.report(run)
    assert (report["passed"], [left["batch"] for left in report["postponed"]]) == (["workers/1"], ["workers/2"])
    assert f"window closes at {closes:%Y-%m-%d %H:%M} UTC" in report["postponed"][0]["reason"]
    assert "not finished: " in land.airflow.log(ROTATE, run, "verify")
    assert sorted(land.machines("dev-workers").values()) == sorted([land.image("base-2"), land.image("base-4")])
    assert land.left(before) == []


def test_outside_the_window_it_goes_on_for_a_reason_that_the_report_keeps(land: Land) -> None:
    run = land.run({"cluster": DEV, "outside_windows": "CVE-2026-1234"})

    assert land.ends(run) == "success"
    assert set(land.machines("dev-workers").values()) == {land.image("base-4")}
    said = "maintenance windows and blackouts don't count for this run: CVE-2026-1234"
    assert said in land.report(run)["notes"]
    assert said in land.page(run)


def test_an_image_that_never_joins_is_frozen_for_everybody_until_somebody_lifts_it(land: Land) -> None:
    ssm = {"image": {"ssm": "/images/base/current"}}
    _fleet(land, ["batch"], dev={"launch_timeout": "15s", **ssm}, staging=ssm)
    bad, before, machines = land.publish("base-5", behaviour="never-joins"), land.aws(), land.machines("dev-batch")
    frozen = f"image {bad} (base-5) is frozen since"
    run = land.run({"cluster": DEV})

    assert land.ends(run).startswith("failed")
    assert frozen in " ".join(land.report(run)["frozen"])
    assert land.machines("dev-batch") == machines
    assert land.left(before) == []
    assert not any(node.spec.unschedulable for node in land.core.list_node().items)

    mutations = land.mutations()
    check = land.airflow.trigger(CHECK, partition_key=f"{TODAY}~{STAGING}")
    plan = land.run({"cluster": STAGING, "mode": "plan"})
    assert land.ends(check, dag_id=CHECK) == "success"
    assert frozen in land.airflow.log(CHECK, check, "publish")
    assert {t["state"] for t in land.airflow.tasks(CHECK, check) if t["task_id"] == "publish"} == {"skipped"}
    assert land.ends(plan) == "success"
    assert frozen in " ".join(blocker["reason"] for blocker in land.report(plan)["blockers"])
    assert land.mutations() == mutations

    assert main(["--fleet", str(land.fleet), "unfreeze", bad, "--reason", "the network was at fault"]) == 0
    plan = land.run({"cluster": STAGING, "mode": "plan"})
    assert land.ends(plan) == "success"
    assert land.report(plan)["targets"] == {"workers": bad}
    assert (land.report(plan)["machines"], land.report(plan)["blockers"]) == (1, [])


def test_an_approval_and_the_end_are_told_once_also_after_their_tasks_are_cleared(
    land: Land, receiver: Receiver, intake: list[str]
) -> None:
    land.publish("base-6")
    asks = {"approval": {"required": True}, "notify": [{"http": {"connection": "chat"}}]}
    _fleet(land, ["batch"], dev={**asks, "intake": yaml.safe_load(INTAKE)})
    run = land.run({"cluster": DEV})
    eventually("it asks", lambda: land.state(run, "approve") == "awaiting_input")
    assert receiver.kinds == ["approval"]
    assert intake == []

    land.clear(run, "approve", downstream=False)
    eventually("it begins again", lambda: _attempt(land, run, "approve") > 1)
    land.answer(run, "Approve")
    assert land.ends(run) == "success"
    land.clear(run, "report", downstream=False)
    eventually("the report is written again", lambda: _attempt(land, run, "report") > 1)
    assert land.ends(run) == "success"

    assert receiver.kinds == ["approval", "ok"]
    asked, done = receiver.bodies
    assert asked["url"].startswith(f"{land.airflow.url}/dags/{ROTATE}/runs/manual__")
    assert "1 machines replaced" in done["text"]
    assert land.reports.name in done["report"]
    eventually("the intake is open again", lambda: intake[-1:] == ["true"])
    assert intake == ["false", "true"]


def test_how_a_run_ended_and_what_a_check_finds_are_gauges(land: Land, collector: Collector) -> None:
    dev = {"environment": "dev", "cluster": "dev"}
    assert collector.value(f"{OURS}.run_ok", **dev) == 1
    assert collector.value(f"{OURS}.run_batches", **dev, result="passed") == 1
    assert collector.value(f"{OURS}.run_left", **dev, kind="orphans") == 0
    assert collector.value(f"{OURS}.machines_drifted", **dev, group="batch") == 0
    assert collector.value(f"{OURS}.machines_drifted", **dev, group="workers") == 0

    _fleet(land, ["workers"])
    check = land.airflow.trigger(CHECK, partition_key=f"{TODAY}~{DEV}")
    assert land.ends(check, dag_id=CHECK) == "success"

    assert collector.value(f"{OURS}.machines", **dev, group="workers") == 2
    assert collector.value(f"{OURS}.machines_drifted", **dev, group="workers") == 2


def _backfill(land: Land, first: date, last: date, *more: str) -> None:
    said = ("--from-date", first.isoformat(), "--to-date", last.isoformat(), "--max-active-runs", "1")
    land.airflow.cli("backfill", "create", "--dag-id", CHECK, *said, *more)


def _fleet(land: Land, groups: Sequence[str], **policies: Mapping[str, Any]) -> None:
    """From the next run on.

    :param groups: of dev.
    :param policies: what an environment's policy says instead.
    """
    document = yaml.safe_load(FLEET)
    for environment in document["environments"]:
        environment["policy"] = {**environment.get("policy", {}), **policies.get(environment["name"], {})}
    (cluster,) = document["environments"][0]["clusters"]
    cluster["groups"] = [group for group in cluster["groups"] if group["name"] in groups]
    land.fleet.write_text(yaml.safe_dump(document))


def _template(group: str) -> str:
    scaling: Any = boto3.client("autoscaling")
    (found,) = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"]
    return str(found["LaunchTemplate"]["LaunchTemplateId"])


def _launched(instance: str) -> datetime:
    ec2: Any = boto3.client("ec2")
    (reservation,) = ec2.describe_instances(InstanceIds=[instance])["Reservations"]
    return datetime.fromisoformat(str(reservation["Instances"][0]["LaunchTime"]))


def _since(land: Land, known: Mapping[str, str]) -> dict[str, str]:
    """Rotations that were not known yet, run id → partition key."""
    return {run: key for run, key in land.rotations().items() if run not in known}


def _run_of(land: Land, partition_key: str, known: Mapping[str, str] | None = None) -> str:
    return next(run for run, key in _since(land, known or {}).items() if key == partition_key)


def _waits(land: Land, run: str) -> None:
    eventually("it waits without a worker", lambda: land.state(run, "wait") == "deferred")


def _skipped(land: Land, run: str) -> set[str]:
    return {str(t["task_id"]) for t in land.airflow.tasks(ROTATE, run) if t["state"] == "skipped"}


def _attempt(land: Land, run: str, task: str) -> int:
    """How often it began: a state may come and go between two looks."""
    return next(int(t["try_number"]) for t in land.airflow.tasks(ROTATE, run) if t["task_id"] == task)
