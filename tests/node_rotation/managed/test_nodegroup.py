"""Rotations of managed node groups as a whole: EKS rolls them, the rotation starts, watches and judges."""

from __future__ import annotations

import dataclasses

import pytest
from tests.node_rotation.crashes import FAST, dies, plan_for, rotate, run_for, sweep_all
from tests.node_rotation.eks_world import NEW, NEW_RELEASE, OLD, nodegroup, world

from node_rotation import engine, lock
from node_rotation.model import StepName
from node_rotation.outcome import Done
from node_rotation.report import report
from node_rotation.steps import STEPS
from node_rotation.steps.freezing import frozen_targets
from node_rotation.steps.heal import heal
from node_rotation.steps.prepare import prepare
from node_rotation.testing import seeds
from node_rotation.testing.faults import Crash
from node_rotation.testing.managed_values import UpdateFailed
from node_rotation.testing.scaling_values import GroupChange
from node_rotation.testing.world import MemoryWorld

UPDATE = "UpdateNodegroupVersion"


def asked(memory: MemoryWorld) -> list[str]:
    """What the rotation changed, its Lease apart."""
    return [m.action for m in memory.mutations if m.actor == "rotation" and not m.action.endswith("_lease")]


def clean(memory: MemoryWorld) -> bool:
    return not any((memory.residue(), memory.orphans(), memory.monitor.violations))


def foreign_update(memory: MemoryWorld, name: str = "workers") -> str:
    return memory.eks.update_version("dev", name, release=NEW_RELEASE, token="a person").id


def disturbed(memory: MemoryWorld, batch: str, step: StepName) -> tuple[engine.Result, str, list[str]]:
    """Somebody updates group ``large`` when a batch comes to a step: the result, the update, what was waited for.

    EKS takes longer for its five machines than FAST's ``launch_timeout``.
    """
    begun: list[str] = []
    said: list[str] = []

    def hear(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and (event.batch, event.step) == (batch, step):
            begun.append(foreign_update(memory, "large"))
        if isinstance(event, engine.BatchWaits):
            said.extend(event.reasons)

    return engine.rotate(run_for(memory), hear), begun[0], said


def close(memory: MemoryWorld) -> None:
    """Somebody lets the budget of ``web`` allow nothing any more."""
    memory.disruption.change("default", "web", min_available=3, max_unavailable=None)


def cordon_one(memory: MemoryWorld, name: str) -> None:
    """Somebody cordons a node of a group."""
    members = memory.scaling.group(memory.asg(name)).members
    node = next(node for node in memory.cluster.nodes() if node.instance_id in members)
    memory.cluster.cordon(node.name, node.uid)


def test_eks_rolls_a_group_and_nothing_else_of_it_is_written() -> None:
    memory = world()
    result = rotate(memory)
    assert result.ok
    assert asked(memory) == [UPDATE]
    assert memory.on_image(OLD) == ()
    assert len(memory.on_image(NEW)) == 3
    assert memory.eks.group("dev", "workers").release == NEW_RELEASE
    assert clean(memory)


def test_a_group_is_rolled_under_its_own_update_configuration() -> None:
    one, three = world(nodegroup(machines=6)), world(nodegroup(machines=6, max_unavailable_percentage=50))
    spent = {}
    for memory in (one, three):
        began = memory.clock.now()
        assert rotate(memory).ok
        spent[memory] = memory.clock.now() - began
    assert spent[three] < spent[one] / 2


def test_minimal_adds_no_machine() -> None:
    memory = world(nodegroup(machines=3, update_strategy="MINIMAL"), replicas=3)
    assert rotate(memory).ok
    assert memory.monitor.max_extra[memory.asg("workers")] == 0
    assert memory.on_image(OLD) == ()


def test_the_smallest_group_is_the_canary_and_the_others_follow() -> None:
    memory = world(nodegroup("large", 4), nodegroup("small", 2), replicas=4)
    plan, _ = plan_for(memory)
    assert [(b.name, len(b.machines), b.canary) for b in plan.batches] == [("small/1", 2, True), ("large/1", 4, False)]
    assert rotate(memory).passed == ("small/1", "large/1")


def test_a_pod_and_its_budget_are_named_while_eks_waits_and_it_goes_on_once_there_is_room() -> None:
    memory = world(replicas=3)
    said: list[str] = []
    run = run_for(memory)
    close(memory)
    memory.clock.after(300.0, lambda: memory.disruption.change("default", "web", min_available=None, max_unavailable=2))

    def hear(event: engine.Event) -> None:
        if isinstance(event, engine.BatchWaits):
            said.extend(event.reasons)

    result = engine.rotate(run, hear)
    assert result.ok
    held = next(s for s in said if s.startswith("pdb default/web"))
    assert "pod default/web-" in held
    assert "EKS gives up 15 min" in held
    assert any("can never allow an eviction" in s for s in said)


def test_after_fifteen_minutes_eks_gives_up_and_pod_and_budget_are_named() -> None:
    memory = world(replicas=3)
    run = run_for(memory)
    close(memory)
    result = engine.rotate(run)
    ((name, why),) = result.failed
    assert name == "workers/1"
    assert "PodEvictionFailure" in why.reason
    assert {"pdb default/web"} < set(why.objects)
    assert any(o.startswith("pod default/web-") for o in why.objects)
    assert "budgets" in why.remedy
    assert not why.image_fault
    assert asked(memory) == [UPDATE]
    assert not memory.monitor.violations


def test_what_eks_leaves_of_an_update_that_failed_is_a_problem_by_name_with_what_to_do() -> None:
    memory = world(replicas=3)
    run = run_for(memory)
    close(memory)
    larger, cordoned = report(run.plan, engine.rotate(run))["verdict"]["problems"]
    old = [node for node in memory.cluster.nodes() if node.unschedulable]
    assert len(old) == 3
    desired = memory.scaling.group(memory.asg("workers")).desired
    assert larger.startswith(f"node group dev/workers has desired {desired}, 3 when it was planned")
    assert all(machine in larger for machine in memory.on_image(NEW))
    assert "--scaling-config desiredSize=3" in larger
    assert cordoned.startswith("nodes of node group dev/workers are cordoned: ")
    assert f"kubectl uncordon {' '.join(sorted(node.name for node in old))}" in cordoned
    assert "exclude-from-external-load-balancers-" in cordoned


def test_a_group_that_eks_has_updated_is_no_problem_though_somebody_scaled_it_up_or_cordoned_a_node() -> None:
    memory = world(nodegroup(machines=2), replicas=2)

    def hear(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step is StepName.GATE:
            asg = memory.asg("workers")
            memory.scaling.update(asg, GroupChange(desired=memory.scaling.group(asg).desired + 1))
            node = memory.cluster.nodes()[0]
            memory.cluster.cordon(node.name, node.uid)

    result = engine.rotate(run_for(memory), hear)
    assert result.ok
    assert result.verdict is not None
    assert result.verdict.problems == ()


def test_a_group_that_was_held_behind_a_failed_one_is_no_problem_though_somebody_scaled_it_up_or_cordoned_a_node() -> (
    None
):
    memory = world(nodegroup("small", 2), nodegroup("large", 3), replicas=4)
    memory.eks.next_failure = UpdateFailed("InsufficientFreeAddresses", "none left")

    def hear(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and (event.batch, event.step) == ("small/1", StepName.LAUNCH):
            memory.scaling.update(memory.asg("large"), GroupChange(desired=4))
            cordon_one(memory, "large")

    run = run_for(memory)
    result = engine.rotate(run, hear)
    assert (result.failed[0][0], result.skipped) == ("small/1", ("large/1",))
    assert not [line for line in report(run.plan, result)["verdict"]["problems"] if "dev/large" in line]


def test_pods_are_deleted_past_their_budget_only_by_policy() -> None:
    memory = world(replicas=3)
    run = run_for(memory, drain={"force_after": "10m"})
    close(memory)
    assert engine.rotate(run).ok
    assert memory.monitor.violations


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("InsufficientFreeAddresses", "subnets"),
        ("InstanceLimitExceeded", "quota"),
        ("AsgInstanceLaunchFailures", "activities"),
        ("AccessDenied", "access entries"),
        ("SomethingNew", "describe-update"),
    ],
)
def test_an_update_that_fails_is_named_by_its_code_with_what_to_do(code: str, remedy: str) -> None:
    memory = world()
    memory.eks.next_failure = UpdateFailed(code, "AWS' own words", ("subnet-1",))
    result = rotate(memory)
    ((_, why),) = result.failed
    assert f"{code}: AWS' own words" in why.reason
    assert remedy in why.remedy
    assert "subnet-1" in why.objects
    assert not why.image_fault
    assert memory.cluster.lease() is None


def test_an_image_that_makes_no_node_is_at_fault_and_later_groups_are_held() -> None:
    memory = world(nodegroup("small", 2), nodegroup("large", 3), behaviour="never-joins", replicas=4)
    result = rotate(memory)
    ((name, why),) = result.failed
    assert (name, result.skipped) == ("small/1", ("large/1",))
    assert "NodeCreationFailure" in why.reason
    assert why.image_fault
    assert any(memory.image_id(NEW) in line for line in result.frozen)
    assert asked(memory) == [UPDATE, "PutParameter"]  # the record that freezes it


def test_a_bad_image_of_a_custom_group_is_frozen_too() -> None:
    group = nodegroup(machines=2, ami_type="CUSTOM")
    group = dataclasses.replace(group, image="mine-1", next_image="mine-2")
    images = (
        seeds.Image("mine-1", created="2026-11-01T06:00:00Z"),
        seeds.Image("mine-2", created="2026-11-08T06:00:00Z", behaviour="never-joins"),
    )
    memory = world(group, images=images, replicas=2)
    result = rotate(memory)
    assert result.failed
    assert any(f"image {memory.image_id('mine-2')}" in line and "is frozen since" in line for line in result.frozen)


def test_a_bad_image_that_a_managed_group_still_launches_is_named_in_the_report() -> None:
    group = nodegroup(machines=2, ami_type="CUSTOM")
    images = (
        seeds.Image("mine-1", created="2026-11-01T06:00:00Z"),
        seeds.Image("mine-2", created="2026-11-08T06:00:00Z"),
    )
    memory = world(dataclasses.replace(group, image="mine-1", next_image="mine-2"), images=images, replicas=2)
    run = run_for(memory)
    prepare(run, "workers")
    batch = run.plan.batches[0]
    STEPS[StepName.ADMIT].act(run, batch)
    STEPS[StepName.LAUNCH].act(run, batch)
    memory.clock.wait(1800.0)  # EKS has rolled it

    said = heal(run, batch, "unhealthy on it", image_fault=True)

    expected = (
        f"a frozen image still launches: {memory.image_id('mine-2')} from the template of group {memory.asg('workers')}"
    )
    assert any(line.startswith(expected) for line in said)
    assert any(line.startswith(expected) for line in frozen_targets(run))


def test_no_capacity_is_no_fault_of_the_image() -> None:
    memory = world(faults=(seeds.Fault(kind="capacity"),))
    ((_, why),) = rotate(memory).failed
    assert "AsgInstanceLaunchFailures" in why.reason
    assert not why.image_fault


def test_an_update_of_somebody_else_blocks_the_plan_by_name_and_nothing_is_touched() -> None:
    memory = world()
    update = foreign_update(memory)
    plan, _ = plan_for(memory)
    assert any(update in blocker.reason for blocker in plan.blockers)
    result = rotate(memory)
    assert result.blocked is not None
    assert update in result.blocked.reason
    assert memory.mutations == []


def test_an_update_that_somebody_starts_after_the_plan_blocks_prepare() -> None:
    memory = world()
    run = run_for(memory)
    update = foreign_update(memory)
    result = engine.rotate(run)
    assert result.blocked is not None
    assert update in result.blocked.reason
    assert memory.mutations == []


def test_an_update_that_somebody_starts_after_prepare_is_waited_for_by_name() -> None:
    memory = world(nodegroup("small", 2), nodegroup("large", 5), replicas=4)
    result, update, said = disturbed(memory, "small/1", StepName.GATE)
    assert result.ok
    assert any(update in reason and "somebody else's" in reason for reason in said)
    assert asked(memory).count(UPDATE) == 1  # the other one did large's work meanwhile
    assert result.ledger is not None
    assert f"update {update} was begun" in {heard.what for heard in result.ledger.others}


def test_so_is_one_that_comes_first_by_a_moment_after_the_batch_was_admitted() -> None:
    memory = world(nodegroup("small", 2), nodegroup("large", 5), replicas=4)
    result, update, said = disturbed(memory, "large/1", StepName.LAUNCH)
    assert result.ok
    assert any(update in reason and "somebody else's" in reason for reason in said)
    assert list(memory.eks.group("dev", "large").updates) == [update]


def test_its_own_update_is_taken_up_by_a_batch_that_is_cleared_while_eks_goes_on() -> None:
    memory = world()
    run = run_for(memory)
    prepare(run, "workers")
    (batch,) = run.plan.batches
    STEPS[StepName.ADMIT].act(run, batch)
    STEPS[StepName.LAUNCH].act(run, batch)
    heal(run, batch, "cleared meanwhile")

    STEPS[StepName.ADMIT].act(run, batch)

    assert isinstance(STEPS[StepName.ADMIT].look(run, batch), Done)
    assert isinstance(STEPS[StepName.LAUNCH].look(run, batch), Done)


def test_so_is_one_whose_answer_was_lost_before_the_batch_was_healed() -> None:
    memory = world()
    run = run_for(memory)
    prepare(run, "workers")
    (batch,) = run.plan.batches
    STEPS[StepName.ADMIT].act(run, batch)
    memory.crash_after(2)  # the token is written, EKS is asked
    with pytest.raises(Crash):
        STEPS[StepName.LAUNCH].act(run, batch)
    memory.journal.alive_again()
    run = run_for(memory, plan=run.plan)
    (update,) = memory.eks.group("dev", "workers").updates
    held = lock.require(run).ledger.claim(batch.name)
    assert held is not None
    assert (bool(held.update_token), held.update) == (True, "")
    said = heal(run, batch, "its worker died")
    assert any(f"EKS goes on with update {update}" in line for line in said)

    STEPS[StepName.ADMIT].act(run, batch)

    assert isinstance(STEPS[StepName.ADMIT].look(run, batch), Done)
    again = lock.require(run).ledger.claim(batch.name)
    assert again is not None
    assert (again.update_token, again.evicted) == (held.update_token, held.evicted)
    assert held.evicted
    STEPS[StepName.LAUNCH].act(run, batch)
    assert isinstance(STEPS[StepName.LAUNCH].look(run, batch), Done)
    assert list(memory.eks.group("dev", "workers").updates) == [update]


def test_stopped_it_starts_no_further_update_and_says_what_goes_on() -> None:
    memory = world(nodegroup("small", 2), nodegroup("large", 3), replicas=4)
    run = run_for(memory)

    def stop(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step == "drain":
            raise KeyboardInterrupt

    result = engine.rotate(run, stop)
    (line,) = report(run.plan, result)["verdict"]["problems"]
    assert "can't be stopped or rolled back" in line
    assert asked(memory) == [UPDATE]
    assert memory.cluster.lease() is None
    memory.clock.wait(3600.0)
    assert memory.eks.group("dev", "small").in_flight is None
    assert asked(memory) == [UPDATE]


def test_a_batch_that_is_cleared_after_a_failure_asks_again() -> None:
    memory = world()
    memory.eks.next_failure = UpdateFailed("InsufficientFreeAddresses", "none left")
    run = run_for(memory)
    assert not engine.rotate(run).ok
    assert engine.rotate(run_for(memory, "run-2")).ok
    assert memory.on_image(OLD) == ()


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_run_that_died_at_any_call_goes_on_and_asks_eks_once(before: bool) -> None:
    for at in range(1, 60):
        memory = world(nodegroup(machines=2), replicas=2)
        run = run_for(memory)
        if not dies(run, memory, at, before=before):
            assert at > 8
            return
        memory.clock.wait(20.0)
        result = engine.rotate(run_for(memory, run.id, plan=run.plan))
        assert result.ok, f"died at {at}: {result}"
        assert len(memory.eks.group("dev", "workers").updates) == 1
        assert memory.on_image(OLD) == ()
        assert clean(memory)


def test_what_a_dead_run_left_is_swept_without_touching_the_group() -> None:
    for at in range(1, 12):
        memory = world(nodegroup(machines=2), replicas=2)
        run = run_for(memory)
        assert dies(run, memory, at, before=False)
        sweep_all(memory, run)
        assert memory.cluster.lease() is None
        assert set(asked(memory)) <= {UPDATE}


def test_an_answer_that_is_lost_is_asked_for_again_under_the_same_token() -> None:
    faults = (seeds.Fault(kind="lost_answer", service="eks", action=UPDATE, calls=(1,)),)
    memory = world(faults=faults)
    assert rotate(memory).ok
    assert len(memory.eks.group("dev", "workers").updates) == 1


def test_a_managed_and_a_self_managed_group_in_one_run() -> None:
    mine = seeds.Group("mine", image="base-old", next_image="base-new", desired=2, max=5)
    images = (
        seeds.Image("base-old", created="2026-11-01T06:00:00Z"),
        seeds.Image("base-new", created="2026-11-08T06:00:00Z"),
    )
    memory = world(nodegroup(machines=2), mine, images=images, replicas=4)
    result = rotate(memory, **FAST)
    assert result.ok
    assert result.passed[0] == "mine/1"  # one machine is less to lose than a group
    assert "workers/1" in result.passed
    assert clean(memory)


def test_a_budget_that_the_machines_eks_takes_at_once_use_up_keeps_other_groups_waiting() -> None:
    mine = seeds.Group("mine", image="base-old", next_image="base-new", desired=3, max=9)
    images = (
        seeds.Image("base-old", created="2026-11-01T06:00:00Z"),
        seeds.Image("base-new", created="2026-11-08T06:00:00Z"),
    )
    two = seeds.DisruptionBudget(max_unavailable=2)
    memory = world(nodegroup("apps", 4, max_unavailable=2), mine, images=images, replicas=7, budget=two)
    flying: set[str] = set()
    together: set[str] = set()

    def hear(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step is StepName.LAUNCH:
            flying.add(event.batch)
        elif isinstance(event, engine.BatchMoved) and event.step is None:
            flying.discard(event.batch)
        if "apps/1" in flying:
            together.update(flying)

    assert engine.rotate(run_for(memory, canary=False), hear).ok
    assert together == {"apps/1"}
