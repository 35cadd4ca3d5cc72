"""Load balancers and autoscaler keep off a machine that is to go, whoever has cordoned it and whatever call failed."""

from __future__ import annotations

import pytest
from tests.node_rotation.crashes import STRATEGIES, after, by, run_for
from tests.node_rotation.steps.test_steps import up_to

from node_rotation import engine, names
from node_rotation.errors import TransientError
from node_rotation.model import Batch, StepName
from node_rotation.outcome import Done, Waiting
from node_rotation.run import Run
from node_rotation.steps import STEPS
from node_rotation.steps.cordon import OURS
from node_rotation.steps.heal import heal
from node_rotation.steps.restore import restore, restored
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.kubernetes import Node


def launched(strategy: str) -> tuple[MemoryWorld, Run, Batch, str]:
    """The first batch is to be cordoned; the name of its machine's Node."""
    world = MemoryWorld.simple(3, replicas=3)
    run = run_for(world, **by(strategy, 1))
    batch = run.plan.batches[0]
    up_to(world, run, batch, StepName.LAUNCH)
    return world, run, batch, batch.machines[0].node or ""


def by_hand(world: MemoryWorld, name: str) -> None:
    with world.journal.acting("somebody"):
        world.cluster.cordon(name, node(world, name).uid)


def node(world: MemoryWorld, name: str) -> Node:
    return world.objects.nodes[name]


def cordoned(world: MemoryWorld, run: Run, batch: Batch) -> None:
    for _ in range(50):
        STEPS[StepName.CORDON].act(run, batch)
        if isinstance(STEPS[StepName.CORDON].look(run, batch), Done):
            return
        world.clock.wait(2.0)
    raise AssertionError(STEPS[StepName.CORDON].look(run, batch))


def given_back(world: MemoryWorld, run: Run, batch: Batch) -> None:
    for _ in range(100):
        heal(run, batch, "its pods may not leave")
        restore(run, batch.group)
        if isinstance(restored(run, batch.group), Done):
            return
        world.clock.wait(2.0)
    raise AssertionError(restored(run, batch.group))


@pytest.mark.parametrize("action", ["annotate", "cordon", "label"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_call_that_fails_once_is_made_again(strategy: str, action: str) -> None:
    world, run, batch, name = launched(strategy)
    number = world.journal.calls[action] + 1
    world.journal.faults.append(seeds.Fault("throttle", action=action, calls=(number,)))
    with pytest.raises(TransientError):
        STEPS[StepName.CORDON].act(run, batch)
    run.look.forget()
    assert isinstance(STEPS[StepName.CORDON].look(run, batch), Waiting)
    cordoned(world, run, batch)
    found = node(world, name)
    assert found.unschedulable
    assert found.labels[names.EXCLUDE_BALANCERS] == OURS
    assert {names.CORDONED_BY, names.KEPT_BY, names.SCALE_DOWN_DISABLED} <= set(found.annotations)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_node_that_somebody_has_cordoned_leaves_load_balancers_too_and_stays_theirs(strategy: str) -> None:
    world, run, batch, name = launched(strategy)
    by_hand(world, name)
    run.look.forget()
    waits = STEPS[StepName.CORDON].look(run, batch)
    assert isinstance(waits, Waiting)
    assert waits.reasons == (f"node {name} is not yet excluded from external load balancers",)
    cordoned(world, run, batch)
    found = node(world, name)
    assert found.labels[names.EXCLUDE_BALANCERS] == OURS
    assert found.annotations[names.SCALE_DOWN_DISABLED] == "true"
    assert names.CORDONED_BY not in found.annotations

    given_back(world, run, batch)
    found = node(world, name)
    assert found.unschedulable, "somebody else has cordoned it"
    assert world.residue() == (f"{name}: cordoned",)
    assert not [m for m in world.mutations if m.action == "uncordon" and m.args["node"] == name]


def test_what_somebody_has_set_stays_theirs() -> None:
    world, run, batch, name = launched("surge")
    by_hand(world, name)
    uid = node(world, name).uid
    world.cluster.label(name, uid, {names.EXCLUDE_BALANCERS: ""})
    world.cluster.annotate(name, uid, {names.SCALE_DOWN_DISABLED: "true"})
    run.look.forget()
    before = len(world.mutations)
    cordoned(world, run, batch)
    assert not [m for m in world.mutations[before:] if m.action in ("annotate", "cordon", "label")]
    given_back(world, run, batch)
    found = node(world, name)
    assert (found.labels[names.EXCLUDE_BALANCERS], found.annotations[names.SCALE_DOWN_DISABLED]) == ("", "true")


def test_a_rotation_that_begins_with_a_node_cordoned_by_hand_ends_clean() -> None:
    world = MemoryWorld.simple(3, replicas=3)
    name = world.cluster.nodes()[0].name
    by_hand(world, name)
    assert engine.rotate(run_for(world)).ok
    world.clock.wait(60.0)
    assert after(world).clean
