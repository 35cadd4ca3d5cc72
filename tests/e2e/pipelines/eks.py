"""The EKS cluster: three groups of its own with an image step each, and one that EKS rolls."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import boto3

from proving_ground.ground import Ground

CLUSTER: dict[str, Any] = {
    "name": "dev",
    "environment": "dev",
    "kind": "eks",
    "groups": [
        {"name": "workers", "image": "base-1", "min": 1, "max": 2, "desired": 1},
        {"name": "owned", "image": "base-1", "min": 1, "max": 2, "desired": 1},
        {"name": "piped", "image": "base-1", "min": 1, "max": 2, "desired": 1},
        {
            "name": "managed",
            "kind": "eks-managed",
            "ami_type": "CUSTOM",
            "image": "base-1",
            "zones": ["a"],
            "min": 1,
            "max": 2,
            "desired": 2,
            "max_unavailable": 2,
        },
    ],
    "workloads": [{"name": "web", "replicas": 2, "ready_after": "300ms", "stops_after": "300ms"}],
}
GROUPS = ("dev-workers", "dev-owned", "dev-piped")
MANAGED, TEMPLATE = "dev-managed", "dev-managed-user"
"""Rolled by EKS, from a launch template that its owner's pipeline writes; once written, it is the target."""
IMAGE_PY = """
import os

import boto3

group = boto3.client("autoscaling").describe_auto_scaling_groups(
    AutoScalingGroupNames=[os.environ["NODE_ROTATION_ASG"]]
)["AutoScalingGroups"][0]
made = boto3.client("ec2").create_launch_template_version(
    LaunchTemplateId=group["LaunchTemplate"]["LaunchTemplateId"],
    SourceVersion="$Latest",
    LaunchTemplateData={"ImageId": os.environ["NODE_ROTATION_IMAGE_ID"]},
)
print("template version", made["LaunchTemplateVersion"]["VersionNumber"], "for", os.environ["NODE_ROTATION_IMAGE_NAME"])
"""
"""Stands for terraform: a program of somebody else's that owns the template."""


def install(directory: Path) -> None:
    """That program."""
    (directory / "image.py").write_text(IMAGE_PY)


def environment(world: Ground, directory: Path) -> dict[str, Any]:
    """Its part of the fleet file."""
    call = {"path": "/_proving-ground/intake"}
    http = {
        "connection": "installer",
        "close": {**call, "body": {"cluster": "dev", "open": False}},
        "open": {**call, "body": {"cluster": "dev", "open": True}},
    }
    command = {"argv": [sys.executable, "image.py"], "directory": str(directory)}
    pod = {"namespace": "default", "spec": {"containers": [{"name": "kops", "image": "kops"}]}}
    groups = [
        {"name": "workers", "asg": "dev-workers", "policy": {"image_step": "launch_template"}},
        {"name": "owned", "asg": "dev-owned", "policy": {"image_step": "command", "image_command": command}},
        {"name": "piped", "asg": "dev-piped", "policy": {"image_step": "pod", "image_pod": pod}},
        {
            "name": "managed",
            "kind": "eks-managed",
            "eks_cluster": "dev",
            "nodegroup": "managed",
            "policy": {"image": {"template": True}},
        },
    ]
    cluster = {
        "name": "dev",
        "aws": {"region": world.scenario.region},
        "kubernetes": {"connection": "kubernetes_dev"},
        "groups": groups,
    }
    return {"name": "dev", "policy": {"strategy": "detach", "intake": {"http": http}}, "clusters": [cluster]}


def image_pod(pod: Any) -> None:
    """What the program in an image pod does; there are no containers here that could run it."""
    (kops,) = pod.spec.containers
    told = {one.name: one.value for one in kops.env}
    asg = boto3.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[told["NODE_ROTATION_ASG"]])
    template = asg["AutoScalingGroups"][0]["LaunchTemplate"]["LaunchTemplateId"]
    ec2: Any = boto3.client("ec2")
    versions = ec2.describe_launch_template_versions(LaunchTemplateId=template)["LaunchTemplateVersions"]
    image = told["NODE_ROTATION_IMAGE_ID"]
    if image not in {version["LaunchTemplateData"]["ImageId"] for version in versions}:  # a pod is told of repeatedly
        ec2.create_launch_template_version(
            LaunchTemplateId=template, SourceVersion="$Latest", LaunchTemplateData={"ImageId": image}
        )
