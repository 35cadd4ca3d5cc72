"""From drift to a plan: order, batches, budget, identity."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from tests.node_rotation.builders import NEW, NEW_TEMPLATE, Machine, drifts, ids, plan, pod, settings, world

from node_rotation.model import MAX_BATCHES, Plan
from node_rotation.planning import blocked_since, content_id, make_plan


def order(made: Plan) -> list[str]:
    return [machine for batch in made.batches for machine in ids(batch)]


def test_nothing_drifted_makes_an_empty_plan():
    made = plan(settings(), world({"dev-workers": [Machine("i-1", image=NEW.id)]}))
    assert (made.groups, made.batches, made.machines, made.blockers) == ((), (), 0, ())


def test_the_first_batch_is_a_canary_of_one_machine():
    machines = [Machine(f"i-{n:03}") for n in range(200)]
    made = plan(settings(budget={"max_surge": 8}), world({"dev-workers": machines}))
    assert [batch.canary for batch in made.batches[:2]] == [True, False]
    assert len(made.batches[0].machines) == 1
    assert sum(batch.canary for batch in made.batches) == 1


def test_a_policy_without_canary_starts_wide():
    made = plan(settings(canary=False), world({"dev-workers": [Machine("i-1"), Machine("i-2")]}))
    assert not any(batch.canary for batch in made.batches)


def test_unhealthy_machines_go_first_then_empty_ones_then_the_oldest():
    machines = [
        Machine("i-young", days=1),
        Machine("i-old", days=20),
        Machine("i-empty", days=2),
        Machine("i-sick", ready=False, days=3),
    ]
    pods = [pod("a", "node-i-young"), pod("b", "node-i-old"), pod("c", "node-i-sick")]
    made = plan(settings(), world({"dev-workers": machines}, pods=pods))
    assert order(made) == ["i-sick", "i-empty", "i-old", "i-young"]


def test_zones_take_turns():
    machines = [Machine(f"i-{zone}{n}", zone=zone, days=10 - n) for zone in "abc" for n in range(2)]
    assert order(plan(settings(), world({"dev-workers": machines}))) == ["i-a0", "i-b0", "i-c0", "i-a1", "i-b1", "i-c1"]


def test_control_plane_first_then_priority_then_the_order_of_the_fleet():
    told = settings(
        [
            {"name": "one"},
            {"name": "two"},
            {"name": "urgent", "policy": {"priority": 5}},
            {"name": "masters", "role": "control-plane"},
        ]
    )
    made = plan(told, world({f"dev-{g.name}": [Machine(f"i-{g.name}")] for g in told.cluster.groups}))
    assert [group.name for group in made.groups] == ["masters", "urgent", "one", "two"]
    assert [batch.name for batch in made.batches] == ["masters/1", "urgent/1", "one/1", "two/1"]
    assert "etcd's quorum is not checked" in " ".join(made.notes)


def test_a_control_plane_moves_one_machine_at_a_time():
    told = settings([{"name": "masters", "role": "control-plane"}], budget={"max_surge": 3})
    made = plan(told, world({"dev-masters": [Machine(f"i-{n}") for n in range(3)]}))
    assert made.group("masters").slots == 1


def test_a_broken_master_comes_before_the_healthy_ones():
    told = settings([{"name": n, "role": "control-plane"} for n in ("one", "two")])
    made = plan(told, world({"dev-one": [Machine("i-1")], "dev-two": [Machine("i-2", ready=False)]}))
    assert order(made) == ["i-2", "i-1"]


def test_one_machine_per_batch_as_long_as_that_makes_few_enough_batches():
    machines = [Machine(f"i-{n:03}") for n in range(MAX_BATCHES)]
    made = plan(settings(budget={"max_surge": 6}), world({"dev-workers": machines}))
    assert len(made.batches) == MAX_BATCHES
    more = plan(settings(budget={"max_surge": 6}), world({"dev-workers": [*machines, Machine("i-last")]}))
    assert len(more.batches) == 33
    assert max(len(batch.machines) for batch in more.batches) == 2


def test_batches_never_outgrow_the_slots_even_if_there_are_many():
    machines = [Machine(f"i-{n:03}") for n in range(300)]
    made = plan(settings(budget={"max_surge": 2}), world({"dev-workers": machines}))
    assert max(len(batch.machines) for batch in made.batches) == 2
    assert len(made.batches) == 151


def test_the_clusters_slots_cap_the_groups():
    told = settings([{"name": "a"}, {"name": "b"}], budget={"max_surge": 4, "cluster_slots": 3})
    snapshot = world({f"dev-{g}": [Machine(f"i-{g}{n}") for n in range(4)] for g in "ab"})
    made = plan(told, snapshot)
    assert (made.slots, [group.slots for group in made.groups]) == (3, [4, 4])


def test_without_raising_the_max_size_only_what_fits_below_it_is_in_flight():
    machines = [Machine(f"i-{n}") for n in range(6)]
    snapshot = world({"dev-workers": machines}, max=8)
    made = plan(settings(budget={"max_surge": 4}, raise_max_size=False), snapshot)
    assert made.group("workers").slots == 2
    assert plan(settings(budget={"max_surge": 4}), snapshot).group("workers").slots == 4


def test_the_target_is_pinned_and_a_template_that_does_not_launch_it_needs_the_image_step():
    snapshot = world({"dev-workers": [Machine("i-1")]})
    launches = plan(settings(), snapshot).group("workers")
    assert (launches.target.image, launches.target.template, launches.needs_image_step) == (NEW, NEW_TEMPLATE, False)
    lacks = plan(settings(image_step="launch_template"), snapshot, template=None)
    assert lacks.group("workers").needs_image_step
    assert lacks.blockers == ()


def test_the_same_world_and_policy_give_the_same_id_whenever_it_is_asked():
    snapshot = world({"dev-workers": [Machine("i-1"), Machine("i-2")]})
    told = settings()
    first = make_plan(told, drifts(told, snapshot), snapshot, 1.8e9)
    later = make_plan(told, drifts(told, snapshot), snapshot, 1.9e9)
    assert first.id == later.id == content_id(first)
    assert first.created != later.created


def test_another_machine_budget_or_target_gives_another_id():
    snapshot = world({"dev-workers": [Machine("i-1"), Machine("i-2")]})
    more = world({"dev-workers": [Machine("i-1"), Machine("i-2"), Machine("i-3")]})
    plans = [
        plan(settings(), snapshot),
        plan(settings(), more),
        plan(settings(budget={"max_surge": 2}), snapshot),
        plan(settings(strategy="detach"), snapshot),
        plan(settings(image_step="launch_template"), snapshot, template=None),
    ]
    assert len({made.id for made in plans}) == len(plans)


def test_a_gate_check_that_is_red_for_a_moment_may_pass_by_itself_a_lasting_blocker_may_not():
    told = settings(gate={"checks": [{"http": "http://shop.example/health"}]})
    snapshot = world({"dev-workers": [Machine("i-1"), Machine("i-2")]})
    made = plan(told, snapshot)
    (check,) = told.groups["workers"].gate.checks
    red = replace(snapshot, checks={check.label: f"{check.label} answered 503"})
    since = blocked_since(made, told, red)
    assert since.lasting == ()
    assert [blocker.reason for blocker in since.passing] == [
        f"a gate check is not green before the rotation: {check.label} answered 503"
    ]
    assert blocked_since(made, told, snapshot).passing == ()


def test_a_plan_survives_json():
    made = plan(settings(), world({"dev-workers": [Machine("i-1")]}))
    assert Plan.model_validate_json(made.model_dump_json()) == made


MACHINES = st.builds(
    lambda n, zone, days, ready, new: Machine(f"i-{n}", NEW.id if new else "ami-old", zone, days, ready),
    st.integers(0, 400),
    st.sampled_from("abc"),
    st.floats(0, 99),
    st.booleans(),
    st.booleans(),
)
GROUPS = st.lists(st.lists(MACHINES, max_size=90, unique_by=lambda machine: machine.id), min_size=1, max_size=3)


@effort(max_examples=30, deadline=None)
@given(
    GROUPS, st.one_of(st.integers(1, 12), st.sampled_from(["10%", "34%"])), st.none() | st.integers(1, 5), st.booleans()
)
def test_no_plan_exceeds_its_budget_and_every_drifted_machine_is_in_exactly_one_batch(groups, surge, cap, canary):
    names = [f"g{n}" for n in range(len(groups))]
    told = settings([{"name": n} for n in names], budget={"max_surge": surge, "cluster_slots": cap}, canary=canary)
    listed = {
        f"dev-{name}": [replace(machine, id=f"{machine.id}-{name}") for machine in machines]
        for name, machines in zip(names, groups, strict=True)
    }
    snapshot = world(listed)
    found = drifts(told, snapshot)
    made = make_plan(told, found, snapshot, 1.8e9)

    assert Counter(order(made)) == Counter(m.instance_id for drift in found for m in drift.drifted)
    assert all(len(batch.machines) <= min(made.group(batch.group).slots, made.slots) for batch in made.batches)
    assert cap is None or made.slots <= cap
    assert len({batch.name for batch in made.batches}) == len(made.batches)
    assert [batch.canary for batch in made.batches].count(True) == (1 if canary and made.batches else 0)
    assert make_plan(told, found, snapshot, 1.9e9).id == made.id
