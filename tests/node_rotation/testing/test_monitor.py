"""The monitor remembers the worst moments."""

from __future__ import annotations

from node_rotation.testing.seeds import DisruptionBudget, Workload

GROUP = "dev-workers"
WEB = Workload("web", replicas=3, spread="hostname", budget=DisruptionBudget(max_unavailable=1))


def test_an_eviction_within_the_budget_is_no_violation(build, pods):
    world = build(WEB)

    world.cluster.evict(pods(world, "web")[0])
    world.clock.wait(10)

    assert world.monitor.violations == []
    assert world.monitor.min_healthy == {"default/web": 2}
    assert round(world.monitor.min_available_share["default/web"], 2) == 0.67


def test_pods_deleted_past_their_budget_are_a_violation(build, pods):
    world = build(WEB)

    for pod in pods(world, "web")[:2]:
        world.cluster.delete_pod(pod)

    (violation,) = world.monitor.violations
    assert (violation.budget, violation.healthy, violation.desired) == ("default/web", 1, 2)
    assert violation.cause == "deletion"


def test_a_machine_terminated_under_its_pods_is_a_violation_at_once(build):
    world = build(WEB)

    for instance_id in world.on_image("old")[:2]:
        world.cloud.terminate(instance_id)

    (violation,) = world.monitor.violations
    assert violation.cause == "machine gone"


def test_a_node_that_fails_by_itself_is_nobody_s_violation(build):
    world = build(WEB)

    for node in world.cluster.nodes()[:2]:
        world.fail_node(node.name)

    assert world.monitor.violations == []
    assert world.monitor.min_healthy == {"default/web": 1}


def test_extra_and_unavailable_machines_are_counted_against_the_size(build, node_of):
    world = build()
    old = world.on_image("old")
    world.cloud.detach(GROUP, old[:1])
    world.clock.wait(1)
    assert (world.monitor.max_extra[GROUP], world.monitor.max_unavailable[GROUP]) == (1, 0)
    world.clock.wait(10)

    for instance_id in old[:2]:
        node = node_of(world, instance_id)
        world.cluster.cordon(node.name, node.uid)

    assert (world.monitor.max_extra[GROUP], world.monitor.max_unavailable[GROUP]) == (1, 1)


def test_slots_in_the_ledger_are_counted_by_whoever_can_read_it(build):
    world = build()
    world.monitor.claims_in_use = lambda annotations: {"workers": int(annotations["slots"])}
    lease = world.cluster.create_lease("run-1", 60, {"slots": "2"})
    world.cluster.update_lease(lease, holder="run-1", duration_s=60, annotations={"slots": "1"}, renewed_at=0)

    assert world.monitor.max_claimed == {"workers": 2}
