"""How long a plan takes and what it costs."""

from __future__ import annotations

from typing import Any

import pytest
from tests.node_rotation.builders import Machine, plan, settings, world
from tests.node_rotation.crashes import run_for

from node_rotation import engine
from node_rotation.estimate import DEREGISTRATION_S, USUAL, play
from node_rotation.model import Estimate
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld

L_S = USUAL.overlap_s + 15  # boot, drain, terminate, and the gate's settle time


def guess(count: int, surge: int, **policy) -> Estimate:
    told = settings(budget={"max_surge": surge}, gate={"settle": "15s"}, **policy)
    made = plan(told, world({"dev-workers": [Machine(f"i-{n:02}") for n in range(count)]}))
    return play(made.groups, made.batches, told.groups, cluster_slots=made.slots).estimate


@pytest.mark.parametrize(("count", "surge", "rounds"), [(1, 1, 1), (3, 1, 3), (7, 3, 3), (13, 4, 4), (60, 6, 11)])
def test_a_canary_then_rounds_of_as_many_as_there_are_slots(count, surge, rounds):
    assert guess(count, surge).duration_s == rounds * L_S


def test_without_a_canary_there_is_no_first_round():
    assert guess(6, 3, canary=False).duration_s == 2 * L_S


def test_waits_between_rotations_add_up():
    assert guess(3, 1, wait_between_rotations="60s").duration_s == 3 * L_S + 2 * 60


def test_drains_begin_so_far_apart_however_many_replacements_are_there():
    drains = dict(canary=False, wait_between_drains="600s")
    made = guess(4, 4, **drains)
    assert made.duration_s == L_S + 3 * 600
    assert made.extra_instance_hours == pytest.approx((4 * USUAL.overlap_s + (1 + 2 + 3) * 600) / 3600, abs=0.01)
    assert guess(4, 4, canary=False, wait_between_drains="5s").duration_s == L_S + 3 * 5
    assert guess(2, 1, canary=False, wait_between_drains="60s").duration_s == 2 * L_S


def test_the_estimate_with_a_wait_between_drains_is_what_the_rotation_takes():
    slow = MemoryWorld.simple(4, replicas=4, boot=USUAL.boot_s, stops_after=USUAL.drain_s, shutdown=USUAL.terminate_s)
    run = run_for(
        slow,
        canary=False,
        wait_between_drains="10m",
        budget={"max_surge": 4},
        launch_timeout="15m",
        drain={"timeout": "15m"},
        gate={"settle": "15s", "timeout": "15m"},
        terminate_timeout="15m",
    )
    result = engine.rotate(run)
    assert result.ok
    assert result.ended_at - result.started_at == pytest.approx(run.plan.estimate.duration_s, rel=0.1)


def slow(policy: dict[str, Any], **group: Any) -> tuple[float, float]:
    """Seconds that a rotation of two machines, one after the other, is said to take, and took."""
    there = MemoryWorld.of(
        groups=(seeds.Group("workers", image="base-old", next_image="base-new", desired=2, **group),),
        images=(seeds.Image("base-old"), seeds.Image("base-new", created="2026-11-08T06:00:00Z")),
        target_groups=(seeds.TargetGroup("web"),),
        workloads=(seeds.Workload("web", replicas=10, spread="hostname", stops_after=USUAL.drain_s),),
        timing=seeds.Timing(boot=USUAL.boot_s, shutdown=USUAL.terminate_s),
    )
    patient = {"launch_timeout": "15m", "terminate_timeout": "15m", "gate": {"settle": "15s", "timeout": "15m"}}
    run = run_for(there, canary=False, budget={"max_surge": 1}, **patient, **policy)
    result = engine.rotate(run)
    assert result.ok
    return run.plan.estimate.duration_s, result.ended_at - result.started_at


def test_machines_behind_target_groups_take_the_time_to_leave_them_as_well():
    said, took = slow({"drain": {"timeout": "1h"}}, target_groups=("web",))
    assert said == 2 * (L_S + DEREGISTRATION_S)
    assert took == pytest.approx(said, rel=0.15)


def test_pods_that_go_one_by_one_take_their_time():
    said, took = slow({"drain": {"timeout": "1h", "wait_between_evictions": "60s"}})
    assert said == 2 * (L_S + 4 * 60)
    assert took == pytest.approx(said, rel=0.3)  # the second machine has taken pods of the first


def test_each_machine_runs_beside_its_replacement_for_a_while():
    assert guess(12, 3).extra_instance_hours == pytest.approx(12 * USUAL.overlap_s / 3600)


def test_nothing_takes_no_time():
    assert play((), (), {}, cluster_slots=0).estimate == Estimate(duration_s=0, extra_instance_hours=0)


def test_workers_start_when_the_control_plane_is_done():
    told = settings([{"name": "masters", "role": "control-plane"}, {"name": "w"}], canary=False, gate={"settle": "15s"})
    made = plan(told, world({"dev-masters": [Machine("i-m")], "dev-w": [Machine("i-w")]}))
    assert made.estimate.duration_s == 2 * L_S


def test_masters_go_one_at_a_time_over_all_their_groups():
    masters = [{"name": f"m-{zone}", "role": "control-plane"} for zone in "abc"]
    told = settings(masters, canary=False, gate={"settle": "15s"})
    made = plan(told, world({f"dev-{group['name']}": [Machine(f"i-{group['name']}")] for group in masters}))
    assert made.slots == 3
    assert made.estimate.duration_s == 3 * L_S


def test_machines_that_go_first_run_beside_nobody():
    assert guess(3, 1, strategy="terminate_first").extra_instance_hours == 0
