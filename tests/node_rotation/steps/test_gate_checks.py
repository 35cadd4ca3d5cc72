"""A user's own checks at the gate."""

from __future__ import annotations

from tests.node_rotation.crashes import after, run_for
from tests.node_rotation.web import Site, site

from node_rotation import engine
from node_rotation.testing.world import MemoryWorld


def rotated(world: MemoryWorld, shop: Site, recovers_after_s: float) -> tuple[engine.Result, list[str]]:
    """A rotation whose first drain breaks the shop for a while."""
    said: list[str] = []

    def listen(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and (event.batch, event.step) == ("workers/1", "terminate"):
            shop.status = 503
            world.clock.after(recovers_after_s, lambda: setattr(shop, "status", 200))
        elif isinstance(event, engine.BatchWaits):
            said.extend(event.reasons)

    gate = {"settle": "3s", "timeout": "60s", "checks": [{"http": shop.address}]}
    return engine.rotate(run_for(world, gate=gate), listen), said


def test_a_gate_waits_for_a_check_that_comes_back() -> None:
    with site() as shop:
        result, said = rotated(MemoryWorld.simple(2, replicas=2), shop, 30.0)
        assert result.ok
        assert result.ended_at - result.started_at > 30.0
        assert f"gate: check {shop.address}: answered 503, not 200" in said


def test_a_check_that_stays_red_fails_the_gate_by_name_and_holds_the_rest() -> None:
    world = MemoryWorld.simple(2, replicas=2)
    with site() as shop:
        result, _ = rotated(world, shop, 9e6)
        ((name, why),) = result.failed
        assert (name, result.skipped) == ("workers/1", ("workers/2",))
        assert f"check {shop.address}: answered 503, not 200" in why.reason
        assert not why.image_fault
        world.clock.wait(60.0)
        assert after(world).clean


def test_a_check_that_is_red_before_blocks_the_plan() -> None:
    world = MemoryWorld.simple(2, replicas=2)
    with site() as shop:
        shop.status = 500
        run = run_for(world, gate={"checks": [{"http": shop.address}]})
        (blocker,) = run.plan.blockers
        assert blocker.objects == ("group workers", f"check {shop.address}")
        assert "not green before the rotation" in blocker.reason
        assert engine.rotate(run).blocked is not None
        assert world.mutations == []
