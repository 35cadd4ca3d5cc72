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


def bounds(shop: Site) -> list[dict[str, object]]:
    """Two checks on one query: too little traffic, and too much."""
    query = {"prometheus": shop.address, "query": "sum(rate(requests[1m]))"}
    return [{**query, "above": 0.5}, {**query, "below": 100}]


def answer(shop: Site, value: str) -> None:
    """What the site says as a Prometheus."""
    shop.body = f'{{"data": {{"resultType": "scalar", "result": [0, "{value}"]}}}}'.encode()


def test_one_bound_of_a_query_that_is_kept_does_not_hide_the_other() -> None:
    with site() as shop:
        answer(shop, "1")

        def listen(event: engine.Event) -> None:
            if isinstance(event, engine.BatchMoved) and (event.batch, event.step) == ("workers/1", "terminate"):
                answer(shop, "0")

        gate = {"settle": "3s", "timeout": "60s", "checks": bounds(shop)}
        result = engine.rotate(run_for(MemoryWorld.simple(2, replicas=2), gate=gate), listen)
        ((name, why),) = result.failed
        assert (name, result.skipped) == ("workers/1", ("workers/2",))
        assert f"of {shop.address}, above 0.5: 0 is not above 0.5" in why.reason


def test_a_bound_that_is_broken_before_blocks_the_plan_by_its_name() -> None:
    with site() as shop:
        answer(shop, "0")
        (blocker,) = run_for(MemoryWorld.simple(2, replicas=2), gate={"checks": bounds(shop)}).plan.blockers
        assert blocker.objects == ("group workers", f"check sum(rate(requests[1m])) of {shop.address}, above 0.5")


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
