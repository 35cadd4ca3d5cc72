"""A plan whose ledger would outgrow the Lease is refused before it begins."""

from __future__ import annotations

from tests.node_rotation.builders import Machine, plan, settings, world
from tests.node_rotation.crashes import run_for

from node_rotation import engine, lock, names
from node_rotation.ledger import dump
from node_rotation.ledger_size import size
from node_rotation.model import StepName
from node_rotation.outcome import REASON_LENGTH
from node_rotation.steps import STEPS
from node_rotation.steps.heal import heal
from node_rotation.steps.prepare import prepare
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld


def machines(count: int) -> list[Machine]:
    return [Machine(f"i-{n:017x}") for n in range(count)]


def test_a_thousand_machines_fit() -> None:
    made = plan(settings(budget={"max_surge": 20}), world({"dev-workers": machines(1000)}, max=2000))
    assert not made.blockers


def test_more_machines_than_a_run_can_write_down_are_refused_with_what_to_do() -> None:
    made = plan(settings(budget={"max_surge": 20}), world({"dev-workers": machines(4000)}, max=8000))
    (blocker,) = made.blockers
    assert "4000 machines are too many for one run" in blocker.reason
    assert "group workers" in blocker.objects
    assert "fewer node groups" in blocker.remedy


def test_no_run_writes_more_than_its_plan_foresaw() -> None:
    there = MemoryWorld.simple(6, replicas=30)
    run = run_for(there, budget={"max_surge": 2})
    foreseen = size(run.plan.groups, run.plan.batches, run.plan.slots, run.look())
    written: list[int] = []
    there.cluster.on_lease = lambda lease: written.append(len(lease.annotations[names.LEDGER])) if lease else None
    assert engine.rotate(run).ok
    assert foreseen / 2 < max(written) <= foreseen


def test_what_is_broken_before_the_run_is_foreseen() -> None:
    there = MemoryWorld.simple(6)
    for n in range(50):
        there.add_workload(seeds.Workload(f"a-deployment-that-never-comes-up-{n}", ready_after=1e6))
    run = run_for(there, budget={"max_surge": 2})
    foreseen = size(run.plan.groups, run.plan.batches, run.plan.slots, run.look())
    prepare(run, "workers")
    assert foreseen > len(dump(lock.require(run).ledger)) > 50 * len("a-deployment-that-never-comes-up")


def test_nor_do_batches_that_fail_over_more_than_can_be_written_down() -> None:
    there = MemoryWorld.simple(2, replicas=0)
    run = run_for(there, canary=False, budget={"max_surge": 2})
    foreseen = size(run.plan.groups, run.plan.batches, run.plan.slots, run.look())
    written: list[int] = []
    there.cluster.on_lease = lambda lease: written.append(len(lease.annotations[names.LEDGER])) if lease else None
    prepare(run, "workers")
    for batch in run.plan.batches:
        STEPS[StepName.ADMIT].act(run, batch)
    for batch in run.plan.batches:
        heal(run, batch, "; ".join(f"pod kube-system/aws-node-{n} is not Ready" for n in range(4000)))
    assert foreseen / 2 < max(written) <= foreseen
    said = [c.why for c in lock.require(run).ledger.claims]
    assert [(why[:39], len(why)) for why in said] == [("pod kube-system/aws-node-0 is not Ready", REASON_LENGTH)] * 2
