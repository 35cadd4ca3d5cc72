"""Others change a group while it rotates, in both worlds."""

from __future__ import annotations

from tests.node_rotation.contract.conftest import WORKERS, World

from node_rotation import detect, engine
from node_rotation.fleet import Fleet
from node_rotation.names import MARK
from node_rotation.planning import make_plan

POLICY = {"canary": False, "poll": "1s", "gate": {"settle": "0s"}, "image": {"template": True}}
FLEET = {
    "environments": [
        {
            "name": "dev",
            "clusters": [
                {
                    "name": "dev",
                    "aws": {"region": "eu-central-1"},
                    "policy": POLICY,
                    "groups": [{"name": "workers", "asg": WORKERS}],
                }
            ],
        }
    ]
}


def test_a_size_that_somebody_changes_midway_is_kept(world: World) -> None:
    (old, *_) = world.members()
    world.cloud.tag_instances([old], {MARK: "true"})
    settings = Fleet.model_validate(FLEET).settings("dev")
    cloud, cluster, clock = world.cloud, world.cluster, world.clock
    snapshot = detect.observe(settings, cloud, cluster, clock)
    drift = detect.detect(settings, "workers", cloud, cluster, clock, snapshot=snapshot)
    run = detect.make_run("run-1", make_plan(settings, [drift], snapshot, clock.now()), settings, cloud, cluster, clock)
    assert [m.instance_id for batch in run.plan.batches for m in batch.machines] == [old]

    def grow(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step == "drain":
            cloud.set_sizes(WORKERS, desired=world.group().desired + 1)

    result = engine.rotate(run, grow)

    assert result.ok, result
    group = world.group()
    assert (group.min, group.max, group.desired) == (2, 5, 4)
    world.eventually(lambda: len(world.members()) == 4)
    assert old not in world.members()
    assert result.ledger is not None
    assert [(one.object, one.what) for one in result.ledger.others] == [(f"asg {WORKERS}", "desired 3 → 4")]
