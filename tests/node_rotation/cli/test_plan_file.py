"""A plan made earlier: what still fits, what is refused and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.node_rotation import eks_world
from tests.node_rotation.soaking import soaking, told

from node_rotation.cli.plan_file import accept, groups_of, read
from node_rotation.cli.session import Session
from node_rotation.errors import BadInputError, BlockedError
from node_rotation.model import GroupDrift, Plan
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.snapshot import Snapshot

POLICY: dict[str, Any] = {"budget": {"max_surge": 2}}


@pytest.fixture
def world() -> MemoryWorld:
    return MemoryWorld.simple(machines=4)


def session(world: MemoryWorld, **policy: Any) -> Session:
    settings = world.settings(**{**POLICY, **policy})
    return Session(settings, ("workers",), world.cloud, world.cluster, world.clock)


def now(world: MemoryWorld, **policy: Any) -> tuple[tuple[GroupDrift, ...], Snapshot]:
    one = session(world, **policy)
    snapshot = one.observe()
    return one.drift(snapshot), snapshot


def refusal(plan: Plan, world: MemoryWorld, **policy: Any) -> str:
    with pytest.raises(BlockedError) as refused:
        accept(plan, world.settings(**{**POLICY, **policy}), *now(world, **policy))
    return str(refused.value)


def test_a_world_that_stands_still_changes_nothing(world: MemoryWorld) -> None:
    plan = session(world).plan()
    assert accept(plan, world.settings(**POLICY), *now(world)) == plan


def test_machines_that_are_gone_count_as_done(world: MemoryWorld) -> None:
    plan = session(world).plan()
    gone = plan.batches[0].machines[0].instance_id
    world.cloud.terminate_in_group(gone, decrement=False)
    world.clock.run_until(world.settled, 600.0)
    left = accept(plan, world.settings(**POLICY), *now(world))
    assert [b.name for b in left.batches] == [b.name for b in plan.batches[1:]]
    assert [b.canary for b in left.batches] == [True, False, False]  # in the place of the one that is gone
    assert left.id == plan.id


def test_where_no_canary_was_planned_none_is_made(world: MemoryWorld) -> None:
    plan = session(world, canary=False).plan()
    world.cloud.terminate_in_group(plan.batches[0].machines[0].instance_id, decrement=False)
    world.clock.run_until(world.settled, 600.0)
    left = accept(plan, world.settings(**POLICY, canary=False), *now(world, canary=False))
    assert not any(b.canary for b in left.batches)


def test_a_newer_target_refuses(world: MemoryWorld) -> None:
    plan = session(world).plan()
    world.add_template_version("workers", "base-old")
    assert "the target of group workers is" in refusal(plan, world)


def test_another_template_version_with_the_same_image_refuses(world: MemoryWorld) -> None:
    plan = session(world).plan()
    world.add_template_version("workers", "base-new")
    assert "the template of group workers is" in refusal(plan, world)


def behind(world: MemoryWorld) -> dict[str, Any]:
    """A template that does not launch the target yet, and a policy whose image step will make it."""
    world.add_template_version("workers", "base-old")
    return {"image": {"ssm": "/images/base/current"}, "image_step": "launch_template"}


def test_another_template_version_to_make_the_new_one_from_refuses(world: MemoryWorld) -> None:
    policy = behind(world)
    plan = session(world, **policy).plan()
    assert accept(plan, world.settings(**{**POLICY, **policy}), *now(world, **policy)) == plan
    world.add_template_version("workers", "base-old")
    assert "the template of group workers is dev-workers version 4, planned was dev-workers version 3" in refusal(
        plan, world, **policy
    )


def test_an_image_step_that_is_done_by_now_is_no_change(world: MemoryWorld) -> None:
    policy = behind(world)
    plan = session(world, **policy).plan()
    world.add_template_version("workers", "base-new")
    assert accept(plan, world.settings(**{**POLICY, **policy}), *now(world, **policy)) == plan


def test_another_budget_refuses(world: MemoryWorld) -> None:
    said = refusal(session(world).plan(), world, budget={"max_surge": 1})
    assert "the budget of group workers allows 1 at once, planned were 2" in said


def test_another_budget_of_the_cluster_refuses(world: MemoryWorld) -> None:
    said = refusal(session(world).plan(), world, budget={"max_surge": 2, "cluster_slots": 1})
    assert "allows 1 at once, planned were 2" in said


def test_slots_that_a_max_size_takes_away_are_no_change_of_the_budget(world: MemoryWorld) -> None:
    world.cloud.set_sizes("dev-workers", max=5)
    tight = {"budget": {"max_surge": 3}, "raise_max_size": False}
    plan = session(world, **tight).plan()
    assert plan.slots == 1
    assert accept(plan, world.settings(**{**POLICY, **tight}), *now(world, **tight)) == plan


@pytest.fixture
def eks() -> MemoryWorld:
    return eks_world.world(eks_world.nodegroup(machines=6))


def test_a_managed_group_that_stands_still_changes_nothing(eks: MemoryWorld) -> None:
    forced = {"drain": {"force_after": "10m"}}
    plan = session(eks, **forced).plan()
    assert plan.groups[0].managed is not None
    assert accept(plan, eks.settings(**POLICY, **forced), *now(eks, **forced)) == plan


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"max_unavailable_percentage": 50}, "EKS takes 3 machines of group workers away at once, planned were 1"),
        ({"strategy": "MINIMAL"}, "EKS adds 0 machines to group workers, planned were 6"),
    ],
)
def test_another_update_configuration_of_a_managed_group_refuses(
    eks: MemoryWorld, changed: dict[str, Any], said: str
) -> None:
    plan = session(eks).plan()
    eks.eks.update_config("dev", "workers", **changed)
    eks.clock.wait(60.0)
    assert said in refusal(plan, eks)


@pytest.mark.parametrize(
    ("planned", "by_now", "said"),
    [("10m", None, "EKS may not delete pods of group workers"), (None, "10m", "EKS may delete pods of group workers")],
)
def test_another_leave_to_delete_pods_of_a_managed_group_refuses(
    eks: MemoryWorld, planned: str | None, by_now: str | None, said: str
) -> None:
    plan = session(eks, drain={"force_after": planned}).plan()
    assert said in refusal(plan, eks, drain={"force_after": by_now})


def test_machines_of_a_managed_group_that_are_gone_are_no_change_of_what_eks_takes(eks: MemoryWorld) -> None:
    eks.eks.group("dev", "workers").max_unavailable_percentage = 50
    plan = session(eks).plan()
    for machine in plan.batches[0].machines[:3]:
        eks.cloud.terminate_in_group(machine.instance_id, decrement=True)
    eks.clock.run_until(eks.settled, 600.0)
    left = accept(plan, eks.settings(**POLICY), *now(eks))
    assert (plan.groups[0].slots, len(left.batches[0].machines)) == (3, 3)


def test_another_strategy_refuses(world: MemoryWorld) -> None:
    said = refusal(session(world).plan(), world, strategy="detach")
    assert "the strategy of group workers is detach, planned was surge" in said


def test_a_machine_that_was_added_refuses_by_its_name(world: MemoryWorld) -> None:
    plan = session(world).plan()
    known = plan.batches[0].machines[0].instance_id
    shorter = plan.model_copy(update={"batches": plan.batches[1:]})
    assert f"that the plan does not know: {known}" in refusal(shorter, world)


def test_what_blocks_by_now_blocks_the_plan(world: MemoryWorld) -> None:
    plan = session(world).plan()
    world.cloud.suspend("dev-workers", ["Launch"])
    left = accept(plan, world.settings(**POLICY), *now(world))
    assert left.batches == plan.batches
    (blocker,) = left.blockers
    assert "Launch of dev-workers is suspended" in blocker.reason
    assert "ResumeProcesses" in blocker.remedy


def test_what_blocked_it_and_does_no_more_is_forgotten(world: MemoryWorld) -> None:
    world.cloud.suspend("dev-workers", ["Launch"])
    plan = session(world).plan()
    assert plan.blockers
    world.cloud.resume("dev-workers", ["Launch"])
    assert accept(plan, world.settings(**POLICY), *now(world)).blockers == ()


def test_an_image_that_was_frozen_since_is_named_with_what_lifts_it(world: MemoryWorld) -> None:
    one = session(world)
    plan = one.plan()
    image = plan.groups[0].target.image
    one.freezes().freeze(image, "a CVE in it", "cli me")
    (blocker,) = accept(plan, world.settings(**POLICY), *now(world)).blockers
    assert f"{image.id} (base-new) is frozen since" in blocker.reason
    assert f"node-rotation unfreeze {image.id} --reason WHY" in blocker.remedy


def test_a_group_of_the_plan_whose_image_was_frozen_since_is_not_left_out_of_it() -> None:
    world = soaking()
    one = Session(told(world, ripe=True), ("workers", "gpu"), world.cloud, world.cluster, world.clock)
    plan = one.plan()
    assert {batch.group for batch in plan.batches} == {"workers", "gpu"}
    one.freezes().freeze(plan.group("gpu").target.image, "its driver crashes", "cli me")
    snapshot = one.observe()
    (blocker,) = accept(plan, one.settings, one.drift(snapshot), snapshot).blockers
    assert "(gpu-new) is frozen since" in blocker.reason


def test_a_plan_for_another_cluster_is_bad_input(world: MemoryWorld) -> None:
    plan = session(world).plan().model_copy(update={"cluster": "elsewhere"})
    with pytest.raises(BadInputError, match="dev.elsewhere"):
        accept(plan, world.settings(**POLICY), *now(world))


def test_a_plan_with_a_group_that_the_fleet_does_not_have_is_bad_input(world: MemoryWorld) -> None:
    plan = session(world).plan()
    renamed = plan.model_copy(update={"groups": (plan.groups[0].model_copy(update={"name": "gone"}),)})
    with pytest.raises(BadInputError, match="no node group 'gone'"):
        groups_of(renamed, world.settings(**POLICY))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not json", "is not JSON"),
        ("[]", "this is no plan"),
        ('{"schema_version": 1}', "id: is missing"),
        ('{"schema_version": 3}', "Upgrade node-rotation"),
    ],
)
def test_what_is_no_plan_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(BadInputError, match=said) as refused:
        read(path)
    assert str(path) in str(refused.value)
