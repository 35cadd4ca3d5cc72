"""What a plan says of managed groups: one batch, EKS' own budget, its constants, and what blocks it."""

from __future__ import annotations

import pytest
from tests.node_rotation.crashes import plan_for, rotate
from tests.node_rotation.eks_world import NEW_RELEASE, nodegroup, world

from node_rotation.managed.nodegroup import ManagedGroup
from node_rotation.managed.planning import managed_duration_s
from node_rotation.model import ManagedPlan
from node_rotation.testing import seeds


def group(**config: int) -> ManagedGroup:
    return ManagedGroup("dev", "workers", "ACTIVE", "dev-workers", "CUSTOM", "1.36", **config)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "size", "at_once"),
    [
        ({}, 10, 1),
        ({"max_unavailable": 3}, 10, 3),
        ({"max_unavailable": 3}, 2, 2),
        ({"max_unavailable_percentage": 33}, 10, 3),
        ({"max_unavailable_percentage": 5}, 10, 1),
        ({"max_unavailable_percentage": 100}, 300, 100),
    ],
)
def test_how_many_go_at_once_is_the_groups_own_configuration(config: dict[str, int], size: int, at_once: int) -> None:
    assert group(**config).at_once(size) == at_once


def test_a_group_is_one_batch_that_takes_as_many_slots_as_eks_takes_machines() -> None:
    plan, _ = plan_for(world(nodegroup(machines=6, max_unavailable=2)))
    (batch,) = plan.batches
    assert len(batch.machines) == 6
    assert (plan.groups[0].slots, plan.slots) == (2, 2)
    assert any(NEW_RELEASE in note and "can't be stopped or rolled back" in note for note in plan.notes)


def test_an_update_that_would_outlast_every_window_is_refused_for_it_cannot_be_stopped() -> None:
    two_hours = {"days": ["mon", "wed"], "from": "01:00", "to": "03:00"}
    plan, _ = plan_for(world(nodegroup(machines=40)), windows=[two_hours])
    (blocker,) = plan.blockers
    assert blocker.reason.startswith("batch workers/1 never fits")
    assert "update configuration" in blocker.remedy

    plan, _ = plan_for(world(nodegroup(machines=40, max_unavailable=20)), windows=[two_hours])
    assert plan.blockers == ()


def test_fewer_cluster_slots_than_eks_takes_machines_block_the_plan() -> None:
    plan, _ = plan_for(world(nodegroup(max_unavailable=2)), budget={"cluster_slots": 1})
    (blocker,) = plan.blockers
    assert "takes 2 machines of dev/workers away at once" in blocker.reason
    assert "update-nodegroup-config" in blocker.remedy


def test_groups_share_the_clusters_slots_by_what_eks_takes_at_once() -> None:
    groups = (nodegroup("one", 2), nodegroup("two", 3, max_unavailable=2), nodegroup("three", 4, max_unavailable=2))
    memory = world(*groups, replicas=4)
    most = 0
    for name in ("one", "two", "three"):
        assert memory.eks.group("dev", name).in_flight is None

    def rolling() -> bool:
        nonlocal most
        flying = [g for g in memory.eks.groups.values() if g.in_flight is not None]
        most = max(most, sum(g.max_unavailable or 1 for g in flying))
        memory.clock.after(5.0, rolling)
        return False

    rolling()
    result = rotate(memory, budget={"cluster_slots": 2})
    assert result.ok
    assert result.passed == ("one/1", "two/1", "three/1")
    assert most == 2


def test_a_budget_of_zero_for_self_managed_groups_is_none_of_its_business() -> None:
    plan, _ = plan_for(world(), budget={"max_surge": 0})
    assert plan.blockers == ()


def test_an_update_takes_what_the_guide_says_it_takes() -> None:
    plan = ManagedPlan(eks_cluster="dev", nodegroup="workers", version="1.36", at_once=2, extra=6)
    usual = {"boot_s": 150.0, "drain_s": 90.0, "terminate_s": 45.0}
    assert managed_duration_s(plan, 5, **usual) == 150 + 3 * (90 + 60 + 45) + 6 * (90 + 60 + 45)
    minimal = plan.model_copy(update={"extra": 0})
    assert managed_duration_s(minimal, 5, **usual) == 3 * (90 + 60 + 45 + 150)


def test_issues_that_eks_reports_are_noted() -> None:
    memory = world()
    memory.eks.group("dev", "workers").issues = (("AsgInstanceLaunchFailures", "no capacity", ()),)
    plan, _ = plan_for(memory)
    assert "EKS reports of dev/workers: AsgInstanceLaunchFailures: no capacity" in plan.notes


def test_a_group_that_is_being_deleted_blocks() -> None:
    memory = world()
    memory.eks.group("dev", "workers").status = "DELETING"
    plan, _ = plan_for(memory)
    assert any("is DELETING" in blocker.reason for blocker in plan.blockers)


def test_a_pod_that_can_never_be_evicted_blocks_before_eks_is_asked() -> None:
    budget = seeds.DisruptionBudget(min_available=6)
    plan, _ = plan_for(world(budget=budget))
    assert any("can never allow an eviction" in blocker.reason for blocker in plan.blockers)
