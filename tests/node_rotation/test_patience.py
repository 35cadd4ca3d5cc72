"""An API server that refuses a run midway: one that has just started does so for a moment, a lost right for good."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException
from tests.node_rotation import masters
from tests.node_rotation.crashes import run_for

from node_rotation import engine, patience
from node_rotation.clients.kubernetes_errors import translate
from node_rotation.ending import DEAF_S
from node_rotation.errors import RefusedError, RotationError
from node_rotation.outcome import Blocked, Waiting
from node_rotation.patience import REFUSED_S, Patience
from node_rotation.run import Run
from node_rotation.testing.world import MemoryWorld

Refuses = Callable[[], bool]


def error(status: int) -> RotationError:
    return translate(ApiException(status=status, reason="refused"), "list", "nodes")


def refusing(world: MemoryWorld, call: str, status: int, refuses: Refuses) -> None:
    """A call of the cluster that the API server refuses, as long as it does."""
    real = getattr(world.cluster, call)

    def called(*args: Any, **kwargs: Any) -> Any:
        if refuses():
            raise error(status)
        return real(*args, **kwargs)

    setattr(world.cluster, call, called)


def joined(world: MemoryWorld, run: Run) -> Callable[[], float]:
    """Seconds since the first new machine has a Node; negative before."""
    old = {machine.instance_id for batch in run.plan.batches for machine in batch.machines}
    since: list[float] = []

    def seconds() -> float:
        if not since and any(node.instance_id not in old for node in world.controllers.objects.nodes.values()):
            since.append(world.clock.now())
        return world.clock.now() - since[0] if since else -1.0

    return seconds


@pytest.mark.parametrize("call", ["nodes", "lease"])
@pytest.mark.parametrize("status", [401, 403])
def test_a_master_that_has_just_started_and_refuses_everybody_ends_no_run(status: int, call: str) -> None:
    """Behind a load balancer: every third request is its."""
    world = masters.kops()
    run = run_for(world, **masters.probed(world))
    since, asked = joined(world, run), iter(range(10**9))
    refusing(world, call, status, lambda: 0.0 <= since() < 20.0 and next(asked) % 3 == 2)
    result = engine.rotate(run)
    assert (result.ok, result.failed, result.blocked) == (True, (), None)
    assert next(asked) > 3


def test_a_right_that_is_lost_for_good_fails_the_batch_after_some_minutes_with_its_remedy() -> None:
    world = masters.kops()
    run = run_for(world, **masters.probed(world))
    since = joined(world, run)
    until: list[float] = []
    refusing(world, "nodes", 403, lambda: since() >= 0.0 and not until)

    def hear(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.failed and not until:
            until.append(event.at)

    refused_at = world.clock.now()
    result = engine.rotate(run, hear)
    batch, why = result.failed[0]
    assert (batch, why.remedy) == ("master-a/1", "Grant the verb 'list' to this identity (ClusterRole node-rotation).")
    assert until[0] - refused_at > REFUSED_S
    assert not world.residue()


def test_a_lock_that_can_not_be_read_for_good_ends_the_run_which_gives_back_once_it_can() -> None:
    world = masters.kops()
    run = run_for(world, **masters.probed(world))
    since = joined(world, run)
    refusing(world, "lease", 403, lambda: 0.0 <= since() < DEAF_S + 60.0)
    result = engine.rotate(run)
    assert result.blocked is not None
    assert "we are not allowed" in result.blocked.reason
    assert not world.residue()


def test_whoever_is_refused_at_first_contact_is_told_at_once() -> None:
    world = masters.kops()
    run = run_for(world, **masters.probed(world))
    began = world.clock.now()
    refusing(world, "lease", 403, lambda: True)
    result = engine.rotate(run)
    assert result.blocked is not None
    assert "we are not allowed" in result.blocked.reason
    assert world.clock.now() - began < 10.0
    assert not world.mutations


def test_patience_begins_anew_with_every_answer() -> None:
    blocked = Blocked("we are not allowed to list nodes", ("nodes",), "Grant the verb.")
    refused, asking = patience.waiting(RefusedError(blocked)), Patience()
    assert asking.spent(refused, 0.0) is None
    assert asking.spent(refused, REFUSED_S) is None
    assert asking.spent(Waiting(("pod shop/a",)), REFUSED_S + 1.0) is None
    assert asking.spent(refused, REFUSED_S + 2.0) is None
    assert asking.spent(refused, 2 * REFUSED_S + 3.0) == blocked
