"""An AWS account, asked before the night: what a rotation may do there, and what there is room for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from node_rotation.checkup.rights import Quota, Subnet
from node_rotation.clients.aws_calls import Calls, chunks
from node_rotation.clients.aws_errors import translated
from node_rotation.clients.aws_rights import Rights
from node_rotation.clients.text import short

if TYPE_CHECKING:
    import boto3

TYPES_PER_CALL = 100
# Service Quotas, service code ec2, "Running On-Demand ... instances":
# https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html
QUOTAS = {
    **{family: ("L-1216C47A", "Standard") for family in ("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z")},
    **{"dl": ("L-6E869C2A", "DL"), "f": ("L-74FC7D96", "F"), "g": ("L-DB2E81BA", "G and VT")},
    **{"vt": ("L-DB2E81BA", "G and VT"), "hpc": ("L-F7808C92", "HPC"), "inf": ("L-1945791B", "Inf")},
    **{"p": ("L-417A185B", "P"), "trn": ("L-2C3B7624", "Trn"), "u": ("L-43DA4232", "High Memory")},
    "x": ("L-7295265B", "X"),
}


class AwsAccount(Rights):
    """One account and region, asked what may be done there and what there is room for.

    :param session: credentials, region and endpoint.
    """

    def __init__(self, session: boto3.Session) -> None:
        Rights.__init__(self, Calls(session), session.region_name)

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


def _class_of(instance_type: str) -> tuple[str, str]:
    """Quota code and name for a type: the letters before its generation tell (``m6i.large`` → Standard)."""
    family = re.match(r"[a-z]+", instance_type)
    code, name = QUOTAS.get(family[0] if family else "", ("", instance_type))
    return code, f"Running On-Demand {name} instances (vCPUs)"
