"""The gate: regressions only, and whether the new image is to blame."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.node_rotation.builders import NEW, STOPPED, Machine, budget, not_ready, pleg, pod, world

from node_rotation.health import Baseline, Health, baseline_of, judge, workload_of
from node_rotation.world.kubernetes import Owner, Workload
from node_rotation.world.snapshot import Snapshot

API = "Deployment shop/api"


def after(*machines: Machine, desired: int = 3, ready: int = 3, **more) -> Snapshot:
    snapshot = world({"dev-workers": machines or (Machine("i-old"), Machine("i-new"))}, **more)
    return replace(snapshot, workloads=(Workload("Deployment", "shop", "api", "u", desired, ready),))


def gate(snapshot: Snapshot, baseline: Baseline | None = None, *, leaving: tuple[str, ...] = ()) -> Health:
    return judge(snapshot, baseline or Baseline(), evicted=[API], new_machines=["i-new"], leaving=leaving)


def test_all_well_is_green():
    assert gate(after()) == Health()
    assert gate(after()).green


def test_a_new_machine_that_is_not_ready_is_the_images_fault():
    health = gate(after(Machine("i-old"), Machine("i-new", ready=False)))
    assert health == Health(("node node-i-new is NotReady (KubeletNotReady)",), image_fault=True)


def test_a_new_machine_that_never_joined_is_the_images_fault():
    assert gate(after(Machine("i-new", node=False))) == Health(("machine i-new has no Node",), image_fault=True)


def test_an_old_node_gone_bad_is_a_regression_but_not_the_images_fault():
    health = gate(after(Machine("i-old", ready=False), Machine("i-new")))
    assert health == Health(("node node-i-old is NotReady (KubeletNotReady)",))


def test_what_was_broken_before_does_not_count():
    before = replace(
        after(Machine("i-old", ready=False), Machine("i-new"), ready=2, budgets=[budget(healthy=1)]),
        pods=(pod("dns", "node-i-old", namespace="kube-system", ready=False),),
    )
    assert not gate(before).green
    assert gate(before, baseline_of(before)).green


@pytest.mark.parametrize(("ready", "desired"), [(2, 3), (2, 20), (1, 2), (5, 5)])
def test_who_lacked_a_pod_before_may_lack_it_still_however_it_is_scaled(ready: int, desired: int):
    assert gate(after(ready=ready, desired=desired), baseline_of(after(ready=2))).green


def test_who_lacked_a_pod_before_may_lose_no_other():
    waiting = gate(after(ready=1), baseline_of(after(ready=2)))
    assert waiting.reasons == (f"{API}: 1 of 3 Ready, 2 of 3 before the run",)


def test_a_budget_that_was_broken_before_may_not_get_worse():
    waiting = gate(after(budgets=[budget(healthy=0)]), baseline_of(after(budgets=[budget(healthy=1)])))
    assert waiting.reasons == ("pdb shop/api: 0 of 2 pods healthy, 1 of 2 before the run",)


@pytest.mark.parametrize("namespace", ["shop", "kube-system"])
def test_a_daemon_that_failed_on_one_node_before_may_not_fail_on_the_new_one_too(namespace: str):
    key = f"DaemonSet {namespace}/api"
    failing = pod("cni-1", "node-i-new", owner="DaemonSet", namespace=namespace, ready=False)
    now = replace(after(pods=[failing]), workloads=(Workload("DaemonSet", namespace, "api", "u", 3, 1),))
    reasons = (f"pod {namespace}/cni-1 on node-i-new is not Ready",)
    assert gate(now, Baseline(unhealthy={key: (2, 3)})).reasons == reasons
    assert gate(now, Baseline(unhealthy={key: (1, 3)})).green


def test_machines_in_flight_in_any_batch_may_be_anything():
    snapshot = after(Machine("i-leaving", ready=False), Machine("i-new"))
    assert gate(snapshot, leaving=("i-leaving",)).green


def test_nodes_of_other_provisioners_come_and_go():
    snapshot = after()
    stranger = replace(snapshot.nodes[0], name="spot-1", instance_id="i-other", ready=False)
    assert gate(replace(snapshot, nodes=(*snapshot.nodes, stranger))).green


def test_an_evicted_workload_must_be_back():
    waiting = gate(after(ready=2, pods=[pod("api-9", "", ready=False, phase="Pending")]))
    assert waiting == Health((f"{API}: 2 of 3 Ready (pod shop/api-9, not scheduled,)",))


def failing(*places: tuple[str, str]) -> Health:
    """The gate over workloads of one replica, each by its namespace and the node its only pod fails on."""
    owners = [Owner("StatefulSet", f"db-{n}") for n in range(len(places))]
    pods = [
        replace(pod(f"db-{n}-0", node, namespace=namespace, ready=False), owner=owners[n])
        for n, (namespace, node) in enumerate(places)
    ]
    workloads = [Workload("StatefulSet", namespace, f"db-{n}", "u", 1, 0) for n, (namespace, _) in enumerate(places)]
    snapshot = replace(after(pods=pods), workloads=tuple(workloads))
    return judge(snapshot, Baseline(), evicted=[w.key for w in workloads], new_machines=["i-new"])


def test_one_workload_that_only_fails_on_new_nodes_is_suspicious_and_no_more():
    health = failing(("shop", "node-i-new"))
    assert not health.green
    assert (health.image_fault, health.suspects) == (False, ("StatefulSet shop/db-0",))


def test_two_workloads_of_one_namespace_may_need_each_other():
    health = failing(("shop", "node-i-new"), ("shop", "node-i-new"))
    assert (health.image_fault, health.suspects) == (False, ("StatefulSet shop/db-0", "StatefulSet shop/db-1"))


def test_two_unrelated_workloads_that_only_fail_on_new_nodes_blame_the_image():
    health = failing(("shop", "node-i-new"), ("blog", "node-i-new"))
    assert (health.image_fault, health.suspects) == (True, ())


def test_workloads_that_fail_elsewhere_as_well_are_not_even_suspicious():
    health = failing(("shop", "node-i-old"), ("blog", ""))
    assert (health.image_fault, health.suspects) == (False, ())
    assert len(health.reasons) == 2


def test_a_budget_below_its_wish_and_an_unready_system_pod_keep_the_gate_shut():
    assert gate(after(budgets=[budget(healthy=1)])).reasons == ("pdb shop/api: 1 of 2 pods healthy",)
    dns = pod("dns", "node-i-old", namespace="kube-system", ready=False)
    assert gate(after(pods=[dns])).reasons == ("pod kube-system/dns on node-i-old is not Ready",)


@pytest.mark.parametrize("namespace", ["shop", "kube-system"])
def test_a_daemons_pod_failing_on_a_new_node_alone_is_the_images_fault(namespace: str):
    daemons = {"owner": "DaemonSet", "namespace": namespace}
    failing = pod("cni-1", "node-i-new", ready=False, **daemons)
    reasons = (f"pod {namespace}/cni-1 on node-i-new is not Ready",)
    assert gate(after(pods=[failing, pod("cni-2", "node-i-old", **daemons)])) == Health(reasons, image_fault=True)


@pytest.mark.parametrize("namespace", ["shop", "kube-system"])
def test_a_daemon_set_that_is_ready_nowhere_is_not_the_images_fault(namespace: str):
    daemons = {"owner": "DaemonSet", "namespace": namespace, "ready": False}
    health = gate(after(pods=[pod("cni-1", "node-i-new", **daemons), pod("cni-2", "node-i-old", **daemons)]))
    assert not health.green
    assert not health.image_fault


def test_a_replica_sets_pod_belongs_to_its_deployment():
    workloads = after().workloads
    assert workload_of(pod("api-1"), workloads) == API
    assert workload_of(pod("bare", owner=None), workloads) is None
    assert workload_of(pod("job", owner="Job"), workloads) is None


def ailing(*reasons: str, **more) -> Snapshot:
    """Machines that are NotReady, each for its reason: the last is new, the others run the former image."""
    *old, _ = (f"i-old{n}" for n in range(len(reasons)))
    snapshot = after(*(Machine(name, ready=False) for name in old), Machine("i-new", NEW.id, ready=False), **more)
    nodes = (replace(node, ready_reason=why) for node, why in zip(snapshot.nodes, reasons, strict=True))
    return replace(snapshot, nodes=tuple(nodes))


def as_read(*said: tuple[str, str]) -> Snapshot:
    """The same, as an API server shows them: with a reason and a message each."""
    snapshot = ailing(*(reason for reason, _ in said))
    nodes = (not_ready(node, *why) for node, why in zip(snapshot.nodes, said, strict=True))
    return replace(snapshot, nodes=tuple(nodes))


UNKNOWN = "NodeStatusUnknown"


@pytest.mark.parametrize(("old", "new"), [(STOPPED, STOPPED), (pleg("3m2.1s"), pleg("4m9.7s"))])
def test_a_reason_is_the_same_whatever_its_message_says(old: tuple[str, str], new: tuple[str, str]):
    health = gate(as_read(old, new))
    assert f"node node-i-new is NotReady ({': '.join(new)})" in health.reasons
    assert not health.image_fault


def test_another_reason_is_another_one_on_an_api_server_too():
    assert gate(as_read(STOPPED, pleg("3m2.1s"))).image_fault


def test_an_image_is_not_why_old_nodes_are_not_ready_either():
    health = gate(ailing(UNKNOWN, UNKNOWN, UNKNOWN))
    assert not health.green
    assert not health.image_fault


@pytest.mark.parametrize("namespace", ["shop", "kube-system"])
def test_nor_is_it_why_pods_are_not_ready_on_such_a_node(namespace: str):
    daemons = {"owner": "DaemonSet", "namespace": namespace}
    pods = [pod("cni-1", "node-i-new", ready=False, **daemons), pod("cni-2", "elsewhere", **daemons)]
    assert not gate(ailing(UNKNOWN, UNKNOWN, pods=pods)).image_fault


def test_an_old_node_that_is_not_ready_for_another_reason_says_nothing_of_the_image():
    assert gate(ailing(UNKNOWN, "KubeletNotReady")).image_fault


def test_an_old_node_that_was_not_ready_before_says_nothing_of_the_image():
    assert gate(ailing(UNKNOWN, UNKNOWN), Baseline(frozenset({"node-i-old0"}))).image_fault


def test_an_old_node_that_its_group_terminates_says_nothing_of_the_image():
    going = Machine("i-old", ready=False, lifecycle="Terminating:Wait")
    assert gate(after(going, Machine("i-new", NEW.id, ready=False))).image_fault


def test_a_machine_of_the_same_image_says_nothing_for_it():
    assert gate(after(Machine("i-first", NEW.id, ready=False), Machine("i-new", NEW.id, ready=False))).image_fault


def test_nobody_can_join_while_no_kubelet_is_heard_of():
    new = Machine("i-new", NEW.id, node=False)
    snapshot = after(Machine("i-old", ready=False), new)
    unheard = replace(snapshot, nodes=tuple(replace(node, ready_reason=UNKNOWN) for node in snapshot.nodes))
    assert gate(snapshot).image_fault
    assert not gate(unheard).image_fault
    read = replace(snapshot, nodes=tuple(not_ready(node, *STOPPED) for node in snapshot.nodes))
    assert not gate(read).image_fault
