"""Verify, told on managed node groups: what EKS left is asked of groups whose update this run began, and no others."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from tests.node_rotation.crashes import plan_for
from tests.node_rotation.eks_world import nodegroup, world

from node_rotation.testing.scaling_values import GroupChange
from node_rotation_airflow.documents import Rotation
from node_rotation_airflow.operators.verify import VerifyOperator


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
