"""EKS in memory rolls managed groups as its user guide says.

https://docs.aws.amazon.com/eks/latest/userguide/managed-node-update-behavior.html
"""

from __future__ import annotations

import pytest
from tests.node_rotation.eks_world import NEW, NEW_RELEASE, OLD, nodegroup, world

from node_rotation.testing import seeds
from node_rotation.testing.managed_values import UpdateRecord
from node_rotation.testing.scaling_values import AwsFault, GroupChange
from node_rotation.testing.world import MemoryWorld


def update(memory: MemoryWorld, *, force: bool = False) -> UpdateRecord:
    return memory.eks.update_version("dev", "workers", release=NEW_RELEASE, force=force)


def ended(memory: MemoryWorld, started: UpdateRecord) -> UpdateRecord:
    assert memory.clock.run_until(lambda: started.status != "InProgress", 7200.0)
    return started


def size(memory: MemoryWorld) -> tuple[int, int]:
    group = memory.scaling.group(memory.asg("workers"))
    return group.max_size, group.desired


@pytest.mark.parametrize(("at_once", "extra"), [(1, 6), (2, 6), (8, 8)])
def test_scale_up_is_two_per_zone_or_as_many_as_go_at_once(at_once: int, extra: int) -> None:
    memory = world(nodegroup(machines=9, max_unavailable=at_once))
    maximum, desired = size(memory)
    started = update(memory)
    memory.clock.wait(1.0)
    assert size(memory) == (maximum + extra, desired + extra)
    assert ended(memory, started).status == "Successful"
    assert size(memory) == (maximum, desired)


def test_old_nodes_take_no_pods_and_no_traffic_once_a_new_one_is_ready_in_every_zone() -> None:
    memory = world()
    update(memory)
    memory.clock.wait(2.5)
    assert not any(node.unschedulable for node in memory.objects.nodes.values())
    memory.clock.wait(5.0)
    old = [n for n in memory.objects.nodes.values() if n.instance_id in memory.on_image(OLD)]
    assert old
    assert all(node.unschedulable for node in old)
    assert all(node.labels["node.kubernetes.io/exclude-from-external-load-balancers"] == "true" for node in old)
    assert len({memory.ec2.found[i].zone for i in memory.on_image(NEW)}) == 3


def test_never_more_machines_go_at_once_than_the_configuration_says() -> None:
    memory = world(nodegroup(machines=6, max_unavailable_percentage=34))
    most = 0

    def watch() -> bool:
        nonlocal most
        leaving = [i for i in memory.ec2.found.values() if i.state == "shutting-down"]
        most = max(most, len(leaving))
        return started.status != "InProgress"

    started = update(memory)
    assert memory.clock.run_until(watch, 7200.0)
    assert most == 2


def test_an_empty_machine_is_kept_for_a_minute() -> None:
    memory = world(nodegroup(machines=1, zones=("a",)), replicas=1)
    (old,) = memory.on_image(OLD)
    started = update(memory)
    node = memory.objects.nodes[memory.ec2.found[old].private_dns].name

    def is_empty() -> bool:
        return not [p for p in memory.objects.pods_of_node(node) if p.labels["app"] == "web"]

    assert memory.clock.run_until(is_empty, 60.0)
    empty = memory.clock.now()
    assert memory.clock.run_until(lambda: memory.ec2.found[old].state == "shutting-down", 120.0)
    assert 60.0 <= memory.clock.now() - empty <= 62.0
    assert ended(memory, started).status == "Successful"


def test_budgets_are_honoured_for_fifteen_minutes_then_the_update_fails() -> None:
    memory = world(replicas=3)
    memory.disruption.change("default", "web", min_available=3, max_unavailable=None)
    began, started = memory.clock.now(), update(memory)
    ((code, _, nodes),) = ended(memory, started).errors
    assert (started.status, code) == ("Failed", "PodEvictionFailure")
    assert nodes
    assert 900.0 <= memory.clock.now() - began <= 930.0
    assert not memory.monitor.violations


def test_by_force_pods_are_deleted_after_fifteen_minutes() -> None:
    memory = world(nodegroup(machines=1), replicas=1)
    memory.disruption.change("default", "web", min_available=1, max_unavailable=None)
    assert ended(memory, update(memory, force=True)).status == "Successful"


def test_minimal_terminates_before_it_launches() -> None:
    memory = world(nodegroup(machines=2, update_strategy="MINIMAL"), replicas=2)
    assert ended(memory, update(memory)).status == "Successful"
    assert memory.monitor.max_extra[memory.asg("workers")] == 0


def test_minimal_cordons_every_node_of_the_group_in_the_beginning() -> None:
    other = seeds.Group("other", image=OLD, desired=2)
    memory = world(nodegroup(machines=4, update_strategy="MINIMAL"), other, replicas=4)
    started = update(memory)
    memory.clock.wait(5.0)
    ours = {member.instance_id for member in memory.scaling.group(memory.asg("workers")).live()}
    assert len(ours) == 4
    assert {n.instance_id for n in memory.objects.nodes.values() if n.unschedulable} == ours
    assert ended(memory, started).status == "Successful"
    assert not [n.name for n in memory.objects.nodes.values() if n.unschedulable]


def test_two_pods_of_a_tight_budget_on_a_node_of_a_minimal_group_have_nowhere_to_go() -> None:
    """All nodes are cordoned: the first waits for a machine that only comes once the second has left."""
    memory = world(nodegroup(machines=2, update_strategy="MINIMAL"), replicas=4)
    assert ended(memory, update(memory)).errors[0][0] == "PodEvictionFailure"
    assert not memory.monitor.violations


def test_a_scale_up_of_the_autoscaler_ends_the_scale_down() -> None:
    memory = world()
    started, asg = update(memory), memory.asg("workers")
    assert memory.clock.run_until(lambda: not memory.on_image(OLD), 7200.0)
    memory.clock.wait(3.0)
    maximum, desired = size(memory)
    memory.scaling.update(asg, GroupChange(max_size=maximum + 2, desired=desired + 2))
    assert ended(memory, started).status == "Successful"
    assert size(memory)[1] > 3


def test_a_failed_update_is_taken_up_by_the_next_one() -> None:
    memory = world(replicas=3)
    before = size(memory)
    memory.disruption.change("default", "web", min_available=3, max_unavailable=None)
    assert ended(memory, update(memory)).status == "Failed"
    raised = size(memory)
    memory.disruption.change("default", "web", min_available=None, max_unavailable=1)
    again = update(memory)
    memory.clock.wait(1.0)
    assert size(memory) == raised
    assert ended(memory, again).status == "Successful"
    assert size(memory) == before


def test_a_configuration_is_changed_and_checked() -> None:
    memory = world()
    changed = memory.eks.update_config("dev", "workers", max_unavailable=3, strategy="MINIMAL")
    assert (changed.type, changed.params) == ("ConfigUpdate", (("MaxUnavailable", "3"), ("UpdateStrategy", "MINIMAL")))
    with pytest.raises(AwsFault, match="is in progress") as busy:
        update(memory)
    assert busy.value.code == "ResourceInUseException"
    assert ended(memory, changed).status == "Successful"
    group = memory.eks.group("dev", "workers")
    assert (group.max_unavailable, group.strategy) == (3, "MINIMAL")
    for wrong in ({"max_unavailable": 101}, {"max_unavailable": 1, "max_unavailable_percentage": 1}, {"strategy": "X"}):
        with pytest.raises(AwsFault):
            memory.eks.update_config("dev", "workers", **wrong)  # type: ignore[arg-type]
