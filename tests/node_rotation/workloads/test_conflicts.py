"""Nodes that share a tight PodDisruptionBudget are never in flight together; all others go in parallel."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from tests.node_rotation.builders import Machine, budget, plan, pod, settings, world
from tests.node_rotation.crashes import run_for
from tests.node_rotation.test_admission import Ledger, ask, claim, why

from bench import conflicts as benchmark
from node_rotation import engine, lock
from node_rotation.admission import Admit, Wait
from node_rotation.estimate import USUAL
from node_rotation.ledger import Claim
from node_rotation.model import Batch, Plan, Strategy
from node_rotation.run import Run
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld
from node_rotation.workloads.conflicts import Sharing
from node_rotation.world.kubernetes import Workload
from node_rotation.world.snapshot import Snapshot

L_S = USUAL.overlap_s + 15


def shared(nodes: dict[str, list[str]], *, allowed: int = 1, names: tuple[str, ...] = ("api", "db")) -> Snapshot:
    """Nodes and the apps that have a pod on each; one budget for each app."""
    machines = [Machine(f"i-{name}") for name in nodes]
    pods = [
        pod(f"{app}-{node}-{number}", f"node-i-{node}", labels={"app": app})
        for node, apps in nodes.items()
        for number, app in enumerate(apps)
    ]
    budgets = [budget(name, allowed=allowed, selector={"app": name}) for name in names]
    return world({"dev-workers": machines}, pods=pods, budgets=budgets)


def test_two_nodes_under_a_budget_that_allows_one_conflict_and_are_named():
    found = Sharing(shared({"a": ["api"], "b": ["api"], "c": ["db"]})).conflict(["i-a"], ["i-b"])
    assert str(found) == "pdb shop/api allows 1 at once now: node node-i-a waits for node node-i-b, in flight"
    assert Sharing(shared({"a": ["api"], "c": ["db"]})).conflict(["i-a"], ["i-c"]) is None


@pytest.mark.parametrize(("allowed", "apart"), [(0, True), (1, True), (2, True), (3, False)])
def test_a_budget_that_affords_both_keeps_nobody_apart(allowed, apart):
    sharing = Sharing(shared({"a": ["api", "api"], "b": ["api"]}, allowed=allowed))
    assert (sharing.conflict(["i-a"], ["i-b"]) is not None) is apart


@pytest.mark.parametrize(("at_once", "apart"), [(1, False), (2, True), (None, True)], ids=["one", "two", "all"])
def test_of_a_batch_the_heaviest_machines_that_go_at_once_count_together(at_once, apart):
    sharing = Sharing(shared({"a": ["api"], "x": ["api"], "y": ["api"], "z": []}, allowed=2))
    batch = ["i-x", "i-y", "i-z"]
    assert (sharing.conflict(["i-a"], batch, theirs_at_once=at_once) is not None) is apart
    assert (sharing.conflict(batch, ["i-a"], mine_at_once=at_once) is not None) is apart


def test_pods_that_a_drain_leaves_and_nodes_that_are_down_have_no_stake():
    daemons = [pod("agent-1", "node-i-a", owner="DaemonSet"), pod("agent-2", "node-i-b", owner="DaemonSet")]
    machines = [Machine("i-a"), Machine("i-b")]
    assert Sharing(world({"g": machines}, pods=daemons, budgets=[budget()])).conflict(["i-a"], ["i-b"]) is None
    down = [Machine("i-a", ready=False), Machine("i-b")]
    pods = [pod("api-1", "node-i-a"), pod("api-2", "node-i-b")]
    assert Sharing(world({"g": down}, pods=pods, budgets=[budget()])).conflict(["i-a"], ["i-b"]) is None


def test_who_has_evicted_its_pods_keeps_its_stake_until_it_is_done():
    snapshot = shared({"a": ["api"], "b": []})
    api = Workload("Deployment", "shop", "api", "uid-api", 3, 3)
    snapshot = replace(snapshot, workloads=(api,))
    assert Sharing(snapshot).conflict(["i-a"], ["i-b"]) is None
    found = Sharing(snapshot, {"i-b": ["Deployment shop/api"]}).conflict(["i-a"], ["i-b"])
    assert found is not None
    assert (found.mine, found.theirs) == ("node-i-a", "node-i-b")


def test_a_batch_waits_for_the_one_in_flight_and_the_one_behind_it_goes_ahead():
    snapshot = shared({"a": ["api"], "b": ["api"], "c": ["db"]})
    told = settings(budget={"max_surge": 3}, canary=False)
    made, sharing = plan(told, snapshot), Sharing(snapshot)
    flying = claim(made, "workers/1")
    second = ask(made, told, "workers/2", flying, sharing=sharing)
    assert isinstance(second, Wait)
    assert second.others_may_go
    assert why(second) == (
        "pdb shop/api allows 1 at once now: node node-i-b waits for node node-i-a, in flight (batch workers/1)"
    )
    assert ask(made, told, "workers/3", flying, sharing=sharing) == Admit()
    assert ask(made, told, "workers/2", claim(made, "workers/1", "passed"), sharing=sharing) == Admit()


def test_machines_that_conflict_are_not_put_into_one_batch_as_long_as_there_is_another():
    apps = [f"app-{n}" for n in range(80)]
    nodes = {f"{n:03}": [apps[n // 2]] for n in range(160)}
    made = plan(settings(budget={"max_surge": 4}, canary=False), shared(nodes, names=tuple(apps)))
    sharing = Sharing(shared(nodes, names=tuple(apps)))
    assert max(len(b.machines) for b in made.batches) > 1
    for batch in made.batches:
        assert not [pair for pair in combinations(ids(batch), 2) if sharing.conflict(pair[:1], pair[1:])]
    assert made.machines == 160


def test_the_plan_names_the_budget_and_its_estimate_counts_the_turns():
    snapshot = shared({"a": ["api"], "b": ["api"], "c": ["api"], "d": []})
    made = plan(settings(budget={"max_surge": 4}, canary=False, gate={"settle": "15s"}), snapshot)
    assert any("pdb shop/api allows 1 at once: of the 3 nodes" in note for note in made.notes)
    assert made.estimate.duration_s == 3 * L_S
    apart = plan(settings(budget={"max_surge": 4}, canary=False, gate={"settle": "15s"}), shared({"a": [], "b": []}))
    assert apart.estimate.duration_s == L_S


def test_machines_that_go_in_turn_begin_early_so_that_none_is_left_for_the_end_alone():
    nodes = {"old-1": [], "old-2": [], "old-3": [], "a": ["api"], "b": ["api"], "c": ["api"], "x": ["db"], "y": ["db"]}
    snapshot = shared(nodes)
    calm = [pod(f"calm-{node}", f"node-i-{node}", labels={"app": "calm"}) for node in nodes]
    snapshot = replace(snapshot, pods=(*snapshot.pods, *calm))
    made = plan(settings(budget={"max_surge": 3}, canary=False, gate={"settle": "15s"}), snapshot)
    assert [ids(b)[0] for b in made.batches] == [f"i-{n}" for n in ("a", "b", "c", "x", "y", "old-1", "old-2", "old-3")]
    assert made.estimate.duration_s == 3 * L_S


def test_a_rotation_takes_neighbours_in_turn_and_strangers_together():
    """Two machines share a service whose budget allows one pod; two others run a pod of their own each."""
    pair = seeds.Workload("pair", replicas=2, spread="hostname", budget=seeds.DisruptionBudget(max_unavailable=1))
    world = MemoryWorld.simple(4, replicas=0, boot=60.0)
    world.add_workload(pair)
    world.clock.wait(30.0)
    run = run_for(world, budget={"max_surge": 4}, canary=False, launch_timeout="300s")
    neighbours = {pod.node for pod in world.cluster.pods() if pod.labels["app"] == "pair"}
    begun: dict[str, float] = {}
    said: list[str] = []

    def listen(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step == "launch":
            begun[event.batch] = event.at
        if isinstance(event, engine.BatchWaits):
            said.extend(event.reasons)

    assert engine.rotate(run, listen).ok
    of_pair = sorted(begun[b.name] for b in run.plan.batches if b.machines[0].node in neighbours)
    strangers = [begun[b.name] for b in run.plan.batches if b.machines[0].node not in neighbours]
    assert of_pair[1] - of_pair[0] > 60.0
    assert strangers == [of_pair[0]] * 2
    assert any(reason.startswith("pdb default/pair allows 1 at once now: node ") for reason in said)
    assert not world.monitor.violations


def queue(world: MemoryWorld, slots: int) -> Run:
    """A run over two machines that share a service, whose pods take long to stop, and then one that shares nothing."""
    budget = seeds.DisruptionBudget(max_unavailable=1)
    world.add_workload(seeds.Workload("pair", replicas=2, spread="hostname", stops_after=40.0, budget=budget))
    world.add_workload(seeds.Workload("calm", replicas=3, spread="hostname"))  # an empty machine would go first
    world.clock.wait(30.0)
    run = run_for(world, budget={"max_surge": slots}, canary=False, launch_timeout="300s")
    paired = {pod.node for pod in world.cluster.pods() if pod.labels["app"] == "pair"}
    assert [batch.machines[0].node in paired for batch in run.plan.batches] == [True, True, False]
    return run


def test_who_was_admitted_past_one_that_waits_does_not_stop_for_it():
    """The second batch waits for the first one, and then for slots; the third is on its way all the while."""
    run = queue(MemoryWorld.simple(3, replicas=0, boot=60.0), 2)
    launched: dict[str, float] = {}
    cordoned: dict[str, float] = {}

    def listen(event: engine.Event) -> None:
        if isinstance(event, engine.BatchMoved) and event.step in ("launch", "cordon"):
            (launched if event.step == "launch" else cordoned)[event.batch] = event.at

    assert engine.rotate(run, listen).ok
    assert launched["workers/1"] == launched["workers/3"] < launched["workers/2"]
    assert cordoned["workers/3"] - launched["workers/3"] < 70.0


def test_who_was_admitted_past_one_that_waits_goes_on_after_a_crash():
    """Nobody would ever give back the slots that those at the head of the queue wait for."""
    world = MemoryWorld.simple(3, replicas=0)
    run = queue(world, 1)
    engine.prepare(run, "workers")
    batch = run.plan.batches[-1]
    held = {"machines": ids(batch), "strategy": Strategy.SURGE, "since": world.clock.now()}
    lock.change(run, lambda ledger: ledger.with_claim(Claim(batch=batch.name, group="workers", **held)))
    world.clock.after(7200.0, lambda: pytest.fail("it waits for ever"))

    assert engine.rotate(run).ok
    assert not world.on_image("base-old")


def ids(batch: Batch) -> tuple[str, ...]:
    return tuple(machine.instance_id for machine in batch.machines)


def conflicts(made: Plan, sharing: Sharing, ledger: Ledger) -> list[tuple[str, str]]:
    flying = [b for b in made.batches if b.name in ledger and ledger[b.name].state == "admitted"]
    return [(a.name, b.name) for a, b in combinations(flying, 2) if sharing.conflict(ids(a), ids(b))]


@effort(max_examples=60, deadline=None)
@given(st.data())
def test_no_two_in_flight_conflict_and_every_batch_gets_its_turn(data):
    """Batches ask and pass in any order; whoever would wait for ever shows as a round in which nobody moves."""
    apps = ("api", "db", "web")
    stakes = st.lists(st.sampled_from(apps), max_size=3)
    nodes = {f"{n:02}": data.draw(stakes) for n in range(data.draw(st.integers(1, 9)))}
    snapshot = shared(nodes, allowed=data.draw(st.integers(0, 3)), names=apps)
    told = settings(budget={"max_surge": data.draw(st.integers(1, 5))}, canary=data.draw(st.booleans()))
    made, sharing = plan(told, snapshot), Sharing(snapshot)
    ledger: Ledger = {}

    while waiting := [b.name for b in made.batches if b.name not in ledger]:
        moved = [
            name
            for name in data.draw(st.permutations(waiting))
            if isinstance(ask(made, told, name, ledger, sharing=sharing), Admit)
            and not ledger.update(claim(made, name))
        ]
        assert conflicts(made, sharing, ledger) == []
        flying = [name for name, held in ledger.items() if held.state == "admitted"]
        assert moved or flying, f"nobody moves: {waiting}"
        if flying:
            ledger |= claim(made, data.draw(st.sampled_from(flying)), "passed")


def test_by_the_graph_it_is_at_least_twice_as_fast_as_one_by_one_and_breaks_no_budget():
    assert benchmark.main() == 0
