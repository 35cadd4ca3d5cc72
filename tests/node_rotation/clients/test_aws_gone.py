"""A policy that asks for tags denies what is not there; that is told apart from what is, and may not be touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import boto3
import pytest
from tests.node_rotation.clients.holding import hold

from node_rotation.clients.aws import AwsCloud
from node_rotation.clients.aws_models import share
from node_rotation.errors import BlockedError, GoneError
from proving_ground.aws import request_log
from proving_ground.aws.server import AwsServer
from proving_ground.scenario import Fault

ACCOUNT = "410987654397"
NOBODY = "i-00000000000000000"
SCENARIO = {
    "name": "gone",
    "account": ACCOUNT,
    "timing": {"boot": "50ms", "shutdown": "50ms", "reconcile": "50ms"},
    "images": [{"name": "base-1", "created": "2026-11-01T06:00:00.000Z"}],
    "clusters": [
        {
            "name": "dev",
            "environment": "dev",
            "groups": [{"name": "workers", "image": "base-1", "min": 0, "max": 2, "desired": 1}],
        }
    ],
}
CALLS: dict[str, Callable[[AwsCloud, str], None]] = {
    "ec2:TerminateInstances": lambda cloud, machine: cloud.terminate(machine),
    "autoscaling:TerminateInstanceInAutoScalingGroup": lambda cloud, machine: cloud.terminate_in_group(
        machine, decrement=True
    ),
    "ec2:CreateTags": lambda cloud, machine: cloud.tag_instances([machine], {"node-rotation/run": "a"}),
    "ec2:DeleteTags": lambda cloud, machine: cloud.untag_instances([machine], ["node-rotation/run"]),
}


@pytest.fixture
def owner(server: AwsServer) -> boto3.Session:
    return share(
        boto3.Session(aws_access_key_id="owner", aws_secret_access_key="unused", region_name=server.world.region)
    )


@pytest.fixture
def cloud(owner: boto3.Session) -> AwsCloud:
    return AwsCloud(hold(owner, ACCOUNT))


@pytest.fixture
def others(server: AwsServer, owner: boto3.Session) -> Iterator[str]:
    """A machine that is not the cluster's."""
    ec2, image = owner.client("ec2"), server.world.images.find("base-1")
    (machine,) = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"]
    yield machine["InstanceId"]
    ec2.terminate_instances(InstanceIds=[machine["InstanceId"]])


def looks(server: AwsServer) -> int:
    return sum(request.action == "DescribeInstances" for request in request_log.read(server.world.requests.path))


@pytest.mark.parametrize("action", CALLS)
def test_a_machine_that_ec2_has_forgotten_is_gone_and_not_forbidden(
    server: AwsServer, cloud: AwsCloud, action: str
) -> None:
    before = looks(server)
    with pytest.raises(GoneError, match=f"{action} of {NOBODY} failed: it no longer exists"):
        CALLS[action](cloud, NOBODY)
    assert looks(server) == before + 1


@pytest.mark.parametrize("action", CALLS)
def test_one_that_is_there_and_is_not_ours_stays_forbidden(cloud: AwsCloud, others: str, action: str) -> None:
    with pytest.raises(BlockedError, match=f"not allowed: {action} of {others}"):
        CALLS[action](cloud, others)


def test_one_that_is_terminated_is_gone_as_ec2_takes_its_tags_before_it_forgets_it(
    cloud: AwsCloud, owner: boto3.Session, others: str
) -> None:
    owner.client("ec2").terminate_instances(InstanceIds=[others])
    owner.client("ec2").get_waiter("instance_terminated").wait(InstanceIds=[others], WaiterConfig={"Delay": 1})
    for call in CALLS.values():
        with pytest.raises(GoneError):
            call(cloud, others)


def test_among_several_one_that_is_gone_is_named(cloud: AwsCloud) -> None:
    (ours,) = (member.instance_id for member in cloud.groups(["dev-workers"])["dev-workers"].members)
    with pytest.raises(GoneError, match=f"failed: {NOBODY} no longer exists"):
        cloud.tag_instances([ours, NOBODY], {"node-rotation/run": "a"})


def test_where_nobody_may_look_it_stays_forbidden(owner: boto3.Session, server: AwsServer) -> None:
    cloud = AwsCloud(hold(owner, ACCOUNT, "LookAtEverything"))
    with pytest.raises(BlockedError, match="not allowed: ec2:TerminateInstances"):
        cloud.terminate(NOBODY)


def test_other_refusals_are_told_as_they_are_and_nobody_looks(server: AwsServer, cloud: AwsCloud, others: str) -> None:
    before = looks(server)
    fault = {"service": "ec2", "action": "TerminateInstances", "code": "OperationNotPermitted", "calls": [1]}
    server.world.faults.add(Fault.model_validate({"kind": "error", **fault}))
    with pytest.raises(BlockedError, match="OperationNotPermitted"):
        cloud.terminate(others)
    assert looks(server) == before
