"""Target groups whose machines are registered on a port of their own."""

from __future__ import annotations

import time

import boto3
import pytest

from node_rotation.clients.aws import AwsCloud
from node_rotation.clients.aws_models import share
from node_rotation.world.aws import Target
from proving_ground.aws.server import AwsServer

OVERRIDE, DEFAULT = 8080, 30080
SCENARIO = {
    "name": "targets",
    "account": "410987654397",
    "timing": {"boot": "50ms", "shutdown": "50ms", "reconcile": "50ms"},
    "images": [{"name": "base-1", "created": "2026-11-01T06:00:00.000Z"}],
    "target_groups": [{"name": "web", "deregistration_delay": "1s", "healthy_after": "50ms"}],
    "clusters": [
        {
            "name": "dev",
            "environment": "dev",
            "groups": [{"name": "served", "image": "base-1", "min": 0, "max": 1, "desired": 1}],
        }
    ],
}


@pytest.fixture
def cloud(server: AwsServer) -> AwsCloud:
    keys = {"aws_access_key_id": "rotation", "aws_secret_access_key": "unused"}
    return AwsCloud(share(boto3.Session(region_name=server.world.region, **keys)))


def test_who_is_registered_on_a_port_of_its_own_leaves_it_and_comes_back_to_it(server: AwsServer, cloud: AwsCloud):
    """As AWS says: "you must specify both the target ID and the port when you deregister it".

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeregisterTargets.html
    """
    (arn,) = server.world.targets.groups
    (machine,) = (m.instance_id for m in cloud.groups(["dev-served"])["dev-served"].members)
    server.client("elbv2").register_targets(TargetGroupArn=arn, Targets=[{"Id": machine, "Port": OVERRIDE}])
    healthy(cloud, arn, machine)

    cloud.deregister_targets(arn, {machine: ()})
    assert cloud.targets([arn])[arn][machine] == Target("healthy", ports=(OVERRIDE,)), "nobody is on the other port"
    cloud.deregister_targets(arn, {machine: (OVERRIDE,)})
    assert cloud.targets([arn])[arn][machine].state == "draining"

    cloud.register_targets(arn, {machine: (OVERRIDE,)})
    healthy(cloud, arn, machine)
    assert cloud.targets([arn])[arn][machine].ports == (OVERRIDE,)


def test_without_a_port_the_target_group_s_own_is_meant(server: AwsServer, cloud: AwsCloud):
    (arn,) = server.world.targets.groups
    (machine,) = (m.instance_id for m in cloud.groups(["dev-served"])["dev-served"].members)
    healthy(cloud, arn, machine)
    cloud.deregister_targets(arn, {machine: cloud.targets([arn])[arn][machine].ports})
    cloud.register_targets(arn, {machine: ()})
    healthy(cloud, arn, machine)
    assert cloud.targets([arn])[arn][machine].ports == (DEFAULT,)


def healthy(cloud: AwsCloud, arn: str, machine: str) -> None:
    deadline = time.monotonic() + 5
    while cloud.targets([arn])[arn][machine].state != "healthy":
        assert time.monotonic() < deadline, cloud.targets([arn])
        time.sleep(0.05)
