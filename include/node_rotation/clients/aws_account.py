"""What a rotation may do in an AWS account, and what there is room for: asked, never tried for real."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from node_rotation.checkup import Answer, Quota, Subnet
from node_rotation.clients import aws_values as values
from node_rotation.clients.aws_calls import Calls, chunks
from node_rotation.clients.aws_errors import DENIED, translated
from node_rotation.clients.text import short

if TYPE_CHECKING:
    import boto3

    from node_rotation.world import ScalingGroup

DRY_RUN = "DryRunOperation"
TYPES_PER_CALL = 100
NOBODY = "i-00000000000000000"  # asked about where a group has no machine
# Service Quotas, service code ec2, "Running On-Demand ... instances":
# https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html
QUOTAS = {
    **{family: ("L-1216C47A", "Standard") for family in ("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z")},
    **{"dl": ("L-6E869C2A", "DL"), "f": ("L-74FC7D96", "F"), "g": ("L-DB2E81BA", "G and VT")},
    **{"vt": ("L-DB2E81BA", "G and VT"), "hpc": ("L-F7808C92", "HPC"), "inf": ("L-1945791B", "Inf")},
    **{"p": ("L-417A185B", "P"), "trn": ("L-2C3B7624", "Trn"), "u": ("L-43DA4232", "High Memory")},
    "x": ("L-7295265B", "X"),
}


class AwsAccount:
    """One account and region, asked what may be done there.

    EC2 answers ``DryRun`` with whether the call would be allowed, tags and conditions included. Auto Scaling has no
    such thing: its reads are made, its changes are left to IAM's own simulator, if that may be asked.
    https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html

    :param session: credentials, region and endpoint.
    """

    def __init__(self, session: boto3.Session) -> None:
        self._calls, self._region = Calls(session), session.region_name

    def identity(self) -> str:
        """The ARN that AWS takes us for."""
        with translated("sts", "GetCallerIdentity", f"our credentials in {self._region}"):
            return str(self._calls.sts.get_caller_identity()["Arn"])

    def may(self, actions: Sequence[str], group: ScalingGroup) -> Mapping[str, Answer]:
        """Whether these actions are allowed on a group, its machines and its template."""
        tries = {**self._reads(group), **self._machine(group), **self._template(group)}
        told = {action: _answer(tries[action]) for action in actions if action in tries}
        return {**told, **self._simulated([action for action in actions if action not in tries], group)}

    def subnets(self, group: str) -> tuple[Subnet, ...]:
        """Where an Auto Scaling group launches."""
        with translated("autoscaling", "DescribeAutoScalingGroups", group):
            found = self._calls.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])
        ids = [i.strip() for g in found["AutoScalingGroups"] for i in g.get("VPCZoneIdentifier", "").split(",")]
        if not any(ids):
            return ()
        with translated("ec2", "DescribeSubnets", ", ".join(ids)):
            answer = self._calls.ec2.describe_subnets(SubnetIds=ids)
        return tuple(
            Subnet(s["SubnetId"], s["AvailabilityZone"], s["AvailableIpAddressCount"]) for s in answer["Subnets"]
        )

    def vcpus(self, instance_types: Sequence[str]) -> Mapping[str, int]:
        """How many vCPUs each type has."""
        found: dict[str, int] = {}
        for some in chunks(instance_types, TYPES_PER_CALL):
            with translated("ec2", "DescribeInstanceTypes", ", ".join(some)):
                answer = self._calls.ec2.describe_instance_types(InstanceTypes=list(some))
            found |= {t["InstanceType"]: t["VCpuInfo"]["DefaultVCpus"] for t in answer["InstanceTypes"]}
        return found

    def quota(self, instance_type: str) -> Quota:
        """The On-Demand quota that a type counts against, and what runs below it already."""
        code, name = _class_of(instance_type)
        used = self._used(code)
        if not code:
            return Quota(name, None, used, "no quota is known for this type")
        try:
            answer = self._calls.servicequotas.get_service_quota(ServiceCode="ec2", QuotaCode=code)
        except (ClientError, BotoCoreError) as error:
            return Quota(name, None, used, short(error))
        return Quota(name, answer["Quota"]["Value"], used)

    def _used(self, code: str) -> int:
        """The vCPUs of a class that run On-Demand in the whole account and region, whoever they belong to."""
        ours = [found for found in self._running if _class_of(found)[0] == code]
        vcpus = self.vcpus(ours)
        return sum(vcpus.get(found, 0) for found in ours)

    @cached_property
    def _running(self) -> tuple[str, ...]:
        """The type of each instance that runs On-Demand: a long list, read once for all groups of a check-up."""
        pages = self._calls.ec2.get_paginator("describe_instances")
        running = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
        with translated("ec2", "DescribeInstances", "running instances"):
            return tuple(
                str(instance["InstanceType"])
                for page in pages.paginate(Filters=running)
                for reservation in page["Reservations"]
                for instance in reservation["Instances"]
                if "InstanceLifecycle" not in instance  # Spot has quotas of its own
            )

    def _reads(self, group: ScalingGroup) -> Mapping[str, Callable[[], Any]]:
        scaling, ec2, name = self._calls.autoscaling, self._calls.ec2, group.name
        named = {"AutoScalingGroupName": name}
        return {
            "autoscaling:DescribeAutoScalingGroups": lambda: scaling.describe_auto_scaling_groups(MaxRecords=1),
            "autoscaling:DescribeInstanceRefreshes": lambda: scaling.describe_instance_refreshes(**named),
            "autoscaling:DescribeLaunchConfigurations": lambda: scaling.describe_launch_configurations(MaxRecords=1),
            "autoscaling:DescribeLifecycleHooks": lambda: scaling.describe_lifecycle_hooks(**named),
            "autoscaling:DescribeScalingActivities": lambda: scaling.describe_scaling_activities(**named, MaxRecords=1),
            "ec2:DescribeImages": lambda: ec2.describe_images(DryRun=True),
            "ec2:DescribeInstanceTypes": lambda: ec2.describe_instance_types(DryRun=True),
            "ec2:DescribeInstances": lambda: ec2.describe_instances(DryRun=True),
        }

    def _machine(self, group: ScalingGroup) -> Mapping[str, Callable[[], Any]]:
        ec2, machine = self._calls.ec2_once, group.members[0].instance_id if group.members else NOBODY
        tag = {"Resources": [machine], "Tags": [{"Key": "node-rotation/run", "Value": "doctor"}], "DryRun": True}
        protection = {"InstanceId": machine, "Attribute": "disableApiTermination", "DryRun": True}
        return {
            "ec2:DescribeInstanceAttribute": lambda: ec2.describe_instance_attribute(**protection),
            "ec2:CreateTags": lambda: ec2.create_tags(**tag),
            "ec2:DeleteTags": lambda: ec2.delete_tags(**tag),
            "ec2:TerminateInstances": lambda: ec2.terminate_instances(InstanceIds=[machine], DryRun=True),
        }

    def _template(self, group: ScalingGroup) -> Mapping[str, Callable[[], Any]]:
        if group.template.launch_configuration:
            return {}
        ec2, dry = self._calls.ec2_once, {**values.address(group.template), "DryRun": True}
        data = {"SourceVersion": "1", "LaunchTemplateData": {}}
        return {
            "ec2:DescribeLaunchTemplateVersions": lambda: ec2.describe_launch_template_versions(**dry),
            "ec2:CreateLaunchTemplateVersion": lambda: ec2.create_launch_template_version(**dry, **data),
            "ec2:ModifyLaunchTemplate": lambda: ec2.modify_launch_template(**dry, DefaultVersion="1"),
        }

    def _simulated(self, actions: Sequence[str], group: ScalingGroup) -> Mapping[str, Answer]:
        if not actions:
            return {}
        partition, account, principal = _principal(self.identity())
        resource = f"arn:{partition}:autoscaling:{self._region}:{account}:autoScalingGroup:*:autoScalingGroupName/"
        tags = [
            {"ContextKeyName": f"aws:ResourceTag/{key}", "ContextKeyType": "string", "ContextKeyValues": [value]}
            for key, value in group.tags.items()
        ]
        try:
            answer = self._calls.iam.simulate_principal_policy(
                PolicySourceArn=principal,
                ActionNames=list(actions),
                ResourceArns=[resource + group.name],
                ContextEntries=tags,
            )
        except (ClientError, BotoCoreError):
            return dict.fromkeys(actions, Answer.UNKNOWN)
        decided = {r["EvalActionName"]: r["EvalDecision"] == "allowed" for r in answer["EvaluationResults"]}
        return {a: _YES_NO[decided[a]] if a in decided else Answer.UNKNOWN for a in actions}


_YES_NO = {True: Answer.ALLOWED, False: Answer.DENIED}


def _answer(call: Callable[[], Any]) -> Answer:
    try:
        call()
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        return Answer.ALLOWED if code == DRY_RUN else Answer.DENIED if code in DENIED else Answer.UNKNOWN
    except BotoCoreError:
        return Answer.UNKNOWN
    return Answer.ALLOWED


def _class_of(instance_type: str) -> tuple[str, str]:
    """Quota code and name for a type: the letters before its generation tell (``m6i.large`` → Standard)."""
    family = re.match(r"[a-z]+", instance_type)
    code, name = QUOTAS.get(family[0] if family else "", ("", instance_type))
    return code, f"Running On-Demand {name} instances (vCPUs)"


def _principal(identity: str) -> tuple[str, str, str]:
    """Partition, account, and whose policies count: of an assumed role those of the role."""
    _, partition, service, _, account, name = identity.split(":", 5)
    if service == "sts" and name.startswith("assumed-role/"):
        return partition, account, f"arn:{partition}:iam::{account}:role/{name.split('/')[1]}"
    return partition, account, identity
