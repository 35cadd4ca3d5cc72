"""Verify: what the run holds is given back, and the verdict names what is not as planned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from tests.node_rotation.crashes import plan_for
from tests.node_rotation.eks_world import nodegroup, world
from tests.node_rotation_airflow.operators.rotating import planned, reported

from node_rotation.testing.scaling_values import GroupChange
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow.documents import Rotation
from node_rotation_airflow.operators.step import PrepareOperator
from node_rotation_airflow.operators.verify import VerifyOperator, bad_tasks


@pytest.mark.parametrize("never", ["upstream_failed", "skipped", None])
def test_a_group_whose_launch_was_not_begun_has_nothing_left_by_eks_though_somebody_scaled_it_up(
    airflow: Any, never: str | None
) -> None:
    memory = world(nodegroup("small", 2), nodegroup("large", 3), replicas=4)
    plan, settings = plan_for(memory)
    run = airflow(memory)
    run.xcoms["plan", "rotation"] = Rotation(settings=settings, plan=plan).dump()
    run.states |= {"batch.launch_0": "failed", "batch.launch_1": never}
    for name in ("small", "large"):
        asg = memory.asg(name)
        memory.scaling.update(asg, GroupChange(desired=memory.scaling.group(asg).desired + 1))

    with pytest.raises(AirflowFailException):
        run.run(VerifyOperator(task_id="verify"))

    (left,) = run.xcoms["verify", "verdict"]["problems"]
    assert left.startswith("node group dev/small has desired 3, 2 when it was planned")


def test_verify_restores_what_the_run_still_holds(airflow: Any) -> None:
    world = MemoryWorld.simple(machines=2)
    run, _ = planned(airflow, world)
    run.run(PrepareOperator(task_id="prepare", group="workers"), 0)

    with pytest.raises(AirflowFailException, match="drift"):
        run.run(VerifyOperator(task_id="verify"))

    assert world.residue() == ()


def test_verify_fails_without_a_plan_and_says_where_to_look(airflow: Any) -> None:
    run = airflow(MemoryWorld.simple(machines=1))

    with pytest.raises(AirflowFailException, match="no plan: see the log of plan"):
        run.run(VerifyOperator(task_id="verify"))


MARKED = {
    "while it asks for approval": {"approve": "failed", "wait": "skipped"},
    "before it asks": {"approve": "skipped", "wait": "skipped"},
}


@pytest.mark.parametrize("states", MARKED.values(), ids=MARKED)
def test_a_run_that_was_marked_failed_before_it_began_fails_by_name_and_touches_nothing(
    airflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, states: dict[str, str]
) -> None:
    world = MemoryWorld.simple(machines=2)
    run, _ = planned(airflow, world, approval={"required": True})
    run.states |= states

    with pytest.raises(AirflowFailException, match="not as planned. drift: "):
        run.run(VerifyOperator(task_id="verify"))

    assert run.xcoms["verify", "verdict"]["tasks"] == [name for name, state in states.items() if state == "failed"]
    assert world.mutations == []
    run.states["verify"] = "failed"
    value = reported(run, tmp_path, monkeypatch)
    assert (value["ok"], value["not_begun"], value["skipped"]) == (False, None, ["workers/1", "workers/2"])


def test_a_run_that_was_rejected_once_and_marked_failed_when_it_was_asked_again_was_not_rejected(airflow: Any) -> None:
    run, _ = planned(airflow, MemoryWorld.simple(machines=1), approval={"required": True})
    run.xcoms["wait", "ended"] = "superseded: run scheduled__2 is newer and does the same"
    run.states |= MARKED["while it asks for approval"]

    with pytest.raises(AirflowFailException, match="tasks: approve"):
        run.run(VerifyOperator(task_id="verify"))


def test_a_failed_heal_alone_is_no_bad_task() -> None:
    states = {"batch.heal_1": "failed", "batch.drain_1": "failed", "restore_0": "success", "report": None}

    assert bad_tasks(states) == ["batch.drain_1"]
