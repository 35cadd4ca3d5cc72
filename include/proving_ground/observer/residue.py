"""What a rotation should not have left behind: a comparison of the world before and after."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import boto3
import requests

PREFIX = "node-rotation/"
BORROWED = (
    "cluster-autoscaler.kubernetes.io/scale-down-disabled",
    "node.kubernetes.io/exclude-from-external-load-balancers",
)
TIMEOUT_S = 20.0
Json = dict[str, Any]


@dataclass(frozen=True)
class Aws:
    """One reading of the AWS side: groups by name, live instances by id, ids that some group lists."""

    cluster: str
    groups: Mapping[str, Json]
    instances: Mapping[str, Json]
    grouped: frozenset[str]
    target_image: str

    @property
    def orphans(self) -> list[str]:
        """Live instances that no group lists."""
        return sorted(set(self.instances) - self.grouped)

    @property
    def old(self) -> frozenset[str]:
        """Live instances on another image than the target."""
        return frozenset(i for i, instance in self.instances.items() if instance["ImageId"] != self.target_image)

    @property
    def old_by_group(self) -> dict[str, int]:
        """How many of each group's members are old."""
        members = {name: {i["InstanceId"] for i in group["Instances"]} for name, group in self.groups.items()}
        return {name: len(ids & self.old) for name, ids in members.items()}

    @property
    def owned(self) -> frozenset[str]:
        """What a call to AWS that is about this cluster names: its groups, their templates, its instances."""
        return frozenset(self.groups) | self.instances.keys() | _templates(list(self.groups.values()))


def read_aws(cluster: str, parameter: str) -> Aws:
    """Read groups and instances of a cluster, and the image that a parameter names.

    :param parameter: the SSM parameter's name.
    """
    autoscaling: Any = boto3.client("autoscaling")
    ec2: Any = boto3.client("ec2")
    ssm: Any = boto3.client("ssm")
    owned = [{"Name": f"tag:kubernetes.io/cluster/{cluster}", "Values": ["owned"]}]
    pages = autoscaling.get_paginator("describe_auto_scaling_groups").paginate(Filters=owned)
    groups = {g["AutoScalingGroupName"]: g for page in pages for g in page["AutoScalingGroups"]}
    live = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
    reservations = ec2.get_paginator("describe_instances").paginate(Filters=[*owned, *live])
    instances = {
        i["InstanceId"]: i
        for page in reservations
        for reservation in page["Reservations"]
        for i in reservation["Instances"]
    }
    grouped = frozenset(i["InstanceId"] for g in groups.values() for i in g["Instances"])
    target = ssm.get_parameter(Name=parameter)["Parameter"]["Value"]
    return Aws(cluster, groups, instances, grouped, target)


def shut(cluster: str) -> list[str]:
    """Whether nobody may install into a cluster, by whoever plays its installer: beside AWS, at the same address."""
    answer = requests.get(f"{os.environ['AWS_ENDPOINT_URL']}/_proving-ground/intake", timeout=TIMEOUT_S)
    answer.raise_for_status()
    return [f"the intake of {cluster} is closed"] if cluster in answer.json()["closed"] else []


def residue(before: Aws, after: Aws, nodes: Mapping[str, Json], lease: Json | None) -> list[str]:
    """Everything left behind, one line each."""
    found = _of_groups(before, after) + _of_instances(after)
    for node in nodes.values():
        found += _of_node(node)
    if lease and lease["spec"].get("holderIdentity"):
        found.append(f"lease kube-system/node-rotation is still held by {lease['spec']['holderIdentity']}")
    return found


def _templates(found: Any) -> frozenset[str]:
    """Names and ids of launch templates and configurations, wherever a group's description has them."""
    if isinstance(found, list):
        return frozenset(name for one in found for name in _templates(one))
    if not isinstance(found, dict):
        return frozenset()
    keys = ("LaunchTemplateId", "LaunchTemplateName", "LaunchConfigurationName")
    own = frozenset(str(found[key]) for key in keys if found.get(key))
    return own.union(*(_templates(value) for value in found.values()))


def _of_groups(before: Aws, after: Aws) -> list[str]:
    found = []
    for name, group in after.groups.items():
        was = before.groups.get(name, group)
        sizes = (size for size in ("MinSize", "MaxSize", "DesiredCapacity") if group[size] != was[size])
        found += [f"group {name}: {size} is {group[size]}, was {was[size]}" for size in sizes]
        extra = _suspended(group) - _suspended(was)
        found += [f"group {name}: process {process} is suspended" for process in sorted(extra)]
        found += [f"group {name}: tag {t['Key']}" for t in group["Tags"] if t["Key"].startswith(PREFIX)]
    return found


def _suspended(group: Json) -> set[str]:
    return {process["ProcessName"] for process in group["SuspendedProcesses"]}


def _of_instances(after: Aws) -> list[str]:
    return [
        f"instance {instance_id}: tag {tag['Key']}"
        for instance_id, instance in after.instances.items()
        for tag in instance.get("Tags", [])
        if tag["Key"].startswith(PREFIX)
    ]


def _of_node(node: Json) -> list[str]:
    name = node["metadata"]["name"]
    found = [f"node {name}: taint {t['key']}" for t in node["spec"].get("taints", []) if t["key"].startswith(PREFIX)]
    if node["spec"].get("unschedulable"):
        found.append(f"node {name}: cordoned")
    for kind in ("annotations", "labels"):
        left = (k for k in node["metadata"].get(kind) or {} if k.startswith(PREFIX) or k in BORROWED)
        found += [f"node {name}: {kind[:-1]} {key}" for key in left]
    return found
