from __future__ import annotations

import time
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError

from proving_ground.aws import request_log

from .support import Aws, refusal


@pytest.mark.parametrize(
    ("service", "operation", "expected"),
    [
        ("ec2", "describe_instances", ("RequestLimitExceeded", "Request limit exceeded.", 503)),
        ("autoscaling", "describe_auto_scaling_groups", ("Throttling", "Rate exceeded", 400)),
        ("ssm", "describe_parameters", ("ThrottlingException", "Rate exceeded", 400)),
        ("eks", "list_clusters", ("ThrottlingException", "Rate exceeded", 429)),
    ],
)
def test_each_service_throttles_in_its_own_way(
    aws: Aws, service: str, operation: str, expected: tuple[str, str, int]
) -> None:
    """Code and status differ by service.

    https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html and each service's common errors
    """
    aws.fault(kind="throttle", service=service)
    assert refusal(getattr(aws.client(service), operation)) == expected


def test_a_fault_strikes_the_nth_call_of_its_action(aws: Aws) -> None:
    """Keyed by call, so that polling more often does not shift it (a rule of the proving ground)."""
    aws.fault(kind="throttle", service="ec2", action="DescribeVpcs", calls=[2])
    aws.ec2.describe_subnets()
    aws.ec2.describe_vpcs()
    assert refusal(aws.ec2.describe_vpcs)[0] == "RequestLimitExceeded"
    aws.ec2.describe_vpcs()


def test_boto3_copes_with_throttling(aws: Aws) -> None:
    """The standard retry mode repeats a throttled call.

    https://docs.aws.amazon.com/boto3/latest/guide/retries.html
    """
    aws.fault(kind="throttle", service="ec2", action="DescribeVpcs", calls=[1, 2])
    patient = aws.client("ec2", retries={"mode": "standard", "total_max_attempts": 4})
    assert patient.describe_vpcs()["ResponseMetadata"]["RetryAttempts"] == 2


def test_an_error_of_ones_own(aws: Aws) -> None:
    """Any code, message and status can be answered."""
    aws.fault(kind="error", action="DetachInstances", code="ScalingActivityInProgress", message="Wait.", status=400)
    detach = aws.autoscaling.detach_instances
    assert refusal(detach, AutoScalingGroupName="g", ShouldDecrementDesiredCapacity=False) == (
        "ScalingActivityInProgress",
        "Wait.",
        400,
    )


def test_an_answer_can_be_late(aws: Aws) -> None:
    """A slow service holds up its own callers only."""
    aws.fault(kind="delay", service="ec2", action="DescribeVpcs", delay="500ms", calls=[1])
    begun = time.monotonic()
    aws.ec2.describe_vpcs()
    assert time.monotonic() - begun >= 0.5


def test_faults_can_be_taken_back(aws: Aws) -> None:
    aws.fault(kind="throttle", service="ec2")
    assert refusal(aws.ec2.describe_vpcs)[0] == "RequestLimitExceeded"
    aws.control("clear-faults", {})
    aws.ec2.describe_vpcs()


def test_a_lost_answer_leaves_the_deed_done(aws: Aws) -> None:
    """The connection ends before the answer; whether it was done must be looked up.

    https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
    """
    group = aws.group(2)
    aws.fault(kind="lost_answer", action="SetDesiredCapacity", calls=[1])
    with pytest.raises(ConnectionClosedError):
        aws.autoscaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=1)
    assert aws.shown(group)["DesiredCapacity"] == 1
    logged = request_log.mutations(aws.server.world.requests.path)[-1]
    assert (logged.action, logged.outcome, logged.ok) == ("SetDesiredCapacity", "LostAnswer", True)


@pytest.mark.parametrize(
    ("service", "operation", "expired", "invalid"),
    [
        ("ec2", "describe_instances", ("RequestExpired", 400), ("AuthFailure", 401)),
        ("autoscaling", "describe_tags", ("ExpiredToken", 403), ("InvalidClientTokenId", 403)),
        ("sts", "get_caller_identity", ("ExpiredToken", 403), ("InvalidClientTokenId", 403)),
        ("ssm", "describe_parameters", ("ExpiredTokenException", 400), ("UnrecognizedClientException", 400)),
        ("eks", "list_clusters", ("ExpiredTokenException", 403), ("UnrecognizedClientException", 403)),
    ],
)
def test_bad_credentials_are_refused(
    aws: Aws, service: str, operation: str, expired: tuple[str, int], invalid: tuple[str, int]
) -> None:
    """The keys ``expired`` and ``invalid``; each service has its own code.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
    https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html
    """

    def answered(key: str) -> tuple[Any, Any]:
        code, _, status = refusal(getattr(aws.client(service, access_key=key), operation))
        return code, status

    assert answered("expired") == expired
    assert answered("invalid") == invalid
