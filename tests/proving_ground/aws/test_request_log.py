from __future__ import annotations

import time
from pathlib import Path

import pytest

from proving_ground.aws import request_log
from proving_ground.aws.request_log import Request

from .support import Aws, refusal


def calls(aws: Aws, since: float) -> list[Request]:
    return [call for call in request_log.read(aws.server.world.requests.path) if call.t >= since]


def test_every_call_is_a_line_with_its_outcome(aws: Aws) -> None:
    begun, group = time.time(), aws.group(0)
    aws.autoscaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=0)
    refusal(aws.autoscaling.set_desired_capacity, AutoScalingGroupName=group, DesiredCapacity=99)
    done, refused = (call for call in calls(aws, begun) if call.action == "SetDesiredCapacity")
    assert (done.service, done.outcome, done.mutating, done.ok) == ("autoscaling", "OK", True, True)
    assert done.parameters == {"AutoScalingGroupName": group, "DesiredCapacity": 0}
    assert "Boto3" in done.user_agent
    assert (refused.outcome, refused.mutating, refused.ok) == ("ValidationError", True, False)


def test_json_and_rest_services_are_logged_too(aws: Aws) -> None:
    begun = time.time()
    assert refusal(aws.client("ssm").get_parameter, Name="/nope")[0] == "ParameterNotFound"
    assert refusal(aws.client("eks").describe_cluster, name="nope")[0] == "ResourceNotFoundException"
    aws.client("sts").get_caller_identity()
    assert [(call.action, call.outcome, call.mutating) for call in calls(aws, begun)] == [
        ("GetParameter", "ParameterNotFound", False),
        ("DescribeCluster", "ResourceNotFoundException", False),
        ("GetCallerIdentity", "OK", False),
    ]


def test_a_service_without_physics_is_logged_by_its_request_line(aws: Aws) -> None:
    begun = time.time()
    aws.client("sqs").list_queues()
    assert [call.service for call in calls(aws, begun)] == ["sqs"]


def test_any_key_of_a_user_is_logged(aws: Aws) -> None:
    begun = time.time()
    for key in ("proving-ground", "test", "AKIAIOSFODNN7EXAMPLE"):
        aws.client("sts", access_key=key).get_caller_identity()
    assert len(calls(aws, begun)) == 3


def test_a_dry_run_is_no_mutation(aws: Aws) -> None:
    begun = time.time()
    refusal(aws.ec2.create_tags, Resources=["i-1"], Tags=[{"Key": "a", "Value": "b"}], DryRun=True)
    assert [(call.action, call.mutating) for call in calls(aws, begun)] == [("CreateTags", False)]


def test_seeding_and_control_calls_are_not_logged(aws: Aws) -> None:
    begun = time.time()
    aws.control("publish", {"name": "unlogged", "parameter": "/images/unlogged"})
    aws.control("state")
    assert calls(aws, begun) == []
    assert "CreateVpc" not in {call.action for call in calls(aws, 0)}


@pytest.mark.parametrize("tail", ["", '{"t": 1.0, "service"'])
def test_a_line_that_is_still_being_written_is_left_out(tmp_path: Path, tail: str) -> None:
    log = request_log.RequestLog(tmp_path / "log.jsonl")
    made = Request(1.0, "ec2", "RunInstances", {"MaxCount": 1}, "OK", True, "me")
    log.append(made)
    log.close()
    with log.path.open("a") as file:
        file.write(tail)
    assert request_log.read(log.path) == [made]
    assert request_log.read(tmp_path / "none.jsonl") == []
