"""Who may start now: first in, first out, within the slots, after the canary, never past a failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from tests.node_rotation.builders import NOW, Machine, ids, plan, settings, world

from node_rotation.admission import Admit, Decision, Refuse, Wait, decide
from node_rotation.budget import in_flight
from node_rotation.fleet import Settings
from node_rotation.model import Plan
from node_rotation.workloads.conflicts import Sharing


@dataclass(frozen=True)
class Claim:
    batch: str
    machines: tuple[str, ...]
    state: str = "admitted"
    passed_at: float | None = None
    in_vain: bool = False


Ledger = dict[str, Claim]


def cluster(count: int = 6, surge: int = 2, **policy) -> tuple[Plan, Settings]:
    told = settings(budget={"max_surge": surge}, **policy)
    return plan(told, world({"dev-workers": [Machine(f"i-{n}", days=50 - n) for n in range(count)]})), told


def claim(made: Plan, name: str, state: str = "admitted") -> Ledger:
    (batch,) = [b for b in made.batches if b.name == name]
    return {name: Claim(name, ids(batch), state, NOW - 10 if state == "passed" else None)}


def ask(
    made: Plan,
    told: Settings,
    batch: str,
    ledger: Ledger,
    *,
    foreign: Mapping[str, Mapping[str, str]] | None = None,
    absent: Mapping[str, Mapping[str, str]] | None = None,
    busy: Mapping[str, str] | None = None,
    lock_held: bool = True,
    now: float = NOW,
    sharing: Sharing | None = None,
) -> Decision:
    return decide(
        made,
        batch,
        ledger,
        told.groups,
        foreign=foreign or {},
        absent=absent,
        busy=busy,
        lock_held=lock_held,
        now=now,
        sharing=sharing,
    )


def why(decision: Decision) -> str:
    assert isinstance(decision, Wait)
    return "; ".join(decision.reasons)


def test_the_canary_goes_alone_and_everyone_waits_for_its_gate():
    made, told = cluster()
    assert ask(made, told, "workers/1", {}) == Admit()
    assert "the canary workers/1 has not passed" in why(ask(made, told, "workers/2", {}))
    assert "the canary workers/1 has not passed" in why(ask(made, told, "workers/2", claim(made, "workers/1")))
    assert ask(made, told, "workers/2", claim(made, "workers/1", "passed")) == Admit()


def vain(made: Plan, name: str) -> Ledger:
    """A batch that passed because its machines went by themselves."""
    return {name: replace(claim(made, name, "passed")[name], in_vain=True)}


def test_a_canary_that_passed_in_vain_leaves_its_role_to_the_next():
    made, told = cluster()
    ledger = vain(made, "workers/1")
    assert ask(made, told, "workers/2", ledger) == Admit()
    assert "workers/2 goes in the canary's place" in why(ask(made, told, "workers/3", ledger))
    begun = ledger | claim(made, "workers/2")
    assert "workers/2 goes in the canary's place" in why(ask(made, told, "workers/3", begun))
    assert ask(made, told, "workers/3", ledger | claim(made, "workers/2", "passed")) == Admit()
    assert "workers/3 goes in" in why(ask(made, told, "workers/4", ledger | vain(made, "workers/2")))


def test_once_the_image_is_proven_one_that_passes_in_vain_keeps_nobody():
    made, told = cluster()
    ledger = claim(made, "workers/1", "passed") | vain(made, "workers/2")
    assert ask(made, told, "workers/3", ledger) == ask(made, told, "workers/4", ledger) == Admit()


def test_where_no_canary_was_planned_nobody_takes_its_place():
    made, told = cluster(canary=False)
    assert ask(made, told, "workers/3", vain(made, "workers/1")) == Admit()


def test_the_last_masters_role_passes_to_the_first_worker():
    told = settings([{"name": "masters", "role": "control-plane"}, {"name": "workers"}], budget={"max_surge": 2})
    machines = {"dev-masters": [Machine("i-m")], "dev-workers": [Machine(f"i-{n}", days=9 - n) for n in range(3)]}
    made = plan(told, world(machines))
    ledger = vain(made, "masters/1")
    assert ask(made, told, "workers/1", ledger) == Admit()
    assert "workers/1 goes in the canary's place" in why(ask(made, told, "workers/2", ledger))


def test_as_many_as_there_are_slots_without_a_barrier():
    made, told = cluster(surge=2)
    passed = claim(made, "workers/1", "passed")
    both = {**passed, **claim(made, "workers/2"), **claim(made, "workers/3")}
    assert "group workers: 2 of 2 slots are taken" in why(ask(made, told, "workers/4", both))
    assert ask(made, told, "workers/4", {**both, **claim(made, "workers/2", "passed")}) == Admit()


def test_first_in_first_out():
    made, told = cluster(surge=1, canary=False)
    assert "batch workers/1 is first in line" not in why(ask(made, told, "workers/2", claim(made, "workers/1")))
    assert "1 of 1 slots are taken" in why(ask(made, told, "workers/2", {}))


def test_asking_twice_changes_nothing():
    made, told = cluster()
    assert ask(made, told, "workers/1", claim(made, "workers/1")) == Admit()
    assert ask(made, told, "workers/1", claim(made, "workers/1", "passed")) == Admit()


def test_without_the_lock_nothing_starts():
    made, told = cluster()
    decision = ask(made, told, "workers/1", {}, lock_held=False)
    assert isinstance(decision, Refuse)
    assert (decision.how, "no longer holds the lock" in decision.reason) == ("fail", True)


@pytest.mark.parametrize("state", ["failed", "healed"])
@pytest.mark.parametrize("rule", ["hold", "skip", "fail"])
def test_after_a_failed_gate_later_batches_do_what_the_policy_says(state, rule):
    made, told = cluster(gate={"on_failure": rule})
    decision = ask(made, told, "workers/2", claim(made, "workers/1", state))
    if rule == "hold":
        assert "batch workers/1 failed: held until it is cleared" in why(decision)
    else:
        assert isinstance(decision, Refuse)
        assert decision.how == rule


def test_clearing_the_failed_batch_lets_it_ask_anew_and_its_pass_frees_the_rest():
    made, told = cluster()
    assert ask(made, told, "workers/1", claim(made, "workers/1", "healed")) == Admit()
    assert ask(made, told, "workers/2", claim(made, "workers/1", "passed")) == Admit()


@pytest.mark.parametrize("rule", ["hold", "skip", "fail"])
def test_two_that_failed_and_were_cleared_do_not_wait_for_each_other(rule):
    made, told = cluster(gate={"on_failure": rule})
    ledger = (
        claim(made, "workers/1", "passed") | claim(made, "workers/2", "healed") | claim(made, "workers/3", "healed")
    )
    assert ask(made, told, "workers/2", ledger) == Admit()
    if rule == "hold":
        assert "workers/2 failed" in why(ask(made, told, "workers/3", ledger))
        assert "workers/3 failed" not in why(ask(made, told, "workers/3", ledger))
        assert "workers/3 failed" in why(ask(made, told, "workers/4", ledger))
    else:
        assert isinstance(ask(made, told, "workers/4", ledger), Refuse)


def test_a_wait_between_rotations_is_counted_from_the_last_passed_gate():
    made, told = cluster(wait_between_rotations="60s")
    passed = claim(made, "workers/1", "passed")
    assert "wait_between_rotations: 60s since workers/1 passed" in why(ask(made, told, "workers/2", passed))
    assert ask(made, told, "workers/2", passed, now=NOW + 50) == Admit()


def test_machines_that_others_disrupt_count_against_the_budget_and_are_named():
    made, told = cluster(surge=1, canary=False)
    foreign = {"workers": {"i-x": "NotReady (KubeletNotReady)"}}
    said = why(ask(made, told, "workers/1", {}, foreign=foreign))
    assert "1 of 1 slots are taken" in said
    assert "machine i-x of workers NotReady (KubeletNotReady): it counts against the budget" in said


def test_broken_machines_do_not_keep_their_own_replacement_from_starting():
    made, told = cluster(surge=1, canary=False)
    foreign = {"workers": {"i-0": "has no Node", "i-1": "has no Node"}}
    assert ask(made, told, "workers/1", {}, foreign=foreign) == Admit()
    assert "1 of 1 slots" in why(ask(made, told, "workers/2", claim(made, "workers/1"), foreign=foreign))


def test_a_broken_machine_of_a_later_group_does_not_lock_the_plan_up():
    made, told = two_groups(cap=1)
    foreign = {"b": {"i-b0": "has no Node"}}
    assert ask(made, told, "a/1", {}, foreign=foreign) == Admit()
    unplanned = {"b": {"i-x": "has no Node"}}
    assert "machine i-x of b has no Node" in why(ask(made, told, "a/1", {}, foreign=unplanned))


def test_a_broken_master_is_replaced_before_a_healthy_one_is_touched():
    masters = [{"name": f"master-{zone}", "role": "control-plane"} for zone in "ab"]
    told = settings(masters, canary=False)
    made = plan(told, world({f"dev-{g.name}": [Machine(f"i-{g.name}")] for g in told.cluster.groups}))
    foreign = {"master-b": {"i-master-b": "NotReady"}}
    assert "1 of 1 slots are taken" in why(ask(made, told, "master-a/1", {}, foreign=foreign))
    assert ask(made, told, "master-b/1", {}, foreign=foreign) == Admit()


def two_groups(cap: int) -> tuple[Plan, Settings]:
    told = settings([{"name": "a"}, {"name": "b"}], canary=False, budget={"max_surge": 1, "cluster_slots": cap})
    return plan(told, world({f"dev-{g}": [Machine(f"i-{g}{n}") for n in range(2)] for g in "ab"})), told


def missing(*which: str) -> dict[str, dict[str, str]]:
    return {"a": dict.fromkeys(which, "is missing (asg dev-a has 2 of 5 machines)")}


@pytest.mark.parametrize("cap", [1, 2])
def test_a_group_that_lacks_machines_waits_for_them_and_keeps_no_other_group_waiting(cap: int):
    made, told = two_groups(cap)
    lacks = missing("5 of 5", "4 of 5", "3 of 5")
    said = why(ask(made, told, "a/1", {}, absent=lacks))
    assert "group a: 3 of 1 slots are taken" in said
    assert "machine 5 of 5 of a is missing (asg dev-a has 2 of 5 machines): it counts against the budget" in said
    assert "cluster dev" not in said
    assert ask(made, told, "b/1", {}, absent=lacks) == Admit()
    behind = why(ask(made, told, "b/2", claim(made, "b/1"), absent=lacks))
    assert "group b: 1 of 1 slots are taken" in behind
    assert "is missing" not in behind


def test_a_batch_whose_machine_is_gone_gets_its_replacement():
    made, told = two_groups(cap=1)
    assert ask(made, told, "a/1", {}, absent={"a": {"i-a0": "is gone", "2 of 2": "is missing"}}) == Admit()


def test_a_missing_master_keeps_the_masters_of_every_group_from_going():
    masters = [{"name": f"master-{zone}", "role": "control-plane"} for zone in "ab"]
    told = settings(masters, canary=False)
    made = plan(told, world({f"dev-{g.name}": [Machine(f"i-{g.name}")] for g in told.cluster.groups}))
    lacks = {"master-b": {"1 of 1": "is missing"}}
    assert "1 of 1 slots are taken" in why(ask(made, told, "master-a/1", {}, absent=lacks))


def test_a_batch_that_waits_for_what_others_do_with_its_group_takes_no_slots_and_keeps_nobody():
    made, told = two_groups(cap=1)
    busy = dict.fromkeys(("a/1", "a/2"), "instance refresh 08b91cf7 is replacing the machines of dev-a")
    assert why(ask(made, told, "a/1", {}, busy=busy)) == busy["a/1"]
    assert ask(made, told, "b/1", {}, busy=busy) == Admit()
    assert "cluster dev: 1 of 1 slots are taken" in why(ask(made, told, "a/1", claim(made, "b/1"), busy=busy))
    assert ask(made, told, "a/1", claim(made, "b/1", "passed")) == Admit()


def test_what_has_begun_goes_on_whatever_others_do_with_its_group():
    made, told = two_groups(cap=1)
    assert ask(made, told, "a/1", claim(made, "a/1"), busy={"a/1": "an update"}) == Admit()


def test_another_group_goes_ahead_of_one_that_waits_for_its_own_slots():
    made, told = two_groups(cap=2)
    assert ask(made, told, "b/1", claim(made, "a/1")) == Admit()


def test_nobody_overtakes_for_the_clusters_slots():
    made, told = two_groups(cap=1)
    assert "cluster dev: 1 of 1 slots are taken" in why(ask(made, told, "b/1", {}))
    assert "is first in line" in why(ask(made, told, "b/2", {**claim(made, "a/1", "passed"), **claim(made, "b/1")}))


def test_workers_wait_for_the_control_plane_and_masters_go_one_at_a_time_over_all_their_groups():
    masters = [{"name": f"master-{zone}", "role": "control-plane"} for zone in "ab"]
    told = settings([*masters, {"name": "workers"}], canary=False)
    made = plan(told, world({f"dev-{g.name}": [Machine(f"i-{g.name}")] for g in told.cluster.groups}))
    first = claim(made, "master-a/1")
    assert "control-plane: 1 of 1 slots are taken" in why(ask(made, told, "master-b/1", first))
    assert "control plane first: master-b/1 has not passed" in why(ask(made, told, "workers/1", first))
    both = {**claim(made, "master-a/1", "passed"), **claim(made, "master-b/1", "passed")}
    assert ask(made, told, "workers/1", both) == Admit()


def test_an_unknown_batch_is_a_mistake():
    made, told = cluster()
    with pytest.raises(KeyError):
        ask(made, told, "workers/99", {})


@effort(max_examples=40, deadline=None)
@given(st.data())
def test_no_interleaving_exceeds_the_slots_and_every_one_comes_to_an_end(data):
    """Batches ask and pass in any order, machines break and recover meanwhile; claims are written as decided."""
    sizes = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=3))
    cap, surge = data.draw(st.none() | st.integers(1, 4)), data.draw(st.integers(1, 5))
    names = [f"g{n}" for n in range(len(sizes))]
    told = settings([{"name": n} for n in names], budget={"max_surge": surge, "cluster_slots": cap})
    listed = {f"dev-{n}": [Machine(f"i-{n}-{m}") for m in range(size)] for n, size in zip(names, sizes, strict=True)}
    made = plan(told, world(listed))
    ledger: Ledger = {}
    broken = data.draw(st.sets(st.sampled_from([f"x-{n}" for n in range(3)])))

    for _ in range(60):
        open_names = [b.name for b in made.batches if ledger.get(b.name, Claim("", (), "")).state != "passed"]
        if not open_names:
            break
        name = data.draw(st.sampled_from(open_names))
        if name in ledger:
            ledger[name] = replace(ledger[name], state="passed", passed_at=NOW)
            continue
        foreign = {names[0]: dict.fromkeys(broken, "NotReady")}
        if isinstance(ask(made, told, name, ledger, foreign=foreign), Admit):
            ledger |= claim(made, name)
            in_group = in_flight(c for c in ledger.values() if c.batch.startswith(name.split("/")[0] + "/"))
            others = len(broken) if name.startswith(names[0] + "/") else 0
            assert len(in_group) + others <= made.group(name.split("/")[0]).slots
            assert len(in_flight(ledger.values())) + len(broken) <= made.slots
    _finish(made, told, ledger)


def _finish(made: Plan, told: Settings, ledger: Ledger) -> None:
    """From wherever the interleaving stopped, somebody can always go on: no deadlock."""
    for _ in range(2 * len(made.batches) + 1):
        ledger.update({n: replace(c, state="passed", passed_at=NOW) for n, c in ledger.items()})
        waiting = [b.name for b in made.batches if b.name not in ledger]
        if not waiting:
            return
        admitted = next((name for name in waiting if isinstance(ask(made, told, name, ledger), Admit)), None)
        assert admitted is not None
        ledger |= claim(made, admitted)
    raise AssertionError("the plan never came to an end")


def evening(made: Plan, state: str = "admitted") -> Ledger:
    """A claim that no plan knows: a machine is replaced for its zone's sake."""
    return {"workers/balance-1": Claim("workers/balance-1", ("i-new",), state)}


def test_what_evens_out_zones_takes_a_slot_of_its_group():
    made, told = cluster(surge=2)
    flying = {**claim(made, "workers/1", "passed"), **claim(made, "workers/2"), **evening(made)}
    assert "group workers: 2 of 2 slots are taken" in why(ask(made, told, "workers/3", flying))
    assert ask(made, told, "workers/3", {**flying, **evening(made, "passed")}) == Admit()


@pytest.mark.parametrize("state", ["failed", "healed"])
@pytest.mark.parametrize("how", ["hold", "skip", "fail"])
def test_no_batch_is_held_because_zones_could_not_be_evened_out(state: str, how: str):
    made, told = cluster(surge=2, gate={"on_failure": how})
    flying = {**claim(made, "workers/1", "passed"), **evening(made, state)}
    assert ask(made, told, "workers/2", flying) == Admit()
