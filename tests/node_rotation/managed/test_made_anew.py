"""A managed node group that a person makes anew under its name while a run still remembers an update of the old one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import pytest
from tests.node_rotation.crashes import FAST, plan_for, run_for, sweep_all
from tests.node_rotation.eks_world import NEW, NEW_RELEASE, OLD, OLD_RELEASE, nodegroup, world

from node_rotation import detect, engine
from node_rotation.cli.plan_file import accept
from node_rotation.errors import BadInputError, BlockedError
from node_rotation.model import StepName
from node_rotation.outcome import Blocked
from node_rotation.run import Run
from node_rotation.steps import STEPS
from node_rotation.steps.heal import heal
from node_rotation.steps.prepare import prepare
from node_rotation.steps.restore import restore
from node_rotation.steps.verify import verify
from node_rotation.sweep import Swept, sweep
from node_rotation.testing import seeds
from node_rotation.testing.managed_values import Nodegroup, UpdateFailed
from node_rotation.testing.world import MemoryWorld


def begun(memory: MemoryWorld) -> Run:
    """A run whose update EKS has taken; it holds its lock."""
    run = run_for(memory)
    prepare(run, "workers")
    for step in (StepName.ADMIT, StepName.LAUNCH):
        STEPS[step].act(run, run.plan.batches[0])
    return run


def make_anew(memory: MemoryWorld, image: str) -> None:
    """What a person does where a failure's remedy says so: the name is the same, Auto Scaling group and updates not."""
    memory.scaling.delete(memory.eks.group("dev", "workers").asg, force=True)
    memory.clock.wait(120.0)
    memory.account.add_group(dataclasses.replace(nodegroup("anew"), image=image))
    release = NEW_RELEASE if image == NEW else OLD_RELEASE
    memory.eks.create(Nodegroup("dev", "workers", memory.asg("anew"), "AL2023_x86_64_STANDARD", "1.36", release))
    memory.clock.wait(600.0)


def test_a_group_that_was_made_anew_leaves_nothing_of_a_failed_run_stuck() -> None:
    memory = world(nodegroup(machines=2), replicas=2)
    memory.eks.next_failure = UpdateFailed("AutoScalingGroupNotFound", "it was deleted")
    run = begun(memory)
    memory.clock.wait(60.0)
    run.look.forget()
    heal(run, run.plan.batches[0], "EKS failed it")
    make_anew(memory, NEW)

    settings = memory.settings(**FAST)
    drift = detect.detect(settings, "workers", memory.cloud, memory.cluster, memory.clock)
    assert (drift.asg, drift.drifted) == (memory.asg("anew"), ())
    run = run_for(memory, run.id, plan=run.plan)
    assert [p for p in verify(run).problems if "was healed" not in p] == ["batch workers/1 is healed: EKS failed it"]
    restore(run, "workers")
    assert memory.cluster.lease() is None
    assert verify(run_for(memory, "run-2", plan=run.plan)).ok


def test_machines_of_a_group_that_was_made_anew_on_an_old_release_are_drift() -> None:
    memory = world(nodegroup(machines=2), replicas=2)
    run = begun(memory)
    make_anew(memory, OLD)
    drift = verify(run).drift
    assert len(drift) == 3
    assert all(f"of group workers runs {memory.image_id(OLD)}" in line for line in drift)


def test_a_dead_run_of_a_group_that_was_made_anew_is_swept() -> None:
    memory = world(nodegroup(machines=2), replicas=2)
    run = begun(memory)
    make_anew(memory, NEW)
    sweep_all(memory, run)
    assert memory.cluster.lease() is None


def test_an_update_that_eks_forgot_is_no_success_while_old_machines_run() -> None:
    memory = world(nodegroup(machines=2), replicas=2)
    run = begun(memory)
    memory.clock.wait(5.0)
    forgotten = memory.eks.group("dev", "workers").updates.popitem()[0]
    run.look.forget()
    for step in (StepName.LAUNCH, StepName.DRAIN, StepName.TERMINATE):
        answer = STEPS[step].look(run, run.plan.batches[0])
        assert isinstance(answer, Blocked), step
        assert f"EKS does not know update {forgotten} of node group dev/workers" in answer.reason
        assert "clear the batch" in answer.remedy


def test_where_the_old_machines_are_gone_the_new_ones_are_judged_whatever_eks_remembers() -> None:
    memory = world(nodegroup(machines=2), replicas=2)
    run = begun(memory)
    memory.clock.wait(3600.0)
    assert memory.on_image(OLD) == ()
    memory.eks.group("dev", "workers").updates.clear()
    run.look.forget()
    result = engine.rotate(run)
    assert result.ok
    assert result.ledger is not None
    (claim,) = result.ledger.claims
    assert set(claim.replacements.values()) == set(memory.on_image(NEW))


def test_a_batch_that_is_cleared_once_its_group_was_made_anew_says_to_start_a_new_run() -> None:
    memory = world(nodegroup(machines=2), replicas=2)
    run = begun(memory)
    heal(run, run.plan.batches[0], "EKS failed it")
    make_anew(memory, NEW)
    run.look.forget()
    with pytest.raises(BlockedError, match="dev-workers of batch workers/1 does not exist any more") as refused:
        STEPS[StepName.ADMIT].act(run, run.plan.batches[0])
    assert "start a new one" in refused.value.blocked.remedy


@pytest.mark.parametrize("step", [StepName.LAUNCH, StepName.DRAIN, StepName.TERMINATE, StepName.GATE])
def test_so_does_a_batch_whose_group_was_made_anew_midway(step: StepName) -> None:
    memory = world(nodegroup(machines=2), replicas=2)
    run = begun(memory)
    make_anew(memory, NEW)
    run.look.forget()
    answer = STEPS[step].look(run, run.plan.batches[0])
    assert isinstance(answer, Blocked)
    assert "start a new one" in answer.remedy


SURGE = {"strategy": "surge", "canary": False, "budget": {"max_surge": 2}}


def beside(gpu: str = NEW) -> MemoryWorld:
    """Group ``workers``, which is ours to roll, beside EKS' ``gpu``."""
    workers = seeds.Group("workers", image=OLD, next_image=NEW, desired=3, max=9)
    return world(workers, dataclasses.replace(nodegroup("gpu", machines=1), image=gpu))


def delete(memory: MemoryWorld) -> None:
    """DeleteNodegroup of ``gpu``, and EKS has done it."""
    memory.scaling.delete(memory.eks.groups.pop(("dev", "gpu")).asg, force=True)


def make(memory: MemoryWorld, status: str) -> None:
    """CreateNodegroup of ``gpu``, deleted a moment before: EKS names no Auto Scaling group yet, or never."""
    delete(memory)
    issues = (("NodeCreationFailure", "Instances failed to join", ()),) if status == "CREATE_FAILED" else ()
    group = Nodegroup("dev", "gpu", "", "AL2023_x86_64_STANDARD", "1.36", NEW_RELEASE, status=status, issues=issues)
    memory.eks.create(group)


def rotate_while(memory: MemoryWorld, run: Run, happens: Callable[[], None]) -> engine.Result:
    """Rotate; it happens once the first batch drains."""
    begun: list[str] = []

    def hear(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step is StepName.DRAIN and not begun:
            begun.append(event.batch)
            happens()

    return engine.rotate(run, hear)


@pytest.mark.parametrize("status", ["CREATING", "CREATE_FAILED"])
def test_a_run_goes_on_while_somebody_makes_a_group_anew_that_it_has_nothing_to_do_with(status: str) -> None:
    memory = beside()
    run = run_for(memory, **SURGE)
    result = rotate_while(memory, run, partial(make, memory, status))
    assert (result.ok, result.failed) == (True, ())
    assert memory.cluster.lease() is None


def test_a_run_goes_on_with_its_other_groups_once_one_of_its_own_was_deleted() -> None:
    memory = beside(gpu=OLD)
    run = run_for(memory, **SURGE)
    result = rotate_while(memory, run, partial(delete, memory))
    assert result.passed == ("workers/1", "workers/2", "workers/3")
    ((batch, why),) = result.failed
    assert (batch, "dev-gpu of batch gpu/1 does not exist any more" in why.reason) == ("gpu/1", True)
    assert memory.cluster.lease() is None


@pytest.mark.parametrize("status", ["CREATING", "CREATE_FAILED"])
def test_a_run_goes_on_with_its_other_groups_while_one_of_its_own_is_made_anew(status: str) -> None:
    memory = beside(gpu=OLD)
    run = run_for(memory, **SURGE)
    result = rotate_while(memory, run, partial(make, memory, status))
    assert result.passed == ("workers/1", "workers/2", "workers/3")
    assert [batch for batch, _ in result.failed] == ["gpu/1"]
    assert memory.cluster.lease() is None


def test_a_batch_whose_node_group_eks_does_not_know_any_more_is_blocked_though_its_machines_are_still_there() -> None:
    memory = world(nodegroup(machines=2), replicas=2)
    run = begun(memory)
    memory.eks.groups.pop(("dev", "workers"))
    run.look.forget()
    for step in (StepName.LAUNCH, StepName.DRAIN, StepName.TERMINATE, StepName.GATE):
        answer = STEPS[step].look(run, run.plan.batches[0])
        assert isinstance(answer, Blocked), step
        assert "dev-workers of batch workers/1 belongs to no node group of EKS any more" in answer.reason


def swept(memory: MemoryWorld, run: Run) -> Swept:
    return sweep(run.settings, memory.cloud, memory.cluster, memory.clock, "sweep-1", memory.outside.value())


def test_a_dead_run_is_swept_while_a_group_that_eks_could_not_make_stays_so() -> None:
    memory = beside()
    run = run_for(memory, **SURGE)
    prepare(run, "workers")
    make(memory, "CREATE_FAILED")
    memory.clock.wait(4000.0)
    assert swept(memory, run).left == ()
    assert memory.cluster.lease() is None
    assert swept(memory, run).left == ()


def test_a_plan_is_blocked_by_a_group_that_eks_could_not_make_unless_it_is_left_out() -> None:
    memory = beside()
    before, _ = plan_for(memory, **SURGE)
    make(memory, "CREATE_FAILED")
    plan, settings = plan_for(memory, **SURGE)
    (blocker,) = plan.blockers
    assert blocker.reason == (
        "EKS names no Auto Scaling group for node group dev/gpu "
        "(CREATE_FAILED; NodeCreationFailure: Instances failed to join)"
    )
    assert blocker.objects == ("group gpu", "node group dev/gpu")
    assert "--group" in blocker.remedy
    with pytest.raises(BadInputError, match="EKS names no Auto Scaling group for node group dev/gpu"):
        detect.asg_name(settings.cluster.groups[1], settings, memory.cloud)

    snapshot = detect.observe(settings, memory.cloud, memory.cluster, memory.clock)
    world_parts = (memory.cloud, memory.cluster, memory.clock)
    drifts = [detect.detect(settings, name, *world_parts, snapshot=snapshot) for name in ("workers", "gpu")]
    assert accept(before, settings, drifts, snapshot).blockers == (blocker,)

    alone = settings.only(["workers"])
    run = detect.make_run("run-1", before, alone, memory.cloud, memory.cluster, memory.clock)
    assert engine.rotate(run).ok
