"""A kops control plane, rotated on a clock that jumps: one master at a time, and etcd never loses its quorum."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from tests.node_rotation.crashes import FAST, After, after, by, dies, plan_for, rotate, run_for, sweep_all
from tests.node_rotation.masters import kops, probed
from tests.node_rotation.steps.test_steps import up_to
from tests.node_rotation.test_two_actors import Shadow

from node_rotation import detect, engine, lock, machine, planning
from node_rotation.control_plane import quorum
from node_rotation.errors import BadInputError, BlockedError
from node_rotation.fleet import Settings
from node_rotation.model import Batch, Kind, Plan, Role, StepName
from node_rotation.outcome import Done
from node_rotation.run import Run
from node_rotation.steps import STEPS
from node_rotation.steps.heal import heal
from node_rotation.steps.restore import restore
from node_rotation.testing import seeds
from node_rotation.testing.faults import Mutation
from node_rotation.testing.world import MemoryWorld

STRIDE = 4
POOL = "kops.k8s.io/instancegroup"


def went(world: MemoryWorld) -> list[str]:
    """The groups whose machines were terminated, in that order."""
    calls = [m for m in world.mutations if m.action == "TerminateInstanceInAutoScalingGroup"]
    return [world.ec2.launched_for[m.args["instance_id"]] for m in calls]


def test_one_group_of_three_masters_is_planned_with_the_quorum_of_all() -> None:
    world = kops()
    settings = world.settings(**probed(world))
    seen = detect.observe(settings, world.cloud, world.cluster, world.clock)
    drifts = [
        detect.detect(settings, group, world.cloud, world.cluster, world.clock, snapshot=seen) for group in ["master-a"]
    ]  # as docs/library.md has it
    plan = planning.make_plan(settings, drifts, seen, world.clock.now())
    assert plan.blockers == ()
    assert [b.name for b in plan.batches] == ["master-a/1"]


def plan_of_one(world: MemoryWorld, settings: Settings) -> Plan:
    seen = detect.observe(settings, world.cloud, world.cluster, world.clock)
    ask = partial(detect.detect, settings, cloud=world.cloud, cluster=world.cluster, clock=world.clock, snapshot=seen)
    return planning.make_plan(settings, [ask(group) for group in settings.groups], seen, world.clock.now())


def test_settings_of_one_group_of_three_masters_count_the_quorum_of_all() -> None:
    world = kops()
    settings = world.settings(**probed(world)).only(["master-a"])
    plan = plan_of_one(world, settings)
    assert plan.blockers == ()
    assert [b.name for b in plan.batches] == ["master-a/1"]


def test_another_group_s_master_that_is_not_ready_keeps_the_one_that_was_chosen() -> None:
    """With the outage approved nothing else would have kept it: it was the only master in sight."""
    world = kops()
    settings = world.settings(**probed(world, allow_outage=True)).only(["master-a"])
    seen = detect.observe(settings, world.cloud, world.cluster, world.clock)
    (chosen,) = seen.groups[world.asg("master-a")].members
    (other,) = seen.groups[world.asg("master-b")].members
    nodes = tuple(replace(n, ready=n.ready and n.instance_id != other.instance_id) for n in seen.nodes)
    held = quorum.before(settings, replace(seen, nodes=nodes), [chosen.instance_id])
    assert any("is not Ready" in why and other.instance_id in why for why in held), held


def test_three_masters_one_after_the_other_then_the_workers() -> None:
    world = kops()

    result = rotate(world, **probed(world))

    assert result.ok, result
    assert result.passed == ("master-a/1", "master-b/1", "master-c/1", "nodes/1", "nodes/2")
    assert went(world) == ["prod-master-a", "prod-master-b", "prod-master-c", "prod-nodes", "prod-nodes"]
    assert world.etcd.lost_at == []
    world.clock.wait(60.0)
    assert after(world).clean, after(world)
    assert after(world).old == 0


def test_no_master_s_group_ever_gets_another_machine_on_top() -> None:
    world = kops()

    rotate(world, **probed(world))

    assert {world.monitor.max_extra[world.asg(f"master-{zone}")] for zone in "abc"} == {0}
    assert all(m.action != "SetDesiredCapacity" or "master" not in str(m.args) for m in world.mutations)


def test_taking_two_masters_kills_the_cluster_which_a_rotation_never_does() -> None:
    world = kops()
    for zone in "ab":
        (member,) = world.cloud.groups([f"prod-master-{zone}"])[f"prod-master-{zone}"].members
        world.cloud.terminate(member.instance_id)

    assert len(world.etcd.lost_at) == 1
    assert "no quorum" in world.etcd.away()


def stopped_when(world: MemoryWorld, member: str, batch: str, step: str) -> Any:
    """Somebody else's failure: an etcd member dies as a batch comes to a step."""

    def event(said: engine.Event) -> None:
        if isinstance(said, engine.BatchMoved) and (said.batch, said.step) == (batch, step):
            world.etcd.stop(member)

    return event


def test_a_member_that_dies_before_its_neighbour_goes_stops_the_rotation_by_name() -> None:
    world = kops()
    run = run_for(world, **probed(world))

    result = engine.rotate(run, stopped_when(world, "etcd-c2", "master-b/1", "drain"))

    assert result.passed == ("master-a/1",)
    (name, why), *others = result.failed
    assert (name, others) == ("master-b/1", [])
    assert "etcd-c2" in why.reason
    assert "not healthy" in why.reason
    assert world.etcd.lost_at == []
    assert went(world) == ["prod-master-a"]
    world.clock.wait(60.0)
    assert after(world).clean, after(world)
    assert not any(node.unschedulable for node in world.cluster.nodes())


def test_a_member_that_comes_back_lets_the_next_master_go() -> None:
    world = kops()
    run = run_for(world, **probed(world))
    dies_at = stopped_when(world, "etcd-c2", "master-b/1", "drain")

    def event(said: engine.Event) -> None:
        dies_at(said)
        if isinstance(said, engine.BatchWaits) and "etcd-c2" in said.reasons[0]:
            world.etcd.start("etcd-c2")

    result = engine.rotate(run, event)

    assert result.ok, result
    assert world.etcd.lost_at == []


def test_a_replacement_s_member_that_stays_away_holds_the_others() -> None:
    world = kops()
    run = run_for(world, **probed(world))

    result = engine.rotate(run, stopped_when(world, "etcd-a0", "master-a/1", "health_gate"))

    (name, why), *_ = result.failed
    assert name == "master-a/1"
    assert "etcd main: http://etcd-a0:4001" in why.reason
    assert not why.image_fault
    assert went(world) == ["prod-master-a"]
    assert world.etcd.lost_at == []


def test_quorum_that_others_lose_midway_is_waited_out_and_never_taken_for_done() -> None:
    world = kops()
    run = run_for(world, **probed(world))

    def event(said: engine.Event) -> None:
        if isinstance(said, engine.BatchMoved) and (said.batch, said.step) == ("master-a/1", "terminate"):
            for member in ("etcd-b1", "etcd-c2"):
                world.etcd.stop(member)
                world.clock.after(40.0, lambda member=member: world.etcd.start(member))

    began = world.clock.now()
    result = engine.rotate(run, event)

    assert result.ok, result
    assert world.clock.now() - began > 40.0


def test_a_replacement_in_another_zone_is_named_with_both() -> None:
    world = kops(spread=True, faults=[seeds.Fault(kind="capacity", zone="a")])

    result = rotate(world, **probed(world))

    (name, why), *_ = result.failed
    assert name == "masters/1"
    assert "eu-central-1a" in why.reason
    assert "etcd volumes" in why.reason
    assert len(went(world)) == 1
    assert world.etcd.lost_at == []


def test_no_capacity_for_a_master_is_said_in_aws_own_words() -> None:
    world = kops(faults=[seeds.Fault(kind="capacity", zone="a")])

    result = rotate(world, **probed(world))

    (name, why), *_ = result.failed
    assert name == "master-a/1"
    assert "capacity" in why.reason
    assert not why.image_fault
    assert len(went(world)) == 1


def test_an_image_whose_master_never_joins_costs_one_master_and_is_the_image_s_fault() -> None:
    world = kops(behaviour="never-joins")

    result = rotate(world, **probed(world))

    (name, why), *_ = result.failed
    assert name == "master-a/1"
    assert why.image_fault
    assert len(went(world)) == 1
    assert world.etcd.lost_at == []


def test_a_single_master_needs_its_outage_approved() -> None:
    world = kops("a")
    plan, _ = plan_for(world, **probed(world))
    (blocker,) = plan.blockers
    assert "control plane of 1" in blocker.reason
    assert "allow_outage" in blocker.remedy

    result = rotate(world, **probed(world, allow_outage=True))

    assert result.ok, result
    assert len(world.etcd.lost_at) == 1
    assert after(world).old == 0


def test_masters_whose_etcd_nobody_probes_block_unless_the_policy_accepts_it() -> None:
    world = kops()
    plan, _ = plan_for(world)
    assert [b.remedy for b in plan.blockers if "without_probe" in b.remedy]
    before = len(world.mutations)
    assert rotate(world).blocked is not None
    assert len(world.mutations) == before

    assert rotate(world, control_plane={"without_probe": True}).ok


def test_only_one_of_both_etcd_clusters_is_not_enough() -> None:
    world = kops()
    policy = {"control_plane": {"etcd": {"main": {"endpoints": list(world.etcd.endpoints())}}}}
    plan, _ = plan_for(world, **policy)
    (blocker,) = plan.blockers
    assert "events" in blocker.reason


@pytest.mark.parametrize("where", ["http://{node}:8081", "http://{address}:8081"])
def test_members_are_found_by_names_or_addresses_of_the_masters_nodes(where: str) -> None:
    world = kops()
    etcd = {name: {"endpoints": [where]} for name in ("main", "events")}

    assert rotate(world, control_plane={"etcd": etcd}).ok
    assert world.etcd.lost_at == []


def test_a_master_goes_whose_own_member_died_where_masters_are_asked_at_their_addresses() -> None:
    world = kops()
    etcd = {name: {"endpoints": ["http://{address}:8081"]} for name in ("main", "events")}
    settings = run_for(world, control_plane={"etcd": etcd}).settings
    world.etcd.stop("etcd-b1")
    snapshot = detect.observe(settings, world.cloud, world.cluster, world.clock)
    own, other = (snapshot.groups[f"prod-master-{zone}"].members[0].instance_id for zone in "bc")

    assert quorum.before(settings, snapshot, [own]) == ()
    assert any(snapshot.node_of(own).name in reason for reason in quorum.before(settings, snapshot, [other]))


def by_tags(settings: Settings) -> Settings:
    """The same fleet, its groups found by the tag that kops puts on them."""
    cluster = settings.cluster
    groups = tuple(g.model_copy(update={"asg": None, "asg_tags": {POOL: g.name}}) for g in cluster.groups)
    return settings.model_copy(update={"cluster": cluster.model_copy(update={"groups": groups})})


@pytest.mark.parametrize("found_by", [lambda settings: settings, by_tags])
def test_one_master_by_hand_goes_only_while_the_others_are_well(found_by: Callable[[Settings], Settings]) -> None:
    world = kops()
    for group in world.seed.groups:
        world.cloud.tag_group(world.asg(group.name), {POOL: group.name})
    settings = found_by(run_for(world, **probed(world)).settings)
    snapshot = detect.observe(settings, world.cloud, world.cluster, world.clock)
    (member,) = snapshot.groups["prod-master-a"].members
    found = machine.find(settings, snapshot, member.instance_id)
    world.etcd.stop("etcd-b1")

    with machine.holding(settings, world.cloud, world.cluster, world.clock, "by-hand") as run:
        machine.drain(run, found)
        with pytest.raises(BlockedError, match="a master may not go: etcd main: http://etcd-b1:4001"):
            machine.terminate(run, found)
    assert went(world) == []


def without_masters(settings: Settings) -> Settings:
    """The same cluster, of which the fleet file has the workers alone."""
    return settings.only(["nodes"])


def as_plain_groups(settings: Settings) -> Settings:
    """The same fleet, its groups no kops groups, their strategy the default."""
    groups = tuple(g.model_copy(update={"kind": Kind.ASG}) for g in settings.cluster.groups)
    cluster = settings.cluster.model_copy(update={"groups": groups})
    return settings.model_copy(update={"cluster": cluster, "groups": {g.name: settings.policy for g in groups}})


def as_workers(settings: Settings) -> Settings:
    """The same fleet, whose file does not say which groups are masters'."""
    groups = tuple(g.model_copy(update={"role": Role.WORKER}) for g in settings.cluster.groups)
    return settings.model_copy(update={"cluster": settings.cluster.model_copy(update={"groups": groups})})


UNGUARDED = [without_masters, as_plain_groups, as_workers]


@contextmanager
def master_by_hand(world: MemoryWorld, settings: Settings) -> Iterator[tuple[Run, machine.Machine]]:
    (member,) = world.cloud.groups(["prod-master-a"])["prod-master-a"].members
    with machine.holding(settings, world.cloud, world.cluster, world.clock, "by-hand") as run:
        yield run, machine.find(settings, run.look(), member.instance_id)


@pytest.mark.parametrize("as_written", UNGUARDED)
def test_etcd_is_asked_for_a_master_however_the_fleet_file_has_it(as_written: Callable[[Settings], Settings]) -> None:
    world = kops()
    settings = as_written(run_for(world, **probed(world)).settings)
    world.etcd.stop("etcd-b1")
    with master_by_hand(world, settings) as (run, found):
        machine.drain(run, found)
        with pytest.raises(BlockedError, match=f"a master may not go: etcd .*etcd-b1.*node {found.node}"):
            machine.terminate(run, found)
        assert found.instance_id in world.ec2.alive
        world.etcd.start("etcd-b1")
        machine.terminate(run, found)
    assert found.instance_id not in world.ec2.alive
    assert world.etcd.lost_at == []


@pytest.mark.parametrize("accepts", [{}, {"without_probe": True}])
def test_a_master_that_the_fleet_file_lacks_stays_where_nobody_can_ask_etcd(accepts: dict[str, bool]) -> None:
    world = kops()
    settings = without_masters(run_for(world, control_plane=accepts).settings)
    with master_by_hand(world, settings) as (run, found):
        machine.drain(run, found)
        with pytest.raises(BlockedError, match=f"no control-plane group .* no probe of etcd .*node {found.node}"):
            machine.terminate(run, found)
    assert found.instance_id in world.ec2.alive


def test_a_master_that_the_fleet_file_lacks_stays_while_another_is_not_ready_or_has_no_endpoint() -> None:
    world = kops()
    etcd = {name: {"endpoints": list(world.etcd.endpoints())[:2]} for name in ("main", "events")}
    settings = without_masters(run_for(world, control_plane={"etcd": etcd}).settings)
    with master_by_hand(world, settings) as (run, found):
        machine.drain(run, found)
        with pytest.raises(BlockedError, match="1 of 3 members are not to be found"):
            machine.terminate(run, found)
    seen = detect.observe(settings, world.cloud, world.cluster, world.clock)
    nodes = tuple(replace(n, ready=n.ready and "10-0-0-2" not in n.name) for n in seen.nodes)
    held = quorum.before(settings, replace(seen, nodes=nodes), [found.instance_id])
    assert any("10-0-0-2" in why and "is not Ready" in why for why in held), held


@pytest.mark.parametrize("call", ["detach", "drain"])
def test_a_master_that_may_not_go_is_neither_detached_nor_drained(call: str) -> None:
    world = kops()
    settings = run_for(world, **probed(world)).settings
    world.etcd.stop("etcd-b1")
    with master_by_hand(world, settings) as (run, found):
        before = len(world.mutations)
        with pytest.raises(BlockedError, match=f"a master may not go: etcd .*etcd-b1.*node {found.node}"):
            {
                "detach": lambda: machine.detach(run, found, for_good=True),
                "drain": lambda: machine.drain(run, found, for_good=True),
            }[call]()
        assert len(world.mutations) == before


@pytest.mark.parametrize("spread", [False, True])
@pytest.mark.parametrize("later_s", [0.0, 10.0, 300.0])
def test_a_master_that_was_detached_goes_whether_or_not_its_replacement_has_come(spread: bool, later_s: float) -> None:
    world = kops(spread=spread, boot=120.0)
    settings = run_for(world, **probed(world)).settings
    asg = world.asg("masters" if spread else "master-a")
    member = world.cloud.groups([asg])[asg].members[0].instance_id
    with machine.holding(settings, world.cloud, world.cluster, world.clock, "by-hand") as run:
        found = machine.find(settings, run.look(), member)
        machine.detach(run, found, for_good=True)
        world.clock.wait(later_s)
        run.look.forget()
        machine.drain(run, found, for_good=True)
        machine.terminate(run, found)
        machine.delete_node(run, found)
    assert world.etcd.lost_at == []
    assert member not in world.ec2.alive


def detached(world: MemoryWorld, settings: Settings) -> str:
    """A master that a command took out of its group for good, and no more."""
    with master_by_hand(world, settings) as (run, found):
        machine.detach(run, found, for_good=True)
    return found.instance_id


def test_a_sweep_leaves_a_master_s_orphan_by_name_until_etcd_can_do_without_it() -> None:
    world = kops()
    run = run_for(world, **probed(world))
    orphan = detached(world, run.settings)
    world.clock.wait(60.0)
    world.etcd.stop("etcd-b1")
    left = sweep_all(world, run).left
    assert any(line.startswith(f"instance {orphan}: a master may not go: etcd ") for line in left), left
    assert orphan in world.ec2.alive
    assert not any(node.unschedulable for node in world.cluster.nodes())
    world.etcd.start("etcd-b1")
    assert not sweep_all(world, run).left
    assert orphan not in world.ec2.alive
    assert world.etcd.lost_at == []
    assert after(world).clean


def test_so_it_does_where_the_member_dies_once_the_orphan_is_drained() -> None:
    world = kops()
    run = run_for(world, **probed(world))
    orphan = detached(world, run.settings)
    world.clock.wait(60.0)

    def dies(mutation: Mutation) -> None:
        if mutation.action == "cordon":
            world.etcd.stop("etcd-b1")

    world.journal.on_mutation = dies
    left = sweep_all(world, run).left
    assert any(line.startswith(f"instance {orphan}: a master may not go: etcd ") for line in left), left
    assert orphan in world.ec2.alive
    assert world.etcd.lost_at == []


@pytest.mark.parametrize("last", [StepName.LAUNCH, StepName.DRAIN])
@pytest.mark.parametrize("strategy", ["surge", "detach"])
def test_heal_takes_no_master_while_etcd_can_not_do_without_it(strategy: str, last: StepName) -> None:
    world = kops()
    settings = as_plain_groups(world.settings(**{**FAST, **by(strategy, 1), **probed(world)}))
    plan = plan_of_one(world, settings)
    run = detect.make_run("run-1", plan, settings, world.cloud, world.cluster, world.clock)
    batch = next(b for b in plan.batches if b.group == "master-a")
    up_to(world, run, batch, last)
    world.etcd.stop("etcd-b1")
    there = set(world.ec2.alive)
    with pytest.raises(BlockedError, match="a master may not go: etcd .*etcd-b1"):
        healed(world, run, batch)
    with suppress(BlockedError):
        restore(run, batch.group, giving_up=True)
    assert set(world.ec2.alive) == there
    assert world.etcd.lost_at == []


def healed(world: MemoryWorld, run: Run, batch: Batch) -> None:
    for _ in range(60):
        heal(run, batch, "its pods may not leave")
        if isinstance(STEPS[StepName.HEAL].look(run, batch), Done):
            return
        world.clock.wait(2.0)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_second_actor_takes_no_second_master(every: int) -> None:
    world = kops(workers=1)
    run = run_for(world, **probed(world))
    shadow = Shadow(world, run_for(world, run.id, plan=run.plan, **probed(world)), every)
    world.journal.on_mutation = shadow
    result = engine.rotate(run)
    world.journal.on_mutation = None
    world.clock.wait(60.0)
    assert shadow.acted
    assert result.ok, result
    assert after(world).clean, after(world)
    assert world.etcd.lost_at == []
    assert len(went(world)) == 4


def dead(at: int, *, before: bool) -> tuple[MemoryWorld, Run] | None:
    world = kops(workers=1)
    run = run_for(world, **probed(world))
    return (world, run) if dies(run, world, at, before=before) else None


def every_crash(offset: int, *, before: bool):
    """Between any two mutations: right after the one, or right before the other."""
    for at in range(1 + offset, 500, STRIDE):
        found = dead(at, before=before)
        if found is None:
            return
        yield at, *found


def wrong(at: int, left: After) -> str:
    return f"died at mutation {at}: {left}"


@pytest.mark.parametrize("offset", range(STRIDE))
def test_wherever_it_dies_the_same_run_goes_on_and_no_quorum_is_lost(offset: int) -> None:
    for at, world, run in every_crash(offset, before=False):
        world.clock.wait(5.0)  # whoever starts it again needs an API server that answers
        result = engine.rotate(run_for(world, run.id, plan=run.plan, **probed(world)))
        world.clock.wait(60.0)
        assert result.ok, f"{at}: {result}"
        assert after(world).clean, wrong(at, after(world))
        assert after(world).old == 0, wrong(at, after(world))
        assert world.etcd.lost_at == [], wrong(at, after(world))


@pytest.mark.parametrize("offset", range(STRIDE))
def test_wherever_it_dies_a_member_that_fails_meanwhile_costs_no_quorum(offset: int) -> None:
    for at, world, run in every_crash(offset, before=True):
        world.clock.wait(30.0)  # a machine that was on its way is replaced by its group
        world.etcd.stop("etcd-c2")
        engine.rotate(run_for(world, run.id, plan=run.plan, **probed(world)))
        world.clock.wait(60.0)
        assert world.etcd.lost_at == [], wrong(at, after(world))
        assert after(world).clean, wrong(at, after(world))


@pytest.mark.parametrize("offset", range(STRIDE))
def test_wherever_it_dies_a_sweep_leaves_nothing_and_another_run_ends_it(offset: int) -> None:
    for at, world, run in every_crash(offset, before=False):
        swept = sweep_all(world, run)
        assert not swept.left, wrong(at, after(world))
        assert after(world).clean, wrong(at, after(world))
        assert rotate(world, "run-2", **probed(world)).ok
        assert after(world).old == 0, wrong(at, after(world))
        assert world.etcd.lost_at == [], wrong(at, after(world))


def test_masters_that_can_not_be_found_stop_a_run_also_midway() -> None:
    world = kops()
    run = run_for(world)
    lock.acquire(run)
    del world.scaling.groups[world.asg("master-b")]
    run.look.forget()
    with pytest.raises(BadInputError, match=f"there is no Auto Scaling group '{world.asg('master-b')}'"):
        run.look()
