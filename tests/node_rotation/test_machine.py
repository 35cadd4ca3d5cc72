"""One machine, outside any plan: each call does its part, and no more than it may."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from tests.node_rotation.balancers import DELAY_S, Traffic, served_world, web
from tests.node_rotation.eks_world import world as managed_world
from tests.node_rotation.steps.test_volumes import stateful

from node_rotation import machine
from node_rotation.errors import BadInputError, BlockedError, PermanentError
from node_rotation.run import Run
from node_rotation.sweep import Swept, sweep
from node_rotation.testing.faults import Crash, Mutation
from node_rotation.testing.seeds import DisruptionBudget, Fault, Workload
from node_rotation.testing.world import MemoryWorld
from node_rotation.workloads.do_not_disrupt import DO_NOT_DISRUPT
from node_rotation.world.aws import Instance


@pytest.fixture
def world() -> MemoryWorld:
    return MemoryWorld.simple(machines=3)


@pytest.fixture
def run(world: MemoryWorld) -> Iterator[Run]:
    with machine.holding(world.settings(), world.cloud, world.cluster, world.clock, "cli-1") as held:
        yield held


def find(run: Run, name: str) -> machine.Machine:
    return machine.find(run.settings, run.look(), name)


def pods_on(world: MemoryWorld, node: str | None) -> list[str]:
    return [p.key for p in world.cluster.pods() if p.node == node and p.owner and p.owner.kind != "DaemonSet"]


def test_it_is_found_by_node_name_or_instance_id(world: MemoryWorld, run: Run) -> None:
    node = world.cluster.nodes()[0]
    by_name, by_id = find(run, node.name), find(run, node.instance_id)
    assert by_name == by_id
    assert by_name.asg == world.asg("workers")


def test_what_is_not_there_is_bad_input(run: Run) -> None:
    with pytest.raises(BadInputError, match="no machine 'i-nowhere'"):
        find(run, "i-nowhere")


def test_a_machine_that_eks_manages_is_found_with_its_groups_policy_and_never_detached() -> None:
    memory = managed_world()
    settings = memory.settings(drain={"timeout": "7m"})
    with machine.holding(settings, memory.cloud, memory.cluster, memory.clock, "cli-1") as run:
        found = find(run, memory.cluster.nodes()[0].name)
        assert (found.asg, found.policy.drain.timeout) == (memory.asg("workers"), 420.0)
        before = len(memory.mutations)
        with pytest.raises(BlockedError, match="belongs to a managed node group"):
            machine.detach(run, found, for_good=True)
        assert len(memory.mutations) == before


def test_a_drain_empties_the_node_and_leaves_it_cordoned(world: MemoryWorld, run: Run) -> None:
    found = find(run, world.cluster.nodes()[0].name)
    said: list[str] = []
    machine.drain(run, found, said.append)
    node = next(n for n in world.cluster.nodes() if n.name == found.node)
    assert node.unschedulable
    assert pods_on(world, found.node) == []
    assert said
    assert len(world.cluster.nodes()) == 3


def test_a_pod_that_comes_back_to_the_cordoned_node_is_evicted_once_and_then_left() -> None:
    alone = MemoryWorld.simple(1, replicas=0)
    alone.add_workload(Workload("api", replicas=2, tolerate_everything=True))
    alone.clock.wait(30.0)
    first = {pod.uid for pod in alone.cluster.pods() if pod.labels["app"] == "api"}
    (node,) = alone.cluster.nodes()
    with machine.holding(alone.settings(), alone.cloud, alone.cluster, alone.clock, "cli-1") as run:
        machine.drain(run, find(run, node.name))
        assert len([m for m in alone.mutations if m.action == "evict"]) == 2
        assert pods_on(alone, node.name)
        assert not first & {pod.uid for pod in alone.cluster.pods()}
        machine.terminate(run, find(run, node.name))


def test_detached_drained_terminated_and_its_node_deleted(world: MemoryWorld, run: Run) -> None:
    found = find(run, world.cluster.nodes()[0].name)
    machine.detach(run, found, for_good=True)
    machine.detach(run, found, for_good=True)
    machine.drain(run, found)
    machine.terminate(run, found)
    machine.delete_node(run, found)
    assert world.clock.run_until(world.settled, 600.0)
    group = world.cloud.groups([world.asg("workers")])[world.asg("workers")]
    assert (group.desired, len(group.members)) == (3, 3)
    assert group.member(found.instance_id) is None
    assert found.node not in [n.name for n in world.cluster.nodes()]
    assert world.orphans() == ()


def test_without_detach_the_group_replaces_it_after_termination(world: MemoryWorld, run: Run) -> None:
    found = find(run, world.cluster.nodes()[0].name)
    machine.drain(run, found)
    machine.terminate(run, found)
    assert world.clock.run_until(world.settled, 600.0)
    assert world.cloud.groups([world.asg("workers")])[world.asg("workers")].desired == 3


def test_a_machine_with_pods_is_not_terminated(world: MemoryWorld, run: Run) -> None:
    found = find(run, world.cluster.nodes()[0].name)
    before = len(world.mutations)
    with pytest.raises(BlockedError, match="not drained"):
        machine.terminate(run, found)
    assert len(world.mutations) == before


def test_the_node_of_a_running_machine_is_not_deleted(world: MemoryWorld, run: Run) -> None:
    found = find(run, world.cluster.nodes()[0].name)
    with pytest.raises(BlockedError, match="still runs"):
        machine.delete_node(run, found)


def test_a_budget_that_never_allows_a_disruption_blocks_by_name() -> None:
    stuck = Workload("stuck", replicas=1, budget=DisruptionBudget(max_unavailable=0))
    world = MemoryWorld.simple(machines=2)
    world.add_workload(stuck)
    world.clock.run_until(world.settled, 600.0)
    home = next(p.node for p in world.cluster.pods() if p.name.startswith("stuck"))
    with (
        pytest.raises(BlockedError, match="stuck"),
        machine.holding(world.settings(), world.cloud, world.cluster, world.clock, "cli-1") as run,
    ):
        machine.drain(run, find(run, home))
    assert world.cluster.lease() is None
    assert [p for p in world.cluster.pods() if p.name.startswith("stuck")]


def test_a_drain_that_takes_too_long_is_given_up() -> None:
    world = MemoryWorld.simple(machines=2, stops_after=500.0)
    settings: Any = world.settings(drain={"timeout": "60s"})
    with (
        pytest.raises(BlockedError, match=r"pods did not leave: 1 min 0 s are over \(pod default/"),
        machine.holding(settings, world.cloud, world.cluster, world.clock, "cli-1") as run,
    ):
        machine.drain(run, find(run, world.cluster.nodes()[0].name))


def test_a_single_replica_is_rolled_as_in_a_rotation() -> None:
    world = MemoryWorld.simple(machines=3, replicas=0)
    world.add_workload(Workload("solo", budget=DisruptionBudget(min_available=1)))
    assert world.clock.run_until(world.settled, 600.0)
    home = next(p.node for p in world.cluster.pods() if p.labels.get("app") == "solo")
    settings = world.settings(drain={"roll_single_replicas": True})
    with machine.holding(settings, world.cloud, world.cluster, world.clock, "cli-1") as run:
        machine.drain(run, find(run, home))
    assert pods_on(world, home) == []
    assert [m.action for m in world.mutations if m.action in ("roll", "evict")] == ["roll"]


def test_a_node_that_asks_not_to_be_disrupted_is_named_at_once() -> None:
    world = MemoryWorld.simple(machines=2)
    node = world.cluster.nodes()[0]
    world.cluster.annotate(node.name, node.uid, {DO_NOT_DISRUPT: "true"})
    settings = world.settings(drain={"do_not_disrupt": "block"})
    with (
        pytest.raises(BlockedError, match=f"node {node.name} asks not to be disrupted"),
        machine.holding(settings, world.cloud, world.cluster, world.clock, "cli-1") as run,
    ):
        machine.drain(run, find(run, node.name))


@pytest.mark.parametrize(("waits_for", "timing"), [("pods", {"stops_after": 900.0}), ("EC2", {"shutdown": 900.0})])
def test_whoever_waits_long_keeps_the_lock(waits_for: str, timing: dict[str, float]) -> None:
    world = MemoryWorld.simple(machines=2, replicas=2, **timing)
    settings = world.settings(drain={"timeout": "30m"}, terminate_timeout="30m", lock_duration="120s")
    seen: list[Swept] = []

    def somebody_sweeps() -> None:
        seen.append(sweep(settings, world.cloud, world.cluster, world.clock, "sweep-1", world.outside.value()))

    world.clock.after(600.0, somebody_sweeps)
    with machine.holding(settings, world.cloud, world.cluster, world.clock, "cli-1") as run:
        found = find(run, world.cluster.nodes()[0].name)
        machine.drain(run, found)
        machine.terminate(run, found)
    assert seen == [Swept(held_by="cli-1")], waits_for
    assert world.cluster.lease() is None


def test_a_machine_that_was_detached_earlier_is_terminated_all_the_same(world: MemoryWorld, run: Run) -> None:
    name = world.cluster.nodes()[0].name
    machine.detach(run, find(run, name), for_good=False)
    world.clock.wait(60.0)
    run.look.forget()
    found = find(run, name)
    assert found.asg is None
    machine.drain(run, found)
    machine.terminate(run, found)
    instance = world.cloud.instances([found.instance_id]).get(found.instance_id)
    assert instance is None or instance.state == "terminated"


def test_while_a_run_is_at_work_nothing_is_touched(world: MemoryWorld) -> None:
    ledger = '{"run": "run-7", "plan": "p", "cluster": "dev.dev"}'
    world.cluster.create_lease("run-7", 600.0, {"node-rotation/ledger": ledger})
    before = len(world.mutations)
    with (
        pytest.raises(BlockedError, match="run-7"),
        machine.holding(world.settings(), world.cloud, world.cluster, world.clock, "cli-1"),
    ):
        pytest.fail("the lock is another's")
    assert len(world.mutations) == before


def holding(world: MemoryWorld, **policy: Any) -> Any:
    return machine.holding(world.settings(**policy), world.cloud, world.cluster, world.clock, "cli-1")


def test_a_machine_goes_only_when_its_volumes_are_detached() -> None:
    world = stateful(detach_s=25.0)
    taken: list[str] = []

    def goes(instance: Instance) -> None:
        if instance.state == "shutting-down":
            nodes = {n.name for n in world.objects.nodes.values() if n.instance_id == instance.id}
            taken.extend(v.name for v in world.cluster.volumes() if nodes & set(v.attached))

    world.ec2.on_state.insert(0, goes)
    said: list[str] = []
    with holding(world) as run:
        found = find(run, world.cluster.nodes()[0].name)
        machine.drain(run, found)
        machine.terminate(run, found, said.append)
    assert taken == []
    assert any("is still attached to node" in line for line in said)
    assert found.instance_id not in world.ec2.alive


@pytest.mark.parametrize("call", ["detach", "drain", "terminate"])
def test_a_protected_machine_is_not_touched_by_whoever_wants_it_terminated(call: str) -> None:
    world = MemoryWorld.simple(6, replicas=0)
    with holding(world) as run:
        found = find(run, world.cluster.nodes()[0].name)
        world.ec2.change(found.instance_id, termination_protected=True)
        before = len(world.mutations)
        with pytest.raises(BlockedError, match=f"instance {found.instance_id} is protected from termination") as why:
            {
                "detach": lambda: machine.detach(run, found, for_good=True),
                "drain": lambda: machine.drain(run, found, for_good=True),
                "terminate": lambda: machine.terminate(run, found),
            }[call]()
        assert len(world.mutations) == before
    assert why.value.blocked.remedy.endswith("then start again.")
    assert found.instance_id in world.ec2.alive


@pytest.mark.parametrize("health_check", ["EC2", "ELB"])
def test_a_machine_that_goes_for_good_leaves_its_target_groups_before_its_pods_leave(health_check: str) -> None:
    world = served_world(3, health_check=health_check)
    traffic = Traffic(world)
    with holding(world) as run:
        found = find(run, world.cluster.nodes()[0].name)
        machine.drain(run, found, for_good=True)
        machine.terminate(run, found)
        machine.delete_node(run, found)
    assert traffic.cut == []
    assert (traffic.drained_while_serving == []) is (health_check == "EC2"), "there, Auto Scaling would replace it"
    assert not world.monitor.violations
    assert world.clock.run_until(world.settled, 600.0)
    assert len(world.targets.healthy(web(world))) == 3


def test_who_drains_and_then_terminates_cuts_no_connection_either() -> None:
    world = served_world(3)
    traffic = Traffic(world)
    with holding(world) as run:
        found = find(run, world.cluster.nodes()[0].name)
        machine.drain(run, found)
        assert found.instance_id in world.targets.healthy(web(world)), "it may come back"
        began = world.clock.now()
        machine.terminate(run, found)
    assert traffic.cut == []
    assert world.clock.now() - began >= DELAY_S


def test_the_last_healthy_target_stays_and_is_named() -> None:
    world = served_world(2)
    one, other = world.on_image("base-old")
    world.targets.sick.add(other)
    world.targets.check(other)
    with (
        pytest.raises(BlockedError, match=f"instance {one} is the last healthy one in target group web"),
        holding(world, deregister_timeout="2m") as run,
    ):
        machine.drain(run, find(run, one), for_good=True)
    assert world.targets.healthy(web(world)) == {one}
    assert not [m for m in world.mutations if m.action in ("DeregisterTargets", "evict")]


def test_a_machine_that_can_not_be_drained_serves_again() -> None:
    world = served_world(3)
    world.disruption.change("default", "web", max_unavailable=0)
    world.clock.wait(5.0)
    with pytest.raises(BlockedError, match="default/web"), holding(world) as run:
        machine.drain(run, find(run, world.cluster.nodes()[0].name), for_good=True)
    world.clock.wait(60.0)
    assert len(world.targets.healthy(web(world))) == 3


def test_so_does_one_whose_drain_fails_for_good() -> None:
    world = served_world(3)
    world.journal.faults.append(Fault("error", service="kubernetes", action="evict", code="Invalid"))
    with pytest.raises(PermanentError, match="Invalid"), holding(world) as run:
        machine.drain(run, find(run, world.cluster.nodes()[0].name), for_good=True)
    world.clock.wait(60.0)
    assert len(world.targets.healthy(web(world))) == 3


def test_a_sweep_has_a_machine_serve_again_whose_command_died() -> None:
    world = served_world(3)
    found = world.cluster.nodes()[0]
    with suppress(Crash), holding(world) as run:
        world.journal.on_mutation = dies_once_deregistered
        machine.drain(run, find(run, found.name), for_good=True)
    world.journal.on_mutation = None
    world.clock.wait(1000.0)
    assert len(world.targets.healthy(web(world))) == 2
    assert not sweep(world.settings(), world.cloud, world.cluster, world.clock, "sweep-1").left
    world.clock.wait(60.0)
    assert len(world.targets.healthy(web(world))) == 3


def dies_once_deregistered(mutation: Mutation) -> None:
    if mutation.action == "DeregisterTargets":
        raise Crash
