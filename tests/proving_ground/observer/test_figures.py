"""What the observer makes of what it sees."""

from __future__ import annotations

from typing import Any

import pytest

from proving_ground.observer import page
from proving_ground.observer.bound import Bound, Part
from proving_ground.observer.figures import figures, refusal
from proving_ground.observer.residue import Aws, residue
from proving_ground.observer.seen import Seen

OWNED = {"kubernetes.io/cluster/dev": "owned"}
GROUP = {"MinSize": 1, "MaxSize": 4, "DesiredCapacity": 2, "SuspendedProcesses": [], "Tags": [], "Instances": []}


def machine(instance: str, kind: str, at: float, image: str = "ami-old") -> dict[str, Any]:
    event = {"t": at, "kind": kind, "instance_id": instance, "image_id": image}
    return event | {"zone": "eu-central-1a", "group": "dev-workers", "tags": OWNED}


def node(name: str, instance: str, **spec: Any) -> dict[str, Any]:
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    return {"metadata": {"name": name}, "spec": {"providerID": f"aws:///a/{instance}", **spec}, "status": ready}


def pod(name: str, *, ready: bool = True, leaving: bool = False) -> dict[str, Any]:
    metadata = {"namespace": "shop", "name": name, "labels": {"app": "api"}}
    if leaving:
        metadata["deletionTimestamp"] = "2026-11-21T00:00:00Z"
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {"metadata": metadata, "spec": {}, "status": {"conditions": conditions}}


def budget(desired: int, expected: int) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "shop", "name": "api"},
        "spec": {"selector": {"matchLabels": {"app": "api"}}},
        "status": {"desiredHealthy": desired, "expectedPods": expected},
    }


def aws(image: str, *instances: str, grouped: bool = True, **group: Any) -> Aws:
    listed = frozenset(instances) if grouped else frozenset()
    live = {instance: {"ImageId": image, "Tags": []} for instance in instances}
    members = [{"InstanceId": instance} for instance in sorted(listed)]
    groups = {"dev-workers": {**GROUP, "Instances": members, **group}}
    return Aws("dev", groups, live, listed, "ami-new")


def call(at: float, action: str, *, mutating: bool = True, **parameters: Any) -> dict[str, Any]:
    parameters = parameters or {"AutoScalingGroupName": "dev-workers"}
    return {"t": at, "action": action, "mutating": mutating, "parameters": parameters}


@pytest.fixture
def seen() -> Seen:
    """Two old machines, a budget of three pods that wants two of them."""
    seen = Seen("dev", frozenset({"dev-workers", "lt-dev"}))
    for instance in ("i-1", "i-2"):
        seen.aws(machine(instance, "running", 0.0))
        seen.kubernetes(1.0, "node", "ADDED", node(f"n{instance}", instance))
    for name in ("a", "b", "c"):
        seen.kubernetes(1.0, "pod", "ADDED", pod(name))
    seen.kubernetes(1.0, "budget", "ADDED", budget(desired=2, expected=3))
    seen.start(10.0)
    return seen


def test_an_eviction_within_the_budget_is_no_violation(seen: Seen) -> None:
    seen.kubernetes(11.0, "pod", "MODIFIED", pod("a", leaving=True))

    assert not seen.violations
    assert seen.min_available == pytest.approx(2 / 3)


def test_pods_that_leave_while_their_successors_serve_make_nothing_less_available(seen: Seen) -> None:
    """With a number as minAvailable the API server expects every pod there is, those that leave too."""
    for name in ("d", "e", "f"):
        seen.kubernetes(11.0, "pod", "ADDED", pod(name))
    seen.kubernetes(12.0, "budget", "MODIFIED", budget(desired=2, expected=6))
    for name in ("a", "b", "c"):
        seen.kubernetes(13.0, "pod", "MODIFIED", pod(name, leaving=True))

    assert seen.min_available == 1.0


def test_a_budget_below_its_least_is_a_violation_once_until_it_recovers(seen: Seen) -> None:
    for name in ("a", "b", "c"):
        seen.kubernetes(11.0, "pod", "MODIFIED", pod(name, leaving=True))

    assert seen.violations == [(11.0, "shop/api", 1, 2)]
    assert seen.min_available == 0


def test_missing_pods_add_up_over_time(seen: Seen) -> None:
    workload = {
        "metadata": {"namespace": "shop", "name": "api"},
        "spec": {"replicas": 3},
        "status": {"readyReplicas": 1},
    }
    seen.kubernetes(20.0, "workload", "MODIFIED", workload)
    seen.kubernetes(25.0, "workload", "MODIFIED", workload | {"status": {"readyReplicas": 3}})
    seen.kubernetes(99.0, "workload", "MODIFIED", workload)

    assert seen.unready_pod_seconds == 10


def test_a_whole_rotation_in_figures_and_as_a_page(seen: Seen) -> None:
    seen.request(call(12.0, "DescribeAutoScalingGroups", mutating=False))
    seen.request(call(15.0, "SuspendProcesses"))
    for instance in ("i-3", "i-4"):
        seen.aws(machine(instance, "launched", 16.0, "ami-new"))
        seen.kubernetes(46.0, "node", "ADDED", node(f"n{instance}", instance))
    for instance in ("i-1", "i-2"):
        seen.kubernetes(47.0, "node", "MODIFIED", node(f"n{instance}", instance, unschedulable=True))
        seen.aws(machine(instance, "shutting-down", 60.0))
        seen.aws(machine(instance, "terminated", 62.0))
    before, after = aws("ami-old", "i-1", "i-2"), aws("ami-new", "i-3", "i-4")
    finished = {"environment": "dev", "run_id": "run-1", "at": 115.0}

    bound = Bound((Part("the canary", 60.0), Part("1 worker", 15.0, beside=True)))

    result = figures(seen, before, after, [], finished, bound.seconds)

    assert result.good
    assert (result.drift_before, result.drift_after, result.machines_rotated) == (2, 0, 2)
    assert (result.makespan_s, result.bound_s) == (100.0, 75.0)
    html = page.page([page.rotation(result, bound, seen, [], 115.0)])
    assert all(instance in html for instance in ("i-1", "i-2", "i-3", "i-4"))
    assert "The bound, 75 s" in html
    assert "the canary = 60 s" in html
    assert "http" not in html


def test_what_is_done_to_another_cluster_of_the_account_is_no_beginning(seen: Seen) -> None:
    seen.request(call(12.0, "SuspendProcesses", AutoScalingGroupName="staging-workers"))
    seen.request(call(13.0, "PutParameter", Name="/node-rotation/frozen/1"))
    assert seen.first_change is None

    seen.request(call(14.0, "CreateLaunchTemplateVersion", LaunchTemplateId="lt-dev"))
    assert seen.first_change == 14.0


def test_a_call_about_a_machine_of_the_cluster_is_a_beginning(seen: Seen) -> None:
    seen.request(call(14.0, "CreateTags", Resources=["i-9", "i-2"]))

    assert seen.first_change == 14.0


def test_a_bad_image_that_cost_nothing(seen: Seen) -> None:
    before, after = aws("ami-old", "i-1", "i-2"), aws("ami-old", "i-1", "i-2")
    finished = {"environment": "dev", "run_id": "run-1", "at": 115.0}

    result = refusal(seen, before, after, [], finished)

    assert result.good
    assert (result.machines, result.refused_image) == (2, "ami-new")
    assert "ami-new is bad" in page.refused(result, seen, [], 115.0)


def test_a_machine_lost_to_a_bad_image_and_one_that_runs_it_are_told(seen: Seen) -> None:
    before, after = aws("ami-old", "i-1", "i-2"), aws("ami-old", "i-1")
    after.instances["i-3"] = {"ImageId": "ami-new", "Tags": []}
    finished = {"environment": "dev", "run_id": "run-1", "at": 115.0}

    result = refusal(seen, before, after, ["node n1: cordoned"], finished)

    assert (result.machines_lost, result.machines_on_it, result.orphans, result.residue) == (1, 1, 1, 1)
    assert not result.good


def test_what_names_a_cluster_are_its_groups_templates_and_machines() -> None:
    specification = {"LaunchTemplateId": "lt-1", "LaunchTemplateName": "dev-workers", "Version": "$Latest"}
    mixed = {"LaunchTemplate": {"LaunchTemplateSpecification": specification, "Overrides": []}}

    found = aws("ami-old", "i-1", MixedInstancesPolicy=mixed)

    assert found.owned == {"dev-workers", "lt-1", "i-1"}
    assert found.old_by_group == {"dev-workers": 1}


def test_an_old_machine_kept_is_drift_and_one_outside_of_the_groups_an_orphan(seen: Seen) -> None:
    before, after = aws("ami-old", "i-1", "i-2"), aws("ami-old", "i-2", grouped=False)

    result = figures(seen, before, after, [], {"environment": "dev", "run_id": "r", "at": 20.0}, 0.0)

    assert (result.drift_after, result.orphans, result.good) == (1, 1, False)


def test_everything_left_behind_is_named() -> None:
    before = aws("ami-old", "i-1")
    after = aws(
        "ami-old",
        "i-1",
        DesiredCapacity=3,
        SuspendedProcesses=[{"ProcessName": "AZRebalance"}],
        Tags=[{"Key": "node-rotation/baseline", "Value": "{}"}],
    )
    after.instances["i-1"]["Tags"].append({"Key": "node-rotation/run", "Value": "run-1"})
    left_node = node(
        "n1", "i-1", unschedulable=True, taints=[{"key": "node-rotation/old", "effect": "PreferNoSchedule"}]
    )
    lease = {"spec": {"holderIdentity": "run-1"}}

    left = residue(before, after, {"n1": left_node}, lease)

    assert left == [
        "group dev-workers: DesiredCapacity is 3, was 2",
        "group dev-workers: process AZRebalance is suspended",
        "group dev-workers: tag node-rotation/baseline",
        "instance i-1: tag node-rotation/run",
        "node n1: taint node-rotation/old",
        "node n1: cordoned",
        "lease kube-system/node-rotation is still held by run-1",
    ]
