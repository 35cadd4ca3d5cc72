"""The AWS side of a check-up against the proving ground's AWS: it is told the truth and changes nothing."""

from __future__ import annotations

import boto3
import pytest

from node_rotation.checkup import rights as checkup
from node_rotation.checkup.rights import Answer
from node_rotation.clients.aws import AwsCloud
from node_rotation.clients.aws_account import AwsAccount
from node_rotation.clients.aws_models import share
from node_rotation.errors import BlockedError
from node_rotation.world.aws import ScalingGroup
from proving_ground.aws import request_log
from proving_ground.aws.server import AwsServer
from proving_ground.scenario import Fault

WORKERS = "dev-workers"
SCENARIO = {
    "name": "account",
    "account": "410987654399",
    "timing": {"boot": "50ms", "shutdown": "50ms", "reconcile": "50ms"},
    "images": [{"name": "base-1", "created": "2026-11-01T06:00:00.000Z"}],
    "clusters": [
        {
            "name": "dev",
            "environment": "dev",
            "groups": [{"name": "workers", "image": "base-1", "min": 0, "max": 9, "desired": 3}],
        }
    ],
}
EVERYTHING = (
    *(action for action in checkup.READS if action != "autoscaling:DescribeLaunchConfigurations"),
    *checkup.GROUP_CHANGES,
    *checkup.MACHINE_CHANGES,
    *checkup.TEMPLATE_CHANGES,
)


def session(server: AwsServer, key: str = "rotation") -> boto3.Session:
    return share(boto3.Session(aws_access_key_id=key, aws_secret_access_key="unused", region_name=server.world.region))


@pytest.fixture
def account(server: AwsServer) -> AwsAccount:
    return AwsAccount(session(server))


@pytest.fixture
def group(server: AwsServer) -> ScalingGroup:
    return AwsCloud(session(server)).groups([WORKERS])[WORKERS]


def machines(server: AwsServer) -> dict[str, tuple[str, dict[str, str]]]:
    return {event.instance_id: (event.image_id, dict(event.tags)) for event in server.world.machines.current()}


def denied(server: AwsServer, service: str, action: str, code: str = "AccessDenied") -> None:
    message = f"User is not authorized to perform: {service}:{action}"
    server.world.faults.add(Fault(kind="error", service=service, action=action, code=code, message=message, status=403))


def test_everything_is_allowed_and_nothing_was_changed(
    server: AwsServer, account: AwsAccount, group: ScalingGroup
) -> None:
    before = machines(server)
    assert account.may(EVERYTHING, group) == dict.fromkeys(EVERYTHING, Answer.ALLOWED)
    asked = request_log.mutations(server.world.requests.path)
    assert [request.action for request in asked if request.ok] == []
    assert machines(server) == before
    after = AwsCloud(session(server)).groups([WORKERS])[WORKERS]
    assert (after.desired, after.tags, after.suspended) == (group.desired, group.tags, group.suspended)
    assert after.template == group.template


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("ec2:TerminateInstances", "UnauthorizedOperation"),
        ("ec2:CreateLaunchTemplateVersion", "UnauthorizedOperation"),
        ("ec2:DescribeImages", "UnauthorizedOperation"),
        ("autoscaling:DescribeLifecycleHooks", "AccessDenied"),
        ("autoscaling:DetachInstances", "AccessDenied"),
    ],
)
def test_each_kind_of_denial_is_told(
    server: AwsServer, account: AwsAccount, group: ScalingGroup, action: str, code: str
) -> None:
    denied(server, *action.split(":"), code=code)
    answers = account.may(EVERYTHING, group)
    assert {name for name, answer in answers.items() if answer is Answer.DENIED} == {action}


def test_without_the_simulator_the_changes_of_auto_scaling_are_unknown(
    server: AwsServer, account: AwsAccount, group: ScalingGroup
) -> None:
    denied(server, "iam", "SimulatePrincipalPolicy")
    answers = account.may(EVERYTHING, group)
    assert {name for name, answer in answers.items() if answer is Answer.UNKNOWN} == set(checkup.GROUP_CHANGES)


def test_who_we_are_and_that_expired_credentials_are_nobody(server: AwsServer, account: AwsAccount) -> None:
    assert account.identity().startswith("arn:aws:sts::410987654399:")
    with pytest.raises(BlockedError, match="does not accept our credentials"):
        AwsAccount(session(server, "expired")).identity()


def test_subnets_of_a_group_with_their_free_addresses(account: AwsAccount) -> None:
    found = account.subnets(WORKERS)
    assert [subnet.zone[-1] for subnet in found] == ["a", "b", "c"]
    assert all(subnet.free > 0 for subnet in found)


def test_quota_with_what_runs_below_it(server: AwsServer, account: AwsAccount) -> None:
    quota = account.quota("m6i.large")
    assert quota.name == "Running On-Demand Standard instances (vCPUs)"
    assert quota.limit == 1920.0
    assert quota.used == 3 * account.vcpus(["m6i.large"])["m6i.large"] == 6


def test_a_quota_that_may_not_be_read_says_why(server: AwsServer, account: AwsAccount) -> None:
    denied(server, "service-quotas", "GetServiceQuota", "AccessDeniedException")
    quota = account.quota("m6i.large")
    assert quota.limit is None
    assert "AccessDeniedException" in quota.why


def test_other_classes_have_other_quotas(account: AwsAccount) -> None:
    assert "G and VT" in account.quota("g5.xlarge").name
    assert account.quota("mac2.metal").why == "no quota is known for this type"
