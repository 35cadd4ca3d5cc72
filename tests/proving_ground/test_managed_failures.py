"""EKS gives up an update on a real control plane: told by its code with what to do, later groups held, nothing lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client
from tests.proving_ground.releases import IMAGES, NEW, OLD, PARAMETERS, images
from tests.proving_ground.rotating import Told, api, run_on
from tests.proving_ground.waiting import eventually

from node_rotation import engine
from node_rotation.managed.nodegroup import OTHER_REMEDY, REMEDIES
from node_rotation.outcome import Blocked
from node_rotation.report import report
from node_rotation.testing.managed_values import UpdateFailed
from proving_ground.aws import request_log
from proving_ground.ground import Ground, start
from proving_ground.scenario import Fault, Scenario

pytestmark = [pytest.mark.proving_ground, pytest.mark.timeout(300)]

UPDATE = ("eks", "UpdateNodegroupVersion")
SCENARIO: dict[str, Any] = {
    "name": "managed-failures",
    "account": "410987650031",
    "timing": {
        "boot": "500ms",
        "shutdown": "300ms",
        "node_removal": "300ms",
        "eks_pause": "500ms",
        "eks_look": "300ms",
        "eks_eviction": "3s",
        "eks_nodes": "4s",
    },
    "images": IMAGES,
    "parameters": PARAMETERS,
    "clusters": [
        {
            "name": "dev",
            "environment": "dev",
            "kind": "eks",
            "groups": [
                {"name": name, "kind": "eks-managed", "image": OLD, "min": 1, "max": 4, "desired": size, "zones": ["a"]}
                for name, size in (("small", 1), ("large", 2), ("dry", 1), ("tight", 1))
            ],
            "workloads": [
                {
                    "name": "web",
                    "replicas": 5,
                    "ready_after": "500ms",
                    "stops_after": "500ms",
                    "spread": "hostname",
                    "budget": {"max_unavailable": 1},
                },
                {"name": "agent", "kind": "DaemonSet", "namespace": "kube-system"},
            ],
        }
    ],
}
POLICY = {"gate": {"settle": "1s", "timeout": "60s"}, "poll": "1s"}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with start(Scenario.model_validate(SCENARIO), tmp_path_factory.mktemp("managed")) as running:
        yield running


@pytest.fixture(autouse=True)
def aws(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ground.env.items():
        monkeypatch.setenv(name, value)


def rotated(ground: Ground, *groups: str, told: Told | None = None) -> tuple[engine.Result, dict[str, Any]]:
    """A rotation of some groups: how it ended, and its report."""
    managed = [{"name": name, "kind": "eks-managed", "eks_cluster": "dev", "nodegroup": name} for name in groups]
    run = run_on(ground, managed, POLICY)
    result = (told or Told()).rotate(run)
    return result, report(run.plan, result)


def failure(result: engine.Result, batch: str) -> Blocked:
    """What the only batch that failed was blocked by."""
    ((name, why),) = result.failed
    assert name == batch
    return why


def behave(ground: Ground, behaviour: str) -> None:
    """Have machines that boot from the new image from now on behave so."""
    with ground.aws.world.lock:
        ground.aws.world.images.set_behaviour(NEW, behaviour, 0.0)


def asked(ground: Ground) -> list[tuple[str, str]]:
    """What AWS was asked to change so far."""
    return [(r.service, r.action) for r in request_log.mutations(ground.request_log)]


def lock(ground: Ground) -> list[str]:
    """Who holds the cluster's lock."""
    leases = client.CoordinationV1Api(api(ground)).list_namespaced_lease("kube-system").items
    return [lease.spec.holder_identity for lease in leases if lease.metadata.name == "node-rotation"]


def budget_of_web(ground: Ground, spec: dict[str, Any]) -> None:
    """Somebody changes the budget of ``web``."""
    policies = client.PolicyV1Api(api(ground))
    policies.patch_namespaced_pod_disruption_budget("web", "default", {"spec": spec})


@pytest.mark.parametrize("code", ["InsufficientFreeAddresses", "InstanceLimitExceeded", "AccessDenied", "SomethingNew"])
def test_a_code_is_told_with_what_to_do_and_the_larger_group_is_held(ground: Ground, code: str) -> None:
    ground.aws.world.eks.next_failure = UpdateFailed(code, "AWS' own words", ("subnet-1",))
    before = asked(ground)

    result, _ = rotated(ground, "small", "large")

    why = failure(result, "small/1")
    assert f"{code}: AWS' own words" in why.reason
    assert why.remedy == REMEDIES.get(code, OTHER_REMEDY)
    assert "subnet-1" in why.objects
    assert result.skipped == ("large/1",)
    assert result.frozen == ()
    assert asked(ground)[len(before) :] == [UPDATE]
    assert (images(ground, "dev-small"), images(ground, "dev-large"), lock(ground)) == ([OLD], [OLD] * 2, [])


def test_no_capacity_is_told_in_ec2s_words_and_is_no_fault_of_the_image(ground: Ground) -> None:
    ground.aws.world.faults.add(Fault(kind="capacity"))

    result, _ = rotated(ground, "dry", "large")

    ground.aws.world.faults.clear()
    why = failure(result, "dry/1")
    assert "AsgInstanceLaunchFailures" in why.reason
    assert "sufficient m6i.large capacity" in why.reason
    assert not why.image_fault
    assert (result.skipped, result.frozen) == (("large/1",), ())
    assert lock(ground) == []


def test_a_budget_that_closes_midway_is_named_with_its_pod_and_so_is_what_eks_leaves(ground: Ground) -> None:
    told = Told({("tight/1", "drain"): lambda: budget_of_web(ground, {"maxUnavailable": 0})})

    result, found = rotated(ground, "tight", told=told)

    why = failure(result, "tight/1")
    assert "PodEvictionFailure" in why.reason
    assert "pdb default/web" in why.objects
    assert any(one.startswith("pod default/web-") for one in why.objects)
    assert not why.image_fault
    assert any("pdb default/web" in line and "EKS gives up" in line for line in told.said)
    problems = " ".join(found["verdict"]["problems"])
    assert "node group dev/tight has desired 3, 1 when it was planned" in problems
    assert "kubectl uncordon" in problems

    budget_of_web(ground, {"maxUnavailable": 1})
    again, found = rotated(ground, "tight")
    assert again.ok, found
    assert eventually(lambda: images(ground, "dev-tight") == [NEW])


def test_an_image_that_makes_no_node_is_frozen_by_the_smallest_group_and_the_larger_one_keeps_its_machines(
    ground: Ground,
) -> None:
    behave(ground, "never-joins")
    before = asked(ground)

    result, _ = rotated(ground, "small", "large")

    why = failure(result, "small/1")
    assert "NodeCreationFailure" in why.reason
    assert why.image_fault
    assert result.skipped == ("large/1",)
    assert any(NEW in line and "is frozen since" in line for line in result.frozen)
    assert asked(ground)[len(before) :] == [UPDATE, ("ssm", "PutParameter")]
    assert OLD in images(ground, "dev-small")
    assert images(ground, "dev-large") == [OLD] * 2

    again, _ = rotated(ground, "large")
    assert again.failed == ()
    assert images(ground, "dev-large") == [OLD] * 2
    assert asked(ground)[len(before) :] == [UPDATE, ("ssm", "PutParameter")]
