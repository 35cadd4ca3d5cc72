"""What was broken before a run is left out of its gates as long as it is, and as it is written down."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.node_rotation.builders import Machine, budget, world
from tests.node_rotation.crashes import run_for

from node_rotation import lock, sickness
from node_rotation.ledger import Ledger, dump, parse
from node_rotation.model import StepName
from node_rotation.outcome import Done, Waiting
from node_rotation.steps import STEPS
from node_rotation.steps.prepare import prepare
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.kubernetes import Workload
from node_rotation.world.snapshot import Snapshot

NIGHT = Ledger(run="run-1", plan="p", cluster="dev.eu-1")


def shop(ready: int, *, healthy: int, desired: int = 3) -> Snapshot:
    snapshot = world({"dev-workers": [Machine("i-1")]}, budgets=[budget(healthy=healthy)])
    return replace(snapshot, workloads=(Workload("Deployment", "shop", "api", "u", desired, ready),))


def test_the_ledger_says_how_many_were_well() -> None:
    ledger = NIGHT.model_copy(update={"sick": sickness.found(shop(2, healthy=1))})
    read = sickness.before(parse(dump(ledger)).sick)
    assert read.unhealthy == {"Deployment shop/api": (2, 3)}
    assert read.broken_budgets == {"shop/api": (1, 2)}


def test_a_ledger_that_names_them_alone_is_read_and_leaves_them_out() -> None:
    older = {**json.loads(dump(NIGHT)), "sick": {"unhealthy": ["Deployment shop/api"], "broken_budgets": ["shop/api"]}}
    ledger = parse(json.dumps(older))
    read = sickness.before(ledger.sick)
    assert read.unhealthy == {"Deployment shop/api": (0, 0)}
    assert read.broken_budgets == {"shop/api": (0, 0)}
    assert parse(dump(ledger)) == ledger


def test_what_is_well_again_was_broken_no_longer() -> None:
    ledger = NIGHT.model_copy(update={"sick": sickness.found(shop(2, healthy=1))})
    assert sickness.without_recovered(ledger, shop(2, healthy=1)) == ledger
    recovered = sickness.without_recovered(ledger, shop(3, healthy=2))
    assert sickness.before(recovered.sick) == sickness.before(NIGHT.sick)


def test_what_wants_no_pods_has_not_recovered() -> None:
    ledger = NIGHT.model_copy(update={"sick": sickness.found(shop(2, healthy=1))})
    assert sickness.without_recovered(ledger, shop(0, healthy=1, desired=0)) == ledger


def test_who_is_rolled_out_as_the_run_begins_is_missed_once_it_was_there() -> None:
    there = MemoryWorld.simple(2, replicas=0, boot=60.0)
    there.add_workload(seeds.Workload("late", replicas=2, ready_after=30.0))
    run = run_for(there, canary=False)
    prepare(run, "workers")
    sick = lock.require(run).ledger.sick
    assert sick is not None
    assert sick.unhealthy == {"Deployment default/late": (0, 2)}

    batch = next(b for b in run.plan.batches if any(pod.node == b.machines[0].node for pod in there.cluster.pods()))
    for name in (StepName.ADMIT, StepName.LAUNCH, StepName.CORDON, StepName.DRAIN, StepName.TERMINATE):
        for _ in range(200):
            STEPS[name].act(run, batch)
            if isinstance(STEPS[name].look(run, batch), Done):
                break
            there.clock.wait(1.0)

    STEPS[StepName.GATE].act(run, batch)
    waiting = STEPS[StepName.GATE].look(run, batch)
    assert isinstance(waiting, Waiting)
    assert any(reason.startswith("gate: Deployment default/late: ") for reason in waiting.reasons)
