"""The doctor on a real API server and an AWS: with docs/rbac.yaml all is well, with less each right is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from tests.deployment.test_rbac import as_group

from node_rotation.checkup import rights as checkup
from node_rotation.checkup.doctor import Check, Finding
from node_rotation.checkup.examine import Patient, examine
from node_rotation.checkup.rights import Answer
from node_rotation.clients.aws import AwsCloud
from node_rotation.clients.aws_account import AwsAccount
from node_rotation.clients.kubernetes import KubernetesCluster
from node_rotation.clients.kubernetes_review import KubernetesReview
from node_rotation.clients.wall import WallClock
from node_rotation.configuration.autoscaler_policy import AutoscalerPolicy
from node_rotation.configuration.intake_policy import ObjectRef
from node_rotation.errors import GoneError
from node_rotation.fleet import Fleet
from proving_ground.ground import Ground
from proving_ground.scenario import Fault

ROOT = Path(__file__).parents[2]
RULES = [
    rule for role in yaml.safe_load_all((ROOT / "docs" / "rbac.yaml").read_text()) for rule in role.get("rules", ())
]


@pytest.fixture(scope="module")
def aws(ground: Ground) -> Iterator[boto3.Session]:
    env = ground.env
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", ground.endpoint)
        patch.setenv("NO_PROXY", env["NO_PROXY"])
        yield boto3.Session(
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
            region_name=env["AWS_REGION"],
        )


@pytest.fixture
def faults(ground: Ground) -> Iterator[Any]:
    yield ground.aws.world.faults
    ground.aws.world.faults.clear()


def findings(ground: Ground, aws: boto3.Session, kubeconfig: Path, group: str) -> tuple[Finding, ...]:
    cluster = {
        "name": "guarded",
        "aws": {"region": ground.scenario.region},
        "groups": [{"name": "workers", "asg": "guarded-workers"}],
    }
    fleet = Fleet.model_validate({"environments": [{"name": "dev", "clusters": [cluster]}]})
    api = as_group(kubeconfig, group)
    kubernetes = (KubernetesCluster(api), AwsAccount(aws), KubernetesReview(api))
    return examine(Patient(fleet.settings("guarded"), AwsCloud(aws), *kubernetes, WallClock()))


def as_rules(rights: tuple[checkup.Right, ...]) -> set[tuple[str, str, str, str]]:
    return {(right.group, right.resource or right.path, right.verb, right.name) for right in rights}


def test_the_doctor_asks_for_exactly_what_the_manifest_grants() -> None:
    granted = {
        (group, kind, verb, name)
        for rule in RULES
        for group in rule.get("apiGroups", [""])
        for kind in rule.get("resources", rule.get("nonResourceURLs", []))
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }
    optional = as_rules(checkup.FORCE_RIGHTS) | as_rules(checkup.ROLL_RIGHTS)
    optional |= as_rules(checkup.autoscaler_rights(AutoscalerPolicy()))
    assert as_rules(checkup.KUBERNETES_RIGHTS) | optional == granted


@pytest.mark.proving_ground
def test_with_the_manifest_nothing_stands_in_the_way(ground: Ground, aws: boto3.Session, kubeconfig: Path) -> None:
    assert findings(ground, aws, kubeconfig, "node-rotation") == ()


@pytest.mark.proving_ground
def test_an_account_with_too_few_rights_is_told_each_of_them(
    ground: Ground, aws: boto3.Session, kubeconfig: Path
) -> None:
    found = findings(ground, aws, kubeconfig, "strangers")
    missing = {f.object for f in found if f.check is Check.PERMISSIONS}
    # Everybody who is logged in may read the version (ClusterRole system:public-info-viewer).
    assert missing == {f"{r.verb} {r.resource}" for r in checkup.KUBERNETES_RIGHTS if r.resource}
    assert all("docs/rbac.yaml" in f.remedy for f in found if f.check is Check.PERMISSIONS)


@pytest.mark.proving_ground
def test_the_right_past_the_budgets_is_not_granted_by_default(kubeconfig: Path) -> None:
    review = KubernetesReview(as_group(kubeconfig, "node-rotation"))
    assert [review.may(right) for right in (*checkup.FORCE_RIGHTS, *checkup.ROLL_RIGHTS)] == [Answer.DENIED] * 2


@pytest.mark.proving_ground
def test_what_aws_denies_is_named_with_its_action(
    ground: Ground, aws: boto3.Session, kubeconfig: Path, faults: Any
) -> None:
    for service, action in (("autoscaling", "DetachInstances"), ("ec2", "TerminateInstances")):
        faults.add(Fault(kind="error", service=service, action=action, code="AccessDenied", status=403))
    (finding,) = findings(ground, aws, kubeconfig, "node-rotation")
    assert finding.what == "may not autoscaling:DetachInstances, ec2:TerminateInstances"
    assert finding.object == "group workers"


@pytest.mark.proving_ground
def test_what_an_intake_in_the_cluster_needs_is_asked_by_the_server_s_own_names(kubeconfig: Path) -> None:
    review = KubernetesReview(as_group(kubeconfig, "node-rotation"))
    config_map = ObjectRef(kind="ConfigMap", namespace="installer", name="intake")
    right = review.right_to_patch(config_map)
    assert str(right) == "patch configmaps intake in installer"
    assert review.may(right) is Answer.DENIED
    deployment = ObjectRef(api_version="apps/v1", kind="Deployment", name="installer")
    assert str(review.right_to_patch(deployment)) == "patch deployments.apps installer in default"
    with pytest.raises(GoneError, match="no kind Intake in v1"):
        review.right_to_patch(ObjectRef(kind="Intake", name="intake"))


@pytest.mark.proving_ground
def test_the_rights_of_an_image_pod_are_not_granted_by_default(kubeconfig: Path) -> None:
    review = KubernetesReview(as_group(kubeconfig, "node-rotation"))
    assert {review.may(right) for right in checkup.pod_rights("rotation")} == {Answer.DENIED}
