"""What AWS and botocore say, as errors of ours; every exception here is made by botocore itself."""

from __future__ import annotations

import functools
import socket
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ProfileNotFound
from botocore.stub import Stubber

from node_rotation.clients.aws_errors import translate, translate_core, translated
from node_rotation.errors import BlockedError, GoneError, PermanentError, TransientError

OPERATIONS = {
    "ec2": ("terminate_instances", "TerminateInstances", {"InstanceIds": ["i-1"]}),
    "autoscaling": ("suspend_processes", "SuspendProcesses", {"AutoScalingGroupName": "dev-workers"}),
    "ssm": ("get_parameter", "GetParameter", {"Name": "/images/base/current"}),
    "eks": ("describe_cluster", "DescribeCluster", {"name": "dev"}),
}


@functools.cache
def client(service: str, **more: Any) -> Any:
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=1, read_timeout=1)
    keys = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "very-secret"}
    return boto3.client(service, region_name="eu-central-1", config=config, **{**keys, **more})


def refused(service: str, code: str, message: str = "", status: int = 400) -> Exception:
    """The error of ours for an answer that botocore parsed."""
    method, action, arguments = OPERATIONS[service]
    stubbed = client(service)
    with Stubber(stubbed) as stub:
        stub.add_client_error(method, code, message, http_status_code=status)
        with pytest.raises(Exception) as caught, translated(service, action, "dev-workers"):  # noqa: PT011
            getattr(stubbed, method)(**arguments)
    assert caught.value.__cause__ is not None
    return caught.value


@pytest.mark.parametrize(
    ("service", "code", "status"),
    [
        ("ec2", "RequestLimitExceeded", 503),
        ("autoscaling", "Throttling", 400),
        ("eks", "TooManyRequestsException", 429),
        ("eks", "SomethingNew", 429),
        ("ssm", "ThrottlingException", 400),
        ("ec2", "InternalError", 500),
        ("ec2", "SomethingNew", 502),
        ("ec2", "Unavailable", 503),
        ("autoscaling", "ResourceContention", 500),
        ("autoscaling", "ScalingActivityInProgress", 400),
        ("ssm", "TooManyUpdates", 400),
        ("ec2", "IncorrectInstanceState", 400),
    ],
)
def test_what_passes_is_transient(service, code, status):
    error = refused(service, code, "later", status)

    assert isinstance(error, TransientError)
    assert error.retry_after_s > 0
    assert code in str(error)


@pytest.mark.parametrize(
    ("service", "code", "message"),
    [
        ("ec2", "InvalidInstanceID.NotFound", "The instance ID 'i-1' does not exist"),
        ("ssm", "ParameterNotFound", ""),
        ("ec2", "InvalidAMIID.NotFound", "The image id '[ami-1]' does not exist"),
        ("ec2", "InvalidLaunchTemplateName.NotFoundException", ""),
        ("ec2", "InvalidLaunchTemplateId.VersionNotFound", ""),
        ("eks", "ResourceNotFoundException", "No cluster found for name: dev."),
        ("autoscaling", "ValidationError", "AutoScalingGroup name not found - no such group: dev-workers"),
        ("autoscaling", "ValidationError", "The instance i-1 is not part of Auto Scaling group dev-workers."),
        ("autoscaling", "ValidationError", "Instance Id not found - No managed instance found for instance ID i-1"),
    ],
)
def test_what_is_not_there_is_gone(service, code, message):
    assert isinstance(refused(service, code, message), GoneError)


def test_a_denied_action_is_named_with_its_remedy():
    error = refused("ssm", "AccessDeniedException", "You are not authorized", 403)

    assert isinstance(error, BlockedError)
    assert "ssm:GetParameter" in error.blocked.reason
    assert error.blocked.remedy == "Allow ssm:GetParameter in the IAM policy of this identity."
    assert error.blocked.objects == ("dev-workers",)


ROLE = "arn:aws:iam::123456789012:role/node-rotation"


def not_assumed(operation: str, code: str, message: str) -> ClientError:
    """What botocore raises out of any call, where it first has to assume a role, or to renew it."""
    said: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    return ClientError(said, operation)


def test_a_role_that_may_not_be_assumed_is_named_and_not_the_call_that_it_was_for():
    message = (
        f"User: arn:aws:iam::123456789012:user/me is not authorized to perform: sts:AssumeRole on resource: {ROLE}"
    )
    error = translate(
        not_assumed("AssumeRole", "AccessDenied", message), "autoscaling", "DescribeAutoScalingGroups", "dev-workers"
    )

    assert isinstance(error, BlockedError)
    assert error.blocked.objects == (f"role {ROLE}",)
    assert error.blocked.reason.startswith(f"not allowed: sts:AssumeRole of role {ROLE} for dev-workers failed: ")
    assert error.blocked.remedy == (
        f"Allow sts:AssumeRole on role {ROLE} in the IAM policy of this identity, and name this identity in the role's "
        "trust policy (docs/connections.md)."
    )


def test_one_that_a_token_is_given_for_needs_its_trust_policy_alone():
    message = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
    refused = not_assumed("AssumeRoleWithWebIdentity", "AccessDenied", message)
    error = translate(refused, "ec2", "DescribeImages", "base-*")

    assert isinstance(error, BlockedError)
    assert error.blocked.objects == ("the role",)
    assert error.blocked.remedy == (
        "Allow sts:AssumeRoleWithWebIdentity to this identity in the role's trust policy (docs/connections.md)."
    )


def test_a_role_that_is_assumed_midway_and_fails_otherwise_is_named_too():
    refused = not_assumed("AssumeRole", "ValidationError", "The requested DurationSeconds exceeds the limit")
    error = translate(refused, "autoscaling", "DetachInstances", "i-1 from dev-workers")

    assert str(error).startswith("sts:AssumeRole of the role for i-1 from dev-workers failed: ")


@pytest.mark.parametrize(("service", "code"), [("ec2", "UnauthorizedOperation"), ("autoscaling", "AccessDenied")])
def test_a_denied_change_may_as_well_be_for_want_of_the_cluster_s_tag(service, code):
    """The policy's condition asks for it; AWS says no word of that."""
    error = refused(service, code, "You are not authorized", 403)

    assert isinstance(error, BlockedError)
    assert error.blocked.remedy == (
        f"Allow {service}:{OPERATIONS[service][1]} in the IAM policy of this identity, and see that the group, its "
        "running machines and its launch template have the tag kubernetes.io/cluster/CLUSTER=owned."
    )


@pytest.mark.parametrize(
    ("service", "code", "message", "status"),
    [
        ("autoscaling", "AccessDenied", "You are not authorized to use launch template: lt-0abc", 403),
        (
            "eks",
            "InvalidRequestException",
            "You are not authorized to launch instances with this launch template. Encoded authorization failure "
            "message: abc",
            400,
        ),
    ],
)
def test_a_template_that_may_not_be_used_needs_what_is_checked_for_launches_and_not_the_call_s_own_right(
    service, code, message, status
):
    """AWS names the template, or not even that, and none of the three rights that it looked for."""
    error = refused(service, code, message, status)

    assert isinstance(error, BlockedError)
    assert error.blocked.reason.startswith("not allowed: ")
    assert message.removesuffix("abc") in error.blocked.reason
    assert error.blocked.remedy == (
        "Auto Scaling and EKS give a group a template version only for who may launch from it. Allow in the IAM policy "
        "of this identity what docs/iam-policy.json has as AwsChecksWhoMayLaunch (ec2:RunInstances from launch "
        "templates), AwsChecksWhoMayTagWhatIsLaunched (ec2:CreateTags at launch), AwsChecksWhoMayPassTheNodeRole "
        "(iam:PassRole of the template's role to EC2)."
    )


@pytest.mark.parametrize(
    ("service", "code"),
    [
        ("ec2", "AuthFailure"),
        ("ec2", "RequestExpired"),
        ("autoscaling", "ExpiredToken"),
        ("autoscaling", "InvalidClientTokenId"),
        ("ssm", "ExpiredTokenException"),
        ("eks", "UnrecognizedClientException"),
    ],
)
def test_credentials_that_are_not_accepted_ask_for_new_ones(service, code):
    error = refused(service, code, "The security token included in the request is expired", 403)

    assert isinstance(error, BlockedError)
    assert "Renew the credentials" in error.blocked.remedy


@pytest.mark.parametrize(
    "message",
    [
        "Desired capacity:9 must be between the specified min size:2 and max size:5",
        "AutoScalingGroup dev-workers has min-size=2, max-size=3, and desired-size=3. To attach 1 instance, please "
        "update the AutoScalingGroup sizes appropriately.",
        "Currently, desiredSize equals minSize (3). Terminating instance without replacement will violate group's "
        "min size constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size.",
        "Max bound, 1, must be greater than or equal to min bound, 3",
    ],
)
def test_sizes_that_leave_no_room_are_blocked(message):
    error = refused("autoscaling", "ValidationError", message)

    assert isinstance(error, BlockedError)
    assert "minimum or maximum size" in error.blocked.remedy


def test_termination_protection_is_blocked():
    error = refused("ec2", "OperationNotPermitted", "The instance 'i-1' may not be terminated.")

    assert isinstance(error, BlockedError)
    assert "termination protection" in error.blocked.remedy


def test_what_is_wrong_stays_wrong():
    error = refused("autoscaling", "ValidationError", "1 validation error detected")

    assert type(error) is PermanentError
    assert str(error) == (
        "autoscaling:SuspendProcesses of dev-workers failed: 1 validation error detected (ValidationError)"
    )


def test_an_encoded_authorization_message_is_left_out_and_long_texts_are_cut():
    encoded = refused(
        "ec2", "UnauthorizedOperation", f"Not authorized. Encoded authorization failure message: {'x' * 900}", 403
    )
    endless = refused("ec2", "Weird", "blah " * 500)

    assert "xxx" not in str(encoded)
    assert len(str(endless)) < 450


def test_a_server_that_is_away_is_transient_and_its_outcome_unknown():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        away = client("ec2", endpoint_url=endpoint)
        with pytest.raises(TransientError, match="look before") as caught, translated("ec2", "TerminateInstances", "i"):
            away.terminate_instances(InstanceIds=["i-1"])

    assert isinstance(caught.value.__cause__, BotoCoreError)


def test_a_server_that_says_nothing_is_transient():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(TransientError, match="timeout"), translated("ec2", "TerminateInstances", "i-1"):
            client("ec2", endpoint_url=endpoint).terminate_instances(InstanceIds=["i-1"])


def test_missing_credentials_are_blocked(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    anonymous = boto3.Session(region_name="eu-central-1").client("ec2")

    with pytest.raises(BlockedError, match="no AWS credentials"), translated("ec2", "DescribeImages", "base-*"):
        anonymous.describe_images()


def test_a_profile_nobody_wrote_is_blocked():
    with pytest.raises(ProfileNotFound) as caught:
        boto3.Session(profile_name="never-written")

    error = translate_core(caught.value, "sts", "GetCallerIdentity", "cluster dev")

    assert isinstance(error, BlockedError)
    assert "never-written" in str(error)
    assert "Correct aws.profile" in error.blocked.remedy


def test_a_region_the_account_does_not_use_asks_for_the_right_one():
    error = refused("ec2", "OptInRequired", "You are not subscribed to this service.", 403)

    assert isinstance(error, BlockedError)
    assert "aws.region" in error.blocked.remedy


def test_a_call_that_botocore_itself_refuses_is_permanent():
    with pytest.raises(PermanentError), translated("ec2", "TerminateInstances", "i-1"):
        client("ec2").terminate_instances(InstanceIds=7)
