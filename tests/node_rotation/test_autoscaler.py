"""The cluster-autoscaler, paused for the run by policy: recorded before, started again whatever happens."""

from __future__ import annotations

from typing import Any

import pytest
from tests.node_rotation.crashes import after, dies, run_for, sweep_all

from node_rotation import engine
from node_rotation.errors import BlockedError
from node_rotation.ledger import parse
from node_rotation.names import LEDGER
from node_rotation.outcome import Blocked, Waiting
from node_rotation.steps.prepare import prepare
from node_rotation.steps.restore import restore, restored
from node_rotation.steps.verify import verify
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld

PAUSE: dict[str, Any] = {"pause": True, "timeout": "60s"}
AUTOSCALER = "Deployment kube-system/cluster-autoscaler"
HTTP: dict[str, Any] = {"http": {"close": {"path": "/close"}, "open": {"path": "/open"}}, "timeout": "60s"}


def a_world(replicas: int = 2, *faults: seeds.Fault) -> MemoryWorld:
    world = MemoryWorld.simple(2, faults=faults)
    world.cluster.objects.found[AUTOSCALER] = {"spec": {"replicas": replicas}}
    return world


def paused_without_a_lease() -> MemoryWorld:
    """A run has paused it; then somebody has deleted its Lease by hand."""
    world = a_world()
    prepare(run_for(world, autoscaler=PAUSE), "workers")
    lease = world.cluster.lease()
    assert lease is not None
    world.cluster.delete_lease(lease)
    return world


def annotations(world: MemoryWorld) -> dict[str, str]:
    return dict(world.cluster.objects.found[AUTOSCALER].get("metadata", {}).get("annotations", {}))


def replicas(world: MemoryWorld) -> int:
    return int(world.cluster.objects.found[AUTOSCALER]["spec"]["replicas"])


def patches(world: MemoryWorld) -> int:
    return sum(m.action == "patch" for m in world.mutations)


def failing(*calls: int) -> seeds.Fault:
    return seeds.Fault("error", service="kubernetes", action="patch", calls=calls, status=500)


def test_it_is_paused_for_the_run_and_has_its_replicas_back_at_the_end() -> None:
    world = a_world()
    seen: list[int] = []
    events: list[engine.Event] = []

    def listen(event: engine.Event) -> None:
        events.append(event)
        if isinstance(event, engine.BatchMoved):
            seen.append(replicas(world))

    assert engine.rotate(run_for(world, autoscaler=PAUSE), listen).ok
    assert set(seen) == {0}
    assert replicas(world) == 2
    assert any("the cluster-autoscaler of dev.dev is paused" in getattr(e, "text", "") for e in events)
    assert after(world).clean


def test_by_default_nobody_looks_at_it() -> None:
    world = a_world()
    assert engine.rotate(run_for(world)).ok
    assert (world.journal.calls["read"], patches(world)) == (0, 0)


def test_one_that_is_at_0_already_stays_there() -> None:
    world = a_world(0)
    assert engine.rotate(run_for(world, autoscaler=PAUSE)).ok
    assert patches(world) == 0
    assert replicas(world) == 0


def test_one_that_is_not_there_is_one_message_and_nothing_is_touched() -> None:
    world = MemoryWorld.simple(2)
    result = engine.rotate(run_for(world, autoscaler={**PAUSE, "deployment": "scaler"}))
    assert result.blocked is not None
    assert "there is no cluster-autoscaler to pause: Deployment kube-system/scaler is gone" in result.blocked.reason
    assert not world.mutations


def test_what_somebody_else_scales_it_to_is_left() -> None:
    world = a_world()
    run = run_for(world, autoscaler=PAUSE)
    prepare(run, "workers")
    world.cluster.objects.found[AUTOSCALER]["spec"]["replicas"] = 1
    did = restore(run, "workers")
    assert any("somebody else has scaled Deployment kube-system/cluster-autoscaler to 1" in line for line in did)
    assert (replicas(world), annotations(world)) == (1, {})
    assert after(world).clean


def test_one_that_is_deleted_meanwhile_keeps_nobody() -> None:
    world = a_world()
    run = run_for(world, autoscaler=PAUSE)
    prepare(run, "workers")
    del world.cluster.objects.found[AUTOSCALER]
    restore(run, "workers")
    assert after(world).clean


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("again", [True, False])
def test_whenever_a_run_dies_it_runs_again_at_the_end(before: bool, again: bool) -> None:
    deaths = 0
    for at in range(1, 200, 2):
        world = a_world()
        run = run_for(world, autoscaler=PAUSE, intake=HTTP)
        if not dies(run, world, at, before=before):
            break
        deaths += 1
        if again:
            assert engine.rotate(run_for(world, run.id, plan=run.plan, autoscaler=PAUSE, intake=HTTP)).ok, at
            world.clock.wait(60.0)
        else:
            assert not sweep_all(world, run).left, at
        assert replicas(world) == 2, at
        assert after(world).clean, f"{at}: {after(world)}"
    assert deaths > 10


def test_what_can_not_be_started_again_stays_in_the_lease_until_a_sweep_does_it() -> None:
    world = a_world(2, failing(*range(2, 500)))
    run = run_for(world, autoscaler=PAUSE)
    result = engine.rotate(run)
    assert result.verdict is not None
    assert any("cluster-autoscaler is paused" in line for line in result.verdict.residue)
    world.journal.faults.clear()
    assert "the cluster-autoscaler of dev.dev runs again" in sweep_all(world, run).did
    assert replicas(world) == 2
    assert after(world).clean


def test_restore_waits_for_it_and_then_gives_up_with_one_message() -> None:
    world = a_world(2, failing(*range(2, 500)))
    run = run_for(world, autoscaler=PAUSE)
    prepare(run, "workers")
    restore(run, "workers")
    assert isinstance(restored(run, "workers"), Waiting)
    world.clock.wait(61.0)
    restore(run, "workers")
    blocked = restored(run, "workers")
    assert isinstance(blocked, Blocked)
    assert "could not be started again within 60 s" in blocked.reason
    assert any("is paused" in line for line in verify(run).residue)


def test_an_intake_that_refuses_to_open_does_not_keep_it_paused() -> None:
    refusal = seeds.Fault("error", service="http", action="/open", status=403, code="forbidden")
    world = a_world(2, refusal)
    run = run_for(world, autoscaler=PAUSE, intake=HTTP)
    prepare(run, "workers")
    with pytest.raises(BlockedError, match="could not be opened"):
        restore(run, "workers")
    assert replicas(world) == 2
    lease = world.cluster.lease()
    assert lease is not None
    ledger = parse(lease.annotations[LEDGER])
    assert ledger.intake is not None
    assert ledger.autoscaler is None


def test_while_it_is_paused_its_deployment_says_what_it_had() -> None:
    world = a_world()
    run = run_for(world, autoscaler=PAUSE)
    prepare(run, "workers")
    assert annotations(world) == {"node-rotation/replicas": "2"}
    restore(run, "workers")
    assert annotations(world) == {}


@pytest.mark.parametrize("policy", [{}, {"autoscaler": PAUSE}])
def test_a_sweep_starts_it_again_though_its_lease_is_gone(policy: dict[str, Any]) -> None:
    world = paused_without_a_lease()
    run = run_for(world, **policy)
    assert f"{AUTOSCALER}: annotation node-rotation/replicas (2)" in verify(run).residue
    swept = sweep_all(world, run)
    assert swept.left == ()
    assert f"{AUTOSCALER} has 2 replicas again" in swept.did
    assert (replicas(world), annotations(world)) == (2, {})
    assert after(world).clean


def test_the_next_run_starts_it_again_though_the_lease_is_gone() -> None:
    world = paused_without_a_lease()
    engine.rotate(run_for(world, "run-2", autoscaler=PAUSE))
    assert (replicas(world), annotations(world)) == (2, {})


def test_a_run_that_does_not_pause_it_names_what_another_left() -> None:
    world = paused_without_a_lease()
    result = engine.rotate(run_for(world, "run-2"))
    assert result.verdict is not None
    assert f"{AUTOSCALER}: annotation node-rotation/replicas (2)" in result.verdict.residue


def test_what_somebody_else_has_scaled_it_to_since_is_left_and_only_the_annotation_goes() -> None:
    world = paused_without_a_lease()
    world.cluster.objects.found[AUTOSCALER]["spec"]["replicas"] = 1
    assert sweep_all(world, run_for(world)).left == ()
    assert (replicas(world), annotations(world)) == (1, {})


def test_one_that_may_not_be_patched_is_named_and_keeps_nothing_else_from_being_put_back() -> None:
    world = paused_without_a_lease()
    world.journal.faults.append(seeds.Fault("denied", service="kubernetes", action="patch", status=403))
    swept = sweep_all(world, run_for(world))
    assert any(AUTOSCALER in line for line in swept.left)
    assert not [line for line in world.residue() if "cluster-autoscaler" not in line]
