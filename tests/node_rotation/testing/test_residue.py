"""What was left is named from the world itself, without asking the rotation."""

from __future__ import annotations

GROUP = "dev-workers"


def test_a_detached_machine_is_an_orphan_until_it_is_gone_or_back(build):
    world = build()
    old = world.on_image("old")[0]

    world.cloud.detach(GROUP, [old])
    assert world.orphans() == (old,)
    world.cloud.terminate(old)
    assert world.orphans() == ()


def test_everything_a_rotation_leaves_is_residue(build):
    world = build()
    node = world.cluster.nodes()[0]
    world.cloud.suspend(GROUP, ["AZRebalance"])
    world.cloud.set_sizes(GROUP, desired=4)
    world.cloud.tag_group(GROUP, {"node-rotation/baseline": "{}"})
    world.cloud.tag_instances([node.instance_id], {"node-rotation/run": "run-1"})
    world.cluster.cordon(node.name, node.uid)
    world.cluster.taint(node.name, node.uid, ("node-rotation/old", "", "PreferNoSchedule"))
    world.cluster.annotate(node.name, node.uid, {"node-rotation/cordoned-by": "run-1"})
    world.cluster.create_lease("run-1", 60, {})

    assert world.residue() == (
        "the Lease is held by run-1",
        "dev-workers: min, max, desired (0, 6, 4) instead of (0, 6, 3)",
        "dev-workers: AZRebalance suspended",
        "dev-workers: tag node-rotation/baseline",
        f"{node.instance_id}: tag node-rotation/run",
        f"{node.name}: taint node-rotation/old",
        f"{node.name}: annotation node-rotation/cordoned-by",
        f"{node.name}: cordoned",
    )
