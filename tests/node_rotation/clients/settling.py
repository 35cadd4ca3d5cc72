"""A world in which everything has come that was asked for."""

from __future__ import annotations

from tests.proving_ground.waiting import eventually

from proving_ground.aws.server import AwsServer


def settled(server: AwsServer) -> AwsServer:
    """The server, once every Auto Scaling group has in service what it wants."""
    scaling = server.client("autoscaling")

    def whole() -> bool:
        groups = scaling.describe_auto_scaling_groups()["AutoScalingGroups"]
        states = [[member["LifecycleState"] for member in group["Instances"]] for group in groups]
        wanted = [["InService"] * group["DesiredCapacity"] for group in groups]
        return states == wanted

    eventually(whole)
    return server
