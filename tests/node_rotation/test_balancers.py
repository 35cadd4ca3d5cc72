"""Rotations behind load balancers: somebody healthy always serves, and nobody is drained or goes while served."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.node_rotation.balancers import DELAY_S, Traffic, carried_out, rotated, served_world, web
from tests.node_rotation.crashes import after, dies, plan_for, run_for, sweep_all

from node_rotation import engine, names
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.aws import Target


def test_machines_leave_their_target_groups_for_good_before_they_are_drained() -> None:
    world = served_world(4)
    traffic = Traffic(world)
    result, said = rotated(world, budget={"max_surge": 2})
    assert result.ok, result
    assert after(world).clean
    assert after(world).old == 0
    assert traffic.cut == traffic.drained_while_serving == []
    assert traffic.fewest == {web(world): 4}, "each replacement serves before its predecessor leaves"
    assert world.targets.healthy(web(world)) == set(world.on_image("base-new"))
    assert any(line.startswith("replacement i-") and "is initial in target group web" in line for line in said)
    assert any("still drains connections of target group web" in line for line in said)


def test_the_watch_over_traffic_sees_what_a_rotation_without_care_does() -> None:
    """The stories above can fail: detaching, accepted by the policy, takes machines out before others serve."""
    world = served_world(4)
    traffic = Traffic(world)
    result, _ = rotated(world, strategy="detach", allow_detach_behind_load_balancer=True)
    assert result.ok, result
    assert traffic.fewest == {web(world): 3}
    assert traffic.cut == traffic.drained_while_serving == []


def test_two_target_groups_and_no_call_that_is_not_needed() -> None:
    world = served_world(3, target_groups=("web", "admin"))
    result, _ = rotated(world)
    assert result.ok
    made = Counter(m.action for m in world.mutations)
    assert made["DeregisterTargets"] == 2 * made["TerminateInstanceInAutoScalingGroup"] >= 2 * 3
    assert made["RegisterTargets"] == 0


def test_groups_without_target_groups_cost_no_call_of_load_balancing() -> None:
    world = MemoryWorld.simple(3)
    rotated(world)
    assert not [action for action in world.journal.calls if "Target" in action]


def test_the_last_healthy_target_stays_until_another_is_healthy() -> None:
    world = served_world(2, workloads=())
    one, other = world.on_image("base-old")
    run = run_for(world, strategy="terminate_first", budget={"max_unavailable": 2}, canary=False)
    world.targets.sick.add(other)
    world.targets.check(other)
    traffic = Traffic(world)
    result, said = carried_out(run)
    assert result.ok, result
    assert traffic.fewest == {web(world): 1}
    assert any(f"instance {one} is the last healthy one in target group web" in line for line in said)


def test_if_no_other_gets_healthy_it_stays_for_good_and_the_remedy_is_named() -> None:
    world = served_world(2)  # their pods' budget takes the two machines in turn, so the sick one is not replaced
    one, other = world.on_image("base-old")
    run = run_for(world, strategy="terminate_first", budget={"max_unavailable": 2}, deregister_timeout="2m")
    world.targets.sick.add(other)
    world.targets.check(other)
    result, _ = carried_out(run)
    ((_, why),) = result.failed
    assert f"instance {one} is the last healthy one in target group web, for 2 min" in why.reason
    assert "Bring another machine of the target group to health" in why.remedy
    assert world.targets.healthy(web(world)) == {one}
    world.clock.wait(120.0)
    assert after(world).clean


def test_two_batches_never_take_out_each_others_last_one() -> None:
    world = served_world(2, workloads=())
    traffic = Traffic(world)
    result, said = rotated(world, strategy="terminate_first", budget={"max_unavailable": 2}, canary=False)
    assert result.ok, result
    assert traffic.fewest == {web(world): 1}
    assert any("is the last healthy one in target group web" in line for line in said)


def test_a_replacement_that_load_balancers_never_reach_goes_and_the_old_machine_never_left() -> None:
    world = served_world(3)
    traffic = Traffic(world)
    old = set(world.on_image("base-old"))
    run = run_for(world)
    world.targets.sick.update(f"i-{number:017x}" for number in range(4, 40))
    result = engine.rotate(run)
    ((_, why),) = result.failed
    assert "is unhealthy in target group web (Target.Timeout), for" in why.reason
    assert "security groups" in why.remedy
    assert not why.image_fault, "a load balancer may miss a machine for many reasons"
    world.clock.wait(120.0)
    assert after(world).clean
    assert world.targets.healthy(web(world)) == old
    assert traffic.fewest == {web(world): 3}


def test_what_was_taken_out_is_put_back_before_its_replacement_goes() -> None:
    """The drain is blocked after the machine has left its target group."""
    world = served_world(2)
    traffic = Traffic(world)
    old = set(world.on_image("base-old"))
    run = run_for(world, drain={"timeout": "30s"})
    world.disruption.change("default", "web", max_unavailable=0)
    result = engine.rotate(run)
    assert not result.ok
    world.clock.wait(120.0)
    assert after(world).clean
    assert world.targets.healthy(web(world)) == old
    assert traffic.fewest[web(world)] >= 1
    assert traffic.cut == []
    assert any(m.action == "RegisterTargets" for m in world.mutations)


def test_neither_do_two_that_are_detached() -> None:
    world = served_world(2, workloads=())
    traffic = Traffic(world)
    policy = {"allow_detach_behind_load_balancer": True, "budget": {"max_surge": 2}, "canary": False}
    result, said = rotated(world, strategy="detach", **policy)
    assert result.ok, result
    assert traffic.fewest == {web(world): 1}
    assert traffic.cut == []
    assert any("can't be detached: nobody else is healthy in target group web" in line for line in said)


@pytest.mark.parametrize("strategy", ["surge", "terminate_first"])
def test_load_balancer_health_checks_replace_nobody_meanwhile_and_go_on_afterwards(strategy: str) -> None:
    world = served_world(3, health_check="ELB")
    plan, _ = plan_for(world, strategy=strategy)
    assert any(note.startswith("HealthCheck of dev-workers is suspended for the run") for note in plan.notes)
    result, _ = rotated(world, strategy=strategy)
    assert result.ok, result
    assert after(world).clean
    world.clock.wait(600.0)
    assert len(world.on_image("base-new")) == 3, "nobody was marked unhealthy on the way"
    causes = [a.cause for a in world.scaling.group("dev-workers").activities]
    assert not any("ELB system health check" in cause for cause in causes)


def test_a_service_that_only_some_machines_answer_for_is_not_asked_of_each_new_one() -> None:
    """As with externalTrafficPolicy: Local: only machines with a pod of the Service are healthy."""
    world = served_world(4)
    some = world.on_image("base-old")[:2]
    quiet = [m for m in world.on_image("base-old") if m not in some]
    world.targets.sick.update(quiet)
    for machine in quiet:
        world.targets.check(machine)
    result, _ = rotated(world)
    assert result.ok, result


def test_a_target_group_that_nobody_served_before_is_not_held_against_anybody() -> None:
    world = served_world(2)
    world.targets.groups[web(world)].in_use = False
    result, _ = rotated(world)
    assert result.ok, result
    assert not any(m.action == "DeregisterTargets" for m in world.mutations)


def test_a_deregistration_that_takes_too_long_is_named_with_what_to_do() -> None:
    world = served_world(2, delay=3600.0)
    result, _ = rotated(world, deregister_timeout="60s")
    ((_, why),) = result.failed
    assert "still drains connections of target group web, for 1 min" in why.reason
    assert "raise deregister_timeout" in why.remedy
    assert result.verdict
    assert not result.verdict.residue, "what its group terminates takes its marks with it"
    world.clock.wait(4000.0)  # Auto Scaling takes the replacement out of the target group, for as long
    assert after(world).clean


def test_its_own_excuse_is_written_on_the_node_before_it_leaves() -> None:
    world = served_world(2)
    marks: list[tuple[str, object]] = []
    world.journal.on_mutation = lambda m: marks.append((m.action, m.args))
    rotated(world)
    left = next(i for i, (action, _) in enumerate(marks) if action == "DeregisterTargets")
    before = [args for action, args in marks[:left] if action == "annotate"]
    assert any(names.LEFT_TARGETS in str(args) for args in before)


def on_port(world: MemoryWorld, port: int) -> None:
    """Whoever registered the machines of the target group named a port, which is not the target group's own."""
    group = world.targets.group(web(world))
    group.ports.update(dict.fromkeys(group.states, port))


def test_machines_on_a_port_of_their_own_leave_it_in_time() -> None:
    world = served_world(2)
    on_port(world, 8080)
    traffic = Traffic(world)
    result, _ = rotated(world)
    assert result.ok, result
    assert traffic.cut == traffic.drained_while_serving == []
    assert after(world).clean


def test_and_come_back_to_it_where_they_stay() -> None:
    """The drain is blocked after the machine has left its target group."""
    world = served_world(2)
    on_port(world, 8080)
    old = world.on_image("base-old")
    run = run_for(world, drain={"timeout": "30s"})
    world.disruption.change("default", "web", max_unavailable=0)
    assert not engine.rotate(run).ok
    world.clock.wait(120.0)
    assert after(world).clean
    assert world.cloud.targets([web(world)])[web(world)] == {i: Target("healthy", ports=(8080,)) for i in old}


@pytest.mark.parametrize("offset", range(4))
def test_wherever_it_dies_a_sweep_leaves_everybody_served(offset: int) -> None:
    for at in range(1 + offset, 400, 4):
        world = served_world(3, delay=10.0)
        traffic = Traffic(world)
        run = run_for(world, budget={"max_surge": 2})
        if not dies(run, world, at, before=offset % 2 == 0):
            return
        swept = sweep_all(world, run)
        assert not swept.left, at
        assert after(world).clean, (at, after(world))
        members = {m.instance_id for m in world.scaling.group("dev-workers").live()}
        assert world.targets.healthy(web(world)) == members, at
        assert traffic.cut == [], at
        assert min(traffic.fewest.values()) >= 2, at


def test_the_same_run_again_goes_on_to_the_end() -> None:
    for at in range(3, 400, 5):
        world = served_world(3, delay=10.0)
        traffic = Traffic(world)
        run = run_for(world)
        if not dies(run, world, at, before=False):
            return
        result = engine.rotate(run_for(world, run.id, plan=run.plan))
        world.clock.wait(60.0)
        assert result.ok, (at, result)
        assert after(world).clean, (at, after(world))
        assert traffic.cut == traffic.drained_while_serving == [], at
        assert traffic.fewest == {web(world): 3}, at


def test_the_delay_is_really_waited_for() -> None:
    quick, slow = served_world(1, delay=0.0), served_world(1, delay=DELAY_S)
    lengths = [r.ended_at - r.started_at for r in (rotated(quick)[0], rotated(slow)[0])]
    assert lengths[1] - lengths[0] >= DELAY_S - 5.0
