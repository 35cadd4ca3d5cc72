"""A rotation of the workers of either world."""

from __future__ import annotations

from typing import Any

from tests.node_rotation.contract.conftest import WORKERS, World

from node_rotation import detect
from node_rotation.fleet import Fleet
from node_rotation.names import MARK
from node_rotation.planning import make_plan
from node_rotation.run import Run

POLICY: dict[str, Any] = {"canary": False, "poll": "1s", "gate": {"settle": "0s"}, "image": {"template": True}}


def planned(world: World, marked: list[str], **policy: Any) -> Run:
    """A run that replaces these machines, which somebody has marked, and no others."""
    for machine in marked:
        world.cloud.tag_instances([machine], {MARK: "true"})
    cluster = {
        "name": "dev",
        "aws": {"region": "eu-central-1"},
        "policy": {**POLICY, **policy},
        "groups": [{"name": "workers", "asg": WORKERS}],
    }
    fleet = Fleet.model_validate({"environments": [{"name": "dev", "clusters": [cluster]}]})
    settings, parts = fleet.settings("dev"), (world.cloud, world.cluster, world.clock)
    snapshot = detect.observe(settings, *parts)
    drift = detect.detect(settings, "workers", *parts, snapshot=snapshot)
    plan = make_plan(settings, [drift], snapshot, world.clock.now())
    assert {m.instance_id for batch in plan.batches for m in batch.machines} == set(marked)
    return detect.make_run("run-1", plan, settings, *parts)
