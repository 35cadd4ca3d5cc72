from __future__ import annotations

import time

import pytest
from kubernetes import client
from tests.proving_ground.waiting import eventually

from proving_ground import workloads
from proving_ground.scenario import Workload

NAMESPACE = "default"


def test_a_budget_comes_before_the_pods_it_guards():
    kinds = [one["kind"] for one in workloads.manifests(Workload(name="web", budget={"max_unavailable": 1}))]
    assert kinds == ["PodDisruptionBudget", "Deployment"]


def test_durations_become_annotations_and_the_grace_period_has_room_for_them():
    (manifest,) = workloads.manifests(Workload(name="slow", ready_after="2m", stops_after="90s"))
    template = manifest["spec"]["template"]
    assert template["metadata"]["annotations"]["proving-ground/ready-after"] == "120s"
    assert template["metadata"]["annotations"]["proving-ground/stops-after"] == "90s"
    assert template["spec"]["terminationGracePeriodSeconds"] == 90


def test_daemon_set_pods_are_ready_at_once_unless_the_scenario_says_otherwise():
    (quick,) = workloads.manifests(Workload(name="agent", kind="DaemonSet"))
    (slow,) = workloads.manifests(Workload(name="agent", kind="DaemonSet", ready_after="5s"))
    read = "proving-ground/ready-after"
    assert quick["spec"]["template"]["metadata"]["annotations"][read] == "0s"
    assert slow["spec"]["template"]["metadata"]["annotations"][read] == "5s"


def test_what_makes_a_pod_hard_to_drain_is_in_its_spec():
    workload = Workload(
        name="odd",
        kind="Pod",
        empty_dir=True,
        tolerate_everything=True,
        spread="zone",
        finalizers=["example.com/stay"],
        annotations={"karpenter.sh/do-not-disrupt": "true"},
        priority_class="gold",
    )
    (pod,) = workloads.manifests(workload)
    assert pod["spec"]["priorityClassName"] == "gold"
    assert pod["metadata"]["finalizers"] == ["example.com/stay"]
    assert pod["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"] == "true"
    assert pod["spec"]["volumes"] == [{"name": "scratch", "emptyDir": {}}]
    assert pod["spec"]["tolerations"] == [{"operator": "Exists"}]
    assert pod["spec"]["topologySpreadConstraints"][0]["topologyKey"] == "topology.kubernetes.io/zone"


def test_each_pod_of_a_stateful_set_has_a_volume_of_its_own_in_a_zone_in_turn():
    queue = Workload(name="queue", kind="StatefulSet", replicas=3, volume=True)
    *pairs, controller = workloads.manifests(queue, ("eu-central-1a", "eu-central-1b"))
    volumes, wanted = pairs[::2], pairs[1::2]
    assert [one["metadata"]["name"] for one in wanted] == ["data-queue-0", "data-queue-1", "data-queue-2"]
    assert [one["spec"]["volumeName"] for one in wanted] == [one["metadata"]["name"] for one in volumes]
    terms = [one["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0] for one in volumes]
    assert [term["matchExpressions"][0]["values"][0][-1] for term in terms] == ["a", "b", "a"]
    (template,) = controller["spec"]["volumeClaimTemplates"]
    (container,) = controller["spec"]["template"]["spec"]["containers"]
    assert [mount["name"] for mount in container["volumeMounts"]] == [template["metadata"]["name"]]


def test_only_stateful_sets_have_volumes():
    with pytest.raises(ValueError, match="Deployment web: only a StatefulSet's pods have volumes here"):
        Workload(name="web", volume=True)


def pod_or_none(core, name):
    try:
        return core.read_namespaced_pod(name, NAMESPACE)
    except client.ApiException as error:
        if error.status == 404:
            return None
        raise


@pytest.fixture
def pod(api, core):
    """Create a bare pod and wait until it is Ready; it is gone after the test."""
    created = []

    def run(name, **fields):
        workload = Workload(name=name, kind="Pod", **fields)
        created.append(name)
        workloads.create(api, [workload])
        workloads.wait_ready(api, [workload], 30)
        return name

    yield run
    for name in created:
        if pod_or_none(core, name):
            core.patch_namespaced_pod(name, NAMESPACE, {"metadata": {"finalizers": None}})
        if pod_or_none(core, name):
            core.delete_namespaced_pod(name, NAMESPACE, grace_period_seconds=0)


@pytest.mark.proving_ground
def test_a_pod_is_ready_after_its_time_and_gone_after_its_time(pod, core):
    started = time.monotonic()
    name = pod("timed", ready_after="2s", stops_after="3s")
    assert 1.9 <= time.monotonic() - started < 6
    deleted = time.monotonic()
    core.delete_namespaced_pod(name, NAMESPACE)
    eventually(lambda: pod_or_none(core, name) is None)
    assert 2.9 <= time.monotonic() - deleted < 7


@pytest.mark.proving_ground
def test_a_pod_that_would_stop_later_than_its_grace_period_is_gone_at_its_end(pod, core):
    name = pod("stubborn", stops_after="10m", priority_class="gold")
    core.delete_namespaced_pod(name, NAMESPACE, grace_period_seconds=1)
    eventually(lambda: pod_or_none(core, name) is None, within_s=15)


@pytest.mark.proving_ground
def test_a_pod_with_a_finalizer_stays_terminating_until_somebody_takes_it_off(pod, core):
    name = pod("stuck", stops_after="0s", finalizers=["example.com/stay"])
    core.delete_namespaced_pod(name, NAMESPACE)
    # The kubelet is done with it: grace 0 and a terminal phase, as on a real node.
    eventually(lambda: core.read_namespaced_pod(name, NAMESPACE).metadata.deletion_grace_period_seconds == 0)
    assert core.read_namespaced_pod(name, NAMESPACE).status.phase == "Failed"
    core.patch_namespaced_pod(name, NAMESPACE, {"metadata": {"finalizers": None}})
    eventually(lambda: pod_or_none(core, name) is None)


@pytest.mark.proving_ground
def test_a_pod_that_was_taken_for_not_ready_with_its_node_is_ready_again(pod, core):
    """What the node lifecycle controller writes while the API server hears of no kubelet, each kubelet puts right.

    https://kubernetes.io/docs/concepts/architecture/nodes/#node-controller
    """
    name = pod("doubted", ready_after="0.2s")

    def ready(found):
        return next(one.status for one in found.status.conditions if one.type == "Ready")

    doubt = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    assert ready(core.patch_namespaced_pod_status(name, NAMESPACE, doubt)) == "False"
    eventually(lambda: ready(core.read_namespaced_pod(name, NAMESPACE)) == "True")


@pytest.mark.proving_ground
def test_a_job_s_pod_completes(api):
    batch = client.BatchV1Api(api)
    eventually(lambda: batch.read_namespaced_job("migration", NAMESPACE).status.succeeded == 1)


@pytest.mark.proving_ground
def test_a_workload_that_never_gets_ready_is_named(api):
    workload = Workload(name="slow", kind="Pod", ready_after="10m")
    workloads.create(api, [workload])
    try:
        with pytest.raises(workloads.UnreadyError, match="Pod default/slow"):
            workloads.wait_ready(api, [workload], 0.5)
    finally:
        client.CoreV1Api(api).delete_namespaced_pod("slow", NAMESPACE, grace_period_seconds=0)
