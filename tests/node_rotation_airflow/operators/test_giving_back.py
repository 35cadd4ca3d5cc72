"""Heal, restore and verify go on when they are refused, and give the rest back, as the command line does."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from tests.node_rotation_airflow.operators.rotating import insisting

from node_rotation import lock
from node_rotation.errors import BlockedError
from node_rotation.outcome import Blocked, Done, Waiting
from node_rotation.run import Run
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow import deeds
from node_rotation_airflow.documents import Request, Rotation
from node_rotation_airflow.operators.detect import DetectOperator
from node_rotation_airflow.operators.heal import HealOperator
from node_rotation_airflow.operators.plan import PlanOperator
from node_rotation_airflow.operators.step import PrepareOperator, RestoreOperator
from node_rotation_airflow.operators.verify import VerifyOperator
from node_rotation_airflow.runs import open_run

GROUPS = ("infra", "workers")
NO_ATTACH = seeds.Fault("denied", service="autoscaling", action="AttachInstances")
NO_UNTAG = seeds.Fault("denied", service="autoscaling", action="DeleteTags")


def two_groups(behaviour: str = "good", stops_after: float = 2.0) -> MemoryWorld:
    return MemoryWorld.of(
        groups=tuple(seeds.Group(name, image="base-old", next_image="base-new", desired=2, max=9) for name in GROUPS),
        images=(
            seeds.Image("base-old", created="2026-11-01T06:00:00Z"),
            seeds.Image("base-new", created="2026-11-08T06:00:00Z", behaviour=behaviour),
        ),
        workloads=(
            seeds.Workload(
                "web",
                replicas=8,
                stops_after=stops_after,
                spread="hostname",
                budget=seeds.DisruptionBudget(max_unavailable="100%"),
            ),
        ),
    )


def prepared(airflow: Any, world: MemoryWorld, *groups: str, **policy: Any) -> tuple[Any, Run]:
    """A run that holds its lock, its groups prepared; and the run as the library sees it."""
    run = airflow(world)
    settings = world.settings(**{"strategy": "detach", "canary": False, **policy})
    run.xcoms["request", "request"] = Request(settings=settings, groups=groups).dump()
    drifts = [run.run(DetectOperator(task_id="detect", group=group), i) for i, group in enumerate(groups)]
    run.run(PlanOperator(task_id="plan", drifts=drifts))
    for index, group in enumerate(groups):
        run.run(PrepareOperator(task_id="prepare", group=group), index)
    return run, open_run("manual__1", Rotation.read(run.xcoms["plan", "rotation"]))


def until_done(run: Run, deed: str, batch: str) -> None:
    for _ in range(600):
        outcome = deeds.attempt(deed, run, batch)
        if isinstance(outcome, Done):
            return
        assert isinstance(outcome, Waiting)
        run.clock.wait(outcome.poll_s)
    raise AssertionError(f"{deed} of {batch}: {outcome}")


def detached(run: Run, batch: str) -> None:
    """A batch whose old machine is out of its group, and whose replacement has not come."""
    until_done(run, "admit", batch)
    for _ in range(3):
        deeds.attempt("launch", run, batch)
        run.clock.wait(2.0)


def refused_for(world: MemoryWorld, minutes: float, *services: str) -> None:
    """Let credentials be expired for a while."""
    back = world.clock.now() + 60 * minutes

    def expired(service: str) -> str:
        if service in services and world.clock.now() < back:
            raise BlockedError(Blocked("ExpiredToken: not accepted", (service,), "Renew it."))
        return ""

    world.journal.away = expired


def test_restore_waits_for_what_is_refused_and_at_last_gives_the_rest_back(airflow: Any) -> None:
    """Else lock, intake, autoscaler and taints stay as they are until a sweep gives up, two hours later."""
    world = two_groups(behaviour="never-joins")
    run, opened = prepared(airflow, world, "workers")
    detached(opened, "workers/1")
    world.journal.faults.append(NO_ATTACH)
    began = world.clock.now()

    ended = run.run(RestoreOperator(task_id="restore", group="workers"), 0)

    assert ended.task_instance_state == "success"
    assert 600.0 < world.clock.now() - began < 960.0
    assert world.cluster.lease() is None
    assert len(world.orphans()) == 1


def test_the_lock_is_kept_while_restore_waits_for_what_is_refused(airflow: Any) -> None:
    world = two_groups(behaviour="never-joins")
    _, opened = prepared(airflow, world, "workers", lock_duration="120s")
    detached(opened, "workers/1")
    world.journal.faults.append(seeds.Fault("denied", service="autoscaling"))
    for _ in range(120):
        outcome = deeds.attempt("restore", opened, "workers", 900.0)
        assert isinstance(outcome, Waiting)
        world.clock.wait(outcome.poll_s)

    lease = world.cluster.lease()
    assert lease is not None
    assert not lock.expired(lease, world.clock.now())


def test_a_batch_that_may_not_be_taken_back_is_left_to_restore_which_goes_on_without_its_machine(airflow: Any) -> None:
    world = two_groups(behaviour="never-joins")
    run, opened = prepared(airflow, world, "workers")
    detached(opened, "workers/1")
    run.states |= {"batch.admit_0": "success", "batch.launch_0": "failed"}
    run.mapped["batch.launch", "cause", 0] = {"reason": "it never joined", "objects": [], "remedy": ""}
    world.journal.faults.append(NO_ATTACH)
    batch = {"name": "workers/1", "group": "workers"}

    with pytest.raises(AirflowFailException, match="heal of workers/1: .*AttachInstances"):
        insisting(run, HealOperator(task_id="batch.heal", spec=batch, step_task_ids=["batch.launch"]), 0)

    held = lock.held(opened)
    assert held
    claim = held.ledger.claim("workers/1")
    assert claim
    assert claim.why == "it never joined."
    run.run(RestoreOperator(task_id="restore", group="workers"), 0)
    assert world.cluster.lease() is None


@pytest.mark.parametrize("service", ["kubernetes", "autoscaling", "ec2"])
def test_credentials_that_are_renewed_within_a_minute_fail_neither_heal_nor_restore_nor_verify(
    airflow: Any, service: str
) -> None:
    world = two_groups(behaviour="never-joins")
    run, opened = prepared(airflow, world, "workers")
    detached(opened, "workers/1")
    run.states |= {"batch.admit_0": "success", "batch.launch_0": "failed"}
    run.mapped["batch.launch", "cause", 0] = {"reason": "it never joined", "objects": [], "remedy": ""}
    batch = {"name": "workers/1", "group": "workers"}

    refused_for(world, 1, service)
    insisting(run, HealOperator(task_id="batch.heal", spec=batch, step_task_ids=["batch.launch"]), 0)
    held = lock.held(opened)
    assert held
    claim = held.ledger.claim("workers/1")
    assert claim
    assert (claim.state, claim.why) == ("healed", "it never joined.")
    refused_for(world, 1, service)
    insisting(run, RestoreOperator(task_id="restore", group="workers"), 0)
    assert (world.orphans(), world.residue()) == ((), ())
    refused_for(world, 1, service)
    with pytest.raises(AirflowFailException, match="not as planned. drift: "):
        insisting(run, VerifyOperator(task_id="verify"))

    verdict = run.xcoms["verify", "verdict"]
    assert (verdict["orphans"], verdict["residue"], verdict["problems"]) == ([], [], [])


def test_verify_gives_back_the_other_groups_when_one_is_refused(airflow: Any) -> None:
    world = two_groups(behaviour="never-joins")
    run, opened = prepared(airflow, world, *GROUPS)
    detached(opened, "infra/1")
    world.journal.faults.append(NO_ATTACH)
    first = deeds.attempt("restore", opened, "infra, workers", 900.0)

    assert isinstance(first, Waiting)
    held = lock.held(opened)
    assert held
    assert list(held.ledger.groups) == ["infra"]
    with pytest.raises(AirflowFailException, match="orphans: instance"):
        run.run(VerifyOperator(task_id="verify"))
    assert world.cluster.lease() is None
    assert len(run.xcoms["verify", "verdict"]["orphans"]) == 1


def test_verify_comes_to_a_verdict_also_where_it_can_not_restore(airflow: Any) -> None:
    run, _ = prepared(airflow, two_groups(), *GROUPS)
    run.world.journal.faults.append(NO_UNTAG)

    with pytest.raises(AirflowFailException, match="problems: restore of infra.*: .*DeleteTags"):
        run.run(VerifyOperator(task_id="verify"))

    verdict = run.xcoms["verify", "verdict"]
    assert "DeleteTags" in verdict["problems"][0]
    assert any("lease" in line for line in verdict["residue"])


def test_verify_that_can_see_nothing_for_half_an_hour_says_so_in_its_verdict(airflow: Any) -> None:
    run, _ = prepared(airflow, two_groups(), *GROUPS)
    refused_for(run.world, 600, "kubernetes")

    with pytest.raises(Exception, match="ExpiredToken"):
        insisting(run, VerifyOperator(task_id="verify"))

    (problem,) = run.xcoms["verify", "verdict"]["problems"]
    assert "can't be seen: ExpiredToken" in problem


def test_groups_that_verify_restores_take_no_time_from_each_other(airflow: Any) -> None:
    """Pods take ten of the fifteen minutes: with one after the other, the second would be left larger."""
    world = two_groups(stops_after=600.0)
    run, opened = prepared(airflow, world, *GROUPS, strategy="surge")
    for group in GROUPS:
        until_done(opened, "admit", f"{group}/1")
        until_done(opened, "launch", f"{group}/1")
    until_done(opened, "cordon", "infra/1")
    deeds.attempt("drain", opened, "infra/1")
    world.clock.wait(5.0)  # a pod is on each of the new machines

    with pytest.raises(AirflowFailException, match="drift: "):
        run.run(VerifyOperator(task_id="verify"))

    found = world.cloud.groups([f"dev-{group}" for group in GROUPS])
    assert {group.desired for group in found.values()} == {2}
    assert run.xcoms["verify", "verdict"]["residue"] == []
