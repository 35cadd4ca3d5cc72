"""A managed node group that a person makes anew under its name while a run still remembers an update of the old one."""

from __future__ import annotations

import dataclasses

import pytest
from tests.node_rotation.crashes import FAST, run_for, sweep_all
from tests.node_rotation.eks_world import NEW, NEW_RELEASE, OLD, OLD_RELEASE, nodegroup, world

from node_rotation import detect, engine
from node_rotation.errors import BlockedError
from node_rotation.model import StepName
from node_rotation.outcome import Blocked
from node_rotation.run import Run
from node_rotation.steps import STEPS
from node_rotation.steps.heal import heal
from node_rotation.steps.prepare import prepare
from node_rotation.steps.restore import restore
from node_rotation.steps.verify import verify
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
