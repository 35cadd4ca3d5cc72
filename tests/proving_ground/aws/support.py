"""What the tests of the AWS side say in few words: a client each, a group each, bounded waits."""

from __future__ import annotations

import itertools
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from proving_ground.aws.server import AwsServer

REGION = "eu-central-1"
Found = TypeVar("Found")
PHYSICS = {
    "name": "physics",
    "timing": {
        "boot": "200ms",
        "shutdown": "100ms",
        "stop": "100ms",
        "reconcile": "40ms",
        "capacity_retry": "200ms",
        "detach": "150ms",
    },
    "images": [
        {"name": "base-1", "created": "2026-10-01T06:00:00Z", "tags": {"team": "platform"}},
        {"name": "base-2", "created": "2026-11-01T06:00:00Z"},
        {"name": "base-arm", "created": "2026-11-02T06:00:00Z", "architecture": "arm64"},
        {"name": "eks-old", "created": "2024-01-01T00:00:00Z", "owner": "amazon", "deprecated": "2025-01-01"},
        {"name": "eks-new", "created": "2026-11-05T00:00:00Z", "owner": "amazon"},
        {"name": "fragile", "created": "2026-11-06T00:00:00Z", "behaviour": "fails-later", "fails_after": "7s"},
    ],
    "parameters": [
        {"name": "/images/base/current", "image": "base-1"},
        {
            "name": "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/standard/recommended/image_id",
            "image": "eks-new",
            "modified": "2026-11-05T00:00:00Z",
        },
    ],
    "clusters": [
        {
            "name": "seeded",
            "environment": "dev",
            "groups": [{"name": "workers", "image": "base-1", "min": 0, "max": 5, "desired": 3}],
        }
    ],
}


def until(look: Callable[[], Found | None], timeout_s: float = 10.0) -> Found:
    """The first true answer; fails the test if none comes in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError(f"nothing came of it within {timeout_s} s")


def refusal(call: Callable[..., Any], **asked: Any) -> tuple[str, str, int]:
    """Code, message and HTTP status of the error that a call must end in."""
    with pytest.raises(ClientError) as caught:
        call(**asked)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["Error"]["Message"], answer["ResponseMetadata"]["HTTPStatusCode"]


@dataclass
class Aws:
    """A running AWS as its users see it, and a few words to say what a test needs."""

    server: AwsServer
    names: Iterator[int] = field(default_factory=itertools.count)
    clients: dict[str, Any] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)

    def client(self, service: str, access_key: str = "AKIATEST", **options: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.server.endpoint,
            region_name=options.pop("region", REGION),
            aws_access_key_id=access_key,
            aws_secret_access_key="any",
            config=Config(proxies={}, retries=options.pop("retries", {"total_max_attempts": 1})),
        )

    @property
    def ec2(self) -> Any:
        return self._kept("ec2")

    @property
    def autoscaling(self) -> Any:
        return self._kept("autoscaling")

    def _kept(self, service: str) -> Any:
        if service not in self.clients:
            self.clients[service] = self.client(service)
        return self.clients[service]

    def image(self, name: str) -> str:
        return self.ec2.describe_images(Filters=[{"Name": "name", "Values": [name]}], IncludeDeprecated=True)["Images"][
            0
        ]["ImageId"]

    def subnets(self, letters: str = "abc") -> str:
        found = self.ec2.describe_subnets()["Subnets"]
        ours = [subnet for subnet in found if subnet["CidrBlock"].startswith("10.")]
        by_zone = {subnet["AvailabilityZone"][-1]: subnet["SubnetId"] for subnet in ours}
        return ",".join(by_zone[letter] for letter in letters)

    def template(self, image: str = "base-1", instance_type: str = "m6i.large") -> str:
        name = f"template-{next(self.names)}"
        data = {"ImageId": self.image(image), "InstanceType": instance_type}
        self.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
        return name

    def group(self, desired: int = 3, *, settled: bool = True, zones: str = "abc", **asked: Any) -> str:
        name = f"group-{next(self.names)}"
        asked.setdefault("MaxSize", 10)
        asked.setdefault("MinSize", 0)
        if not {"LaunchTemplate", "MixedInstancesPolicy", "LaunchConfigurationName"} & asked.keys():
            asked["LaunchTemplate"] = {"LaunchTemplateName": self.template(), "Version": "$Latest"}
        self.autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=name, DesiredCapacity=desired, VPCZoneIdentifier=self.subnets(zones), **asked
        )
        self.made.append(name)
        if settled:
            self.settle(name, desired)
        return name

    def clean_up(self) -> None:
        """Nothing goes wrong any more, and the groups that a test has made are gone or going."""
        world = self.server.world
        world.faults.clear()
        with world.lock:
            for name in self.made:
                if name in world.autoscaling.groups:
                    world.autoscaling.delete(name, force=True)
        self.made.clear()

    def shown(self, name: str) -> dict[str, Any]:
        return self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]

    def members(self, name: str) -> list[dict[str, Any]]:
        return list(self.shown(name)["Instances"])

    def ids(self, name: str) -> list[str]:
        return [member["InstanceId"] for member in self.members(name)]

    def settle(self, name: str, count: int) -> list[dict[str, Any]]:
        """The members, once there are so many and all are in service."""

        def settled() -> list[dict[str, Any]] | None:
            members = self.members(name)
            in_service = [m for m in members if m["LifecycleState"] == "InService"]
            return in_service if len(members) == len(in_service) == count else None

        return until(settled) if count else until(lambda: not self.members(name)) and []

    def state(self, instance_id: str) -> str:
        found = self.ec2.describe_instances(InstanceIds=[instance_id])
        return str(found["Reservations"][0]["Instances"][0]["State"]["Name"])

    def activities(self, name: str) -> list[dict[str, Any]]:
        return list(self.autoscaling.describe_scaling_activities(AutoScalingGroupName=name)["Activities"])

    def control(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.server.endpoint}/_proving-ground/{path}",
            data=None if body is None else json.dumps(body).encode(),
            method="GET" if body is None else "POST",
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=5) as answer:
            return dict(json.load(answer))

    def fault(self, **asked: Any) -> None:
        self.control("fault", asked)
