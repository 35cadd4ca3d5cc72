"""What stands in the way of a plan, each with objects and remedy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.node_rotation.builders import Machine, budget, drifts, plan, pod, settings, world

from node_rotation.model import Blocker, Plan
from node_rotation.planning import make_plan
from node_rotation.world.aws import Hook, Target, TemplateSpec

WEB = "arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/web/0123456789abcdef"
ONE = {"dev-workers": [Machine("i-1")]}


def only(made: Plan) -> Blocker:
    (blocker,) = made.blockers
    assert blocker.objects
    assert blocker.remedy
    return blocker


def test_an_ordinary_group_is_not_blocked():
    assert plan(settings(), world(ONE)).blockers == ()


def test_a_full_group_blocks_surge_only_if_its_max_size_may_not_be_raised():
    raised = plan(settings(), world(ONE))
    assert raised.blockers == ()
    assert "the max size of dev-workers is raised from 1 for the run, and restored after it" in raised.notes
    fixed = only(plan(settings(raise_max_size=False), world(ONE)))
    assert fixed.reason == "surge is impossible: dev-workers has max size 1, desired 1"


def test_an_external_image_step_that_has_not_happened_blocks():
    blocker = only(plan(settings(image_step="external"), world(ONE), template=None))
    assert "does not launch the target ami-new, and the image step is external" in blocker.reason


def test_a_launch_configuration_cannot_take_the_image():
    spec = TemplateSpec("base-2025", launch_configuration=True)
    made = plan(settings(image_step="launch_template"), world(ONE, template=spec), template=None)
    assert "uses launch configuration base-2025, which can't be changed" in only(made).reason


def test_but_a_command_may_replace_it():
    spec = TemplateSpec("base-2025", launch_configuration=True)
    told = settings(image_step="command", image_command={"argv": ["terraform-image"]})
    made = plan(told, world(ONE, template=spec), template=None)
    assert made.blockers == ()
    assert made.notes[0] == "terraform-image will have dev-workers launch ami-new"


@pytest.mark.parametrize(
    ("what", "named", "would"),
    [
        ({"target_groups": (WEB,)}, "target group web", "takes them out of target group web"),
        ({"load_balancers": ("old",)}, "load balancer old", "takes them out of load balancer old"),
        ({"hooks": (Hook("bye", "terminating"),)}, "hook bye", "bypasses the terminating hook bye"),
    ],
)
def test_detach_is_refused_where_it_would_cut_traffic_or_bypass_hooks(what, named, would):
    snapshot = world(ONE, **what)
    blocker = only(plan(settings(strategy="detach"), snapshot))
    assert blocker.objects == ("group workers", named)
    assert f"detaching machines from dev-workers {would}" in blocker.reason
    assert "use strategy: surge" in blocker.remedy
    allowed = settings(strategy="detach", allow_detach_behind_load_balancer=True)
    assert plan(allowed, snapshot).blockers == ()
    assert plan(settings(strategy="surge"), snapshot).blockers == ()


def test_a_launching_hook_is_no_reason_not_to_detach():
    snapshot = world(ONE, hooks=(Hook("hello", "launching"),))
    assert plan(settings(strategy="detach"), snapshot).blockers == ()


def test_new_machines_that_would_not_be_registered_block():
    suspended = world(ONE, target_groups=(WEB,), suspended={"AddToLoadBalancer": "?"})
    assert "new machines would never serve its target groups" in only(plan(settings(), suspended)).reason


def test_nobody_could_take_over_from_the_only_target_if_it_goes_first():
    alone = replace(world(ONE, target_groups=(WEB,)), targets={WEB: {"i-1": Target("healthy")}})
    made = plan(settings(strategy="terminate_first"), alone)
    assert only(made).objects == ("group workers", "target group web")
    assert plan(settings(), alone).blockers == ()
    two = replace(alone, targets={WEB: {"i-1": Target("healthy"), "i-elsewhere": Target("healthy")}})
    assert plan(settings(strategy="terminate_first"), two).blockers == ()


def test_what_load_balancers_and_hooks_mean_for_the_night_is_noted():
    hooks = (Hook("hello", "launching", 60.0), Hook("bye", "terminating", 7200.0))
    snapshot = world(ONE, target_groups=(WEB,), load_balancers=("old",), hooks=hooks, health_check_type="EC2,ELB")
    said = plan(settings(), snapshot).notes
    assert "HealthCheck of dev-workers is suspended for the run: it would replace what leaves a target group" in said
    assert "dev-workers also serves old: there Auto Scaling itself takes machines in and out" in said
    assert "each machine of dev-workers waits for its launching hook hello, up to 60 s" in said
    assert "hook bye may take longer than hook_timeout (3600 s), then the batch fails" in said


def test_a_node_that_asks_not_to_be_disrupted_blocks_where_the_policy_says_so():
    snapshot = world(ONE)
    asks = replace(snapshot.nodes[0], annotations={"karpenter.sh/do-not-disrupt": "true"})
    snapshot = replace(snapshot, nodes=(asks,))
    blocker = only(plan(settings(drain={"do_not_disrupt": "block"}), snapshot))
    assert blocker.objects == ("node node-i-1",)
    assert plan(settings(), snapshot).blockers == ()


def test_a_running_instance_refresh_is_another_actor():
    blocker = only(plan(settings(), world(ONE, refresh_in_progress="08b91cf7")))
    assert blocker.reason == "instance refresh 08b91cf7 is replacing the machines of dev-workers"


def test_a_plan_says_that_a_warm_pool_is_renewed():
    made = plan(settings(), world(ONE, warm_pool=True))
    assert made.blockers == ()
    assert "the warm pool of dev-workers is renewed: its machines on another image are terminated" in made.notes


def test_a_warm_pool_that_takes_machines_back_could_give_an_old_one_to_the_next_batch():
    """AWS leaves open whether what is terminated with a smaller desired size counts as scaled in."""
    snapshot = world(ONE, warm_pool=True, warm_pool_reuses=True)
    blocker = only(plan(settings(), snapshot))
    assert blocker.reason == (
        "the warm pool of dev-workers takes machines back on scale-in (ReuseOnScaleIn): a batch could be given an old "
        "one that another has just terminated"
    )
    assert blocker.objects == ("group workers", "asg dev-workers")
    assert "set ReuseOnScaleIn to false (PutWarmPool)" in blocker.remedy
    for strategy in ("detach", "terminate_first"):  # there desired stays, and nothing is scaled in
        assert plan(settings(strategy=strategy), snapshot).blockers == ()


def test_a_group_that_may_not_launch_is_named():
    assert "Launch of dev-workers is suspended" in only(plan(settings(), world(ONE, suspended={"Launch": "?"}))).reason


@pytest.mark.parametrize("strategy", ["surge", "detach"])
def test_a_group_whose_types_have_weights_is_named(strategy):
    told = settings(strategy=strategy)
    blocker = only(plan(told, world(ONE, weights=(1, 4))))
    assert blocker.reason == "dev-workers weighs its instance types (1, 4): its sizes count units, not machines"
    assert plan(told, world(ONE, weights=(1, 1))).blockers == ()


@pytest.mark.parametrize("unit", ["vcpu", "memory-mib"])
def test_a_group_whose_sizes_count_no_machines_is_named(unit):
    blocker = only(plan(settings(budget={"max_surge": "25%"}), world(ONE, sized_in=unit)))
    assert blocker.reason == f"dev-workers is sized in {unit} (DesiredCapacityType), not in machines"
    assert blocker.objects == ("group workers", "asg dev-workers")


def test_an_override_that_names_another_image_itself_is_named():
    """No template version changes what it launches: the canary would fail every night."""
    snapshot = world(ONE, override_images={"m6i.large": "ami-new", "number 2": "ami-old"})
    for image_step in ("external", "launch_template"):
        blocker = only(plan(settings(image_step=image_step), snapshot))
        assert blocker.reason == (
            "override number 2 of dev-workers names ami-old as its ImageId, not the target ami-new"
        )
        assert blocker.objects == ("group workers", "asg dev-workers", "image ami-old")
        assert "take ImageId out of that override" in blocker.remedy
    told = settings(image_step="command", image_command={"argv": ["terraform-image"]})
    assert plan(told, snapshot).blockers == (), "what is the command's to change"


def test_protected_machines_are_named():
    locked = world({"dev-workers": [Machine("i-1", locked=True), Machine("i-2")]})
    assert only(plan(settings(), locked)).objects == ("machine i-1",)
    kept = world({"dev-workers": [Machine("i-1", protected=True), Machine("i-2")]})
    for strategy in ("surge", "detach", "terminate_first"):
        blocker = only(plan(settings(strategy=strategy), kept))
        assert "protected against scale-in" in blocker.reason
        assert "scale_in_protected: replace" in blocker.remedy
    assert plan(settings(scale_in_protected="replace"), kept).blockers == ()


def test_a_budget_that_can_never_allow_is_named_once_with_all_its_pods():
    pods = [pod("api-1", "node-i-1"), pod("api-2", "node-i-1")]
    made = plan(settings(), world(ONE, pods=pods, budgets=[budget(expected=3, desired=3)]))
    assert only(made).objects == ("pdb shop/api", "pod shop/api-1", "pod shop/api-2")


def test_pods_on_machines_that_stay_do_not_block():
    machines = {"dev-workers": [Machine("i-1"), Machine("i-new", image="ami-new")]}
    made = plan(settings(), world(machines, pods=[pod("bare", "node-i-new", owner=None)]))
    assert made.blockers == ()


def test_bare_pods_block_unless_the_policy_or_a_deadline_lets_them_go():
    snapshot = world(ONE, pods=[pod("bare", "node-i-1", owner=None)])
    assert only(plan(settings(), snapshot)).objects == ("pod shop/bare",)
    assert plan(settings(drain={"bare_pods": "evict"}), snapshot).blockers == ()
    assert plan(settings(drain={"force_after": "30m"}), snapshot).blockers == ()


def test_what_replaces_machines_by_itself_is_noted():
    made = plan(settings(), world(ONE, max_lifetime_s=604800, capacity_rebalance=True))
    assert any("MaxInstanceLifetime" in note for note in made.notes)
    assert any("CapacityRebalance" in note for note in made.notes)


TWO = {"dev-workers": [Machine("i-1")], "dev-gpu": [Machine("i-2")]}
SOAKS = Blocker(reason="image ami-gpu soaks", objects=("image ami-gpu",), remedy="wait", held_back=True)
MISSING = Blocker(reason="there is no parameter /x", objects=("ssm /x",), remedy="create it")


def beside(*found: Blocker, workers_drifted: bool = True) -> Plan:
    """A plan of ``workers``, while no image is found for ``gpu``."""
    told, snapshot = settings([{"name": "workers"}, {"name": "gpu"}]), world(TWO)
    workers, gpu = drifts(told, snapshot)
    if not workers_drifted:
        workers = workers.model_copy(update={"drifted": ()})
    gpu = gpu.model_copy(update={"target": None, "drifted": (), "blockers": found})
    return make_plan(told, [workers, gpu], snapshot, 1.8e9)


def test_a_group_whose_image_is_held_back_is_left_out_and_keeps_no_other_from_its_rotation():
    made = beside(SOAKS)
    assert ([batch.name for batch in made.batches], made.blockers) == (["workers/1"], ())
    assert "group gpu is left out: image ami-gpu soaks" in made.notes


def test_where_nothing_else_is_to_be_rotated_it_is_the_answer():
    made = beside(SOAKS, workers_drifted=False)
    assert (made.batches, made.blockers) == ((), (SOAKS,))
    assert not any("left out" in note for note in made.notes)


def test_what_is_broken_in_a_group_blocks_the_others_as_well():
    made = beside(SOAKS, MISSING)
    assert made.blockers == (MISSING,)
    assert "group gpu is left out: image ami-gpu soaks" in made.notes


def test_a_group_that_the_plan_has_batches_of_keeps_what_holds_it_back():
    told, snapshot = settings([{"name": "workers"}, {"name": "gpu"}]), world(TWO)
    workers, gpu = drifts(told, snapshot)
    made = make_plan(told, [workers, gpu.model_copy(update={"blockers": (SOAKS,)})], snapshot, 1.8e9)
    assert ([batch.group for batch in made.batches], made.blockers) == (["workers", "gpu"], (SOAKS,))
