"""EC2 instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from node_rotation.clients import aws_values as values
from node_rotation.clients.aws_calls import Calls, chunks
from node_rotation.clients.aws_errors import translated
from node_rotation.clients.aws_gone import LIVING, changing
from node_rotation.errors import GoneError
from node_rotation.world.aws import Instance
from node_rotation.world.clients import PROTECTION_READ_UP_TO

INSTANCES_PER_CALL = 200  # EC2's limit of values per filter


class Instances:
    """What EC2 is asked and told about instances."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def instances(self, ids: Sequence[str]) -> Mapping[str, Instance]:
        """The instances among these ids that EC2 still knows, terminated ones included.

        Termination protection takes a call per instance, so it is read for up to four and False in larger looks.
        """
        found: dict[str, Instance] = {}
        for some in chunks(ids, INSTANCES_PER_CALL):
            # As a filter: named as InstanceIds, one unknown id fails the whole call.
            found |= self._describe_instances(f"{len(some)} instances", {"instance-id": list(some)})
        if len(found) <= PROTECTION_READ_UP_TO:
            return {id: replace(i, termination_protected=self._protected(i)) for id, i in found.items()}
        return found

    def tagged_instances(self, key: str, value: str = "*") -> Mapping[str, Instance]:
        """Instances, not yet terminated, whose tag has this value (orphans: out of every group)."""
        wanted = {f"tag:{key}": [value], "instance-state-name": list(LIVING)}
        return self._describe_instances(f"instances with the tag {key}", wanted)

    def terminate(self, instance_id: str) -> None:
        """EC2 TerminateInstances; an instance that is terminated already may be named again."""
        with changing(self._calls, "ec2", "TerminateInstances", [instance_id]):
            self._calls.ec2.terminate_instances(InstanceIds=[instance_id])

    def tag_instances(self, instance_ids: Sequence[str], tags: Mapping[str, str]) -> None:
        """CreateTags."""
        wanted = [{"Key": key, "Value": value} for key, value in tags.items()]
        for some in chunks(instance_ids if tags else (), INSTANCES_PER_CALL):
            with changing(self._calls, "ec2", "CreateTags", some):
                self._calls.ec2.create_tags(Resources=list(some), Tags=wanted)

    def untag_instances(self, instance_ids: Sequence[str], keys: Sequence[str]) -> None:
        """DeleteTags; without keys AWS would delete all of them, so that does nothing."""
        for some in chunks(instance_ids if keys else (), INSTANCES_PER_CALL):
            with changing(self._calls, "ec2", "DeleteTags", some):
                self._calls.ec2.delete_tags(Resources=list(some), Tags=[{"Key": key} for key in keys])

    def _describe_instances(self, what: str, wanted: Mapping[str, list[str]]) -> dict[str, Instance]:
        filters = [{"Name": name, "Values": allowed} for name, allowed in wanted.items()]
        pages = self._calls.ec2.get_paginator("describe_instances")
        with translated("ec2", "DescribeInstances", what):
            answers: list[Any] = [
                answer
                for page in pages.paginate(Filters=filters)
                for reservation in page["Reservations"]
                for answer in reservation["Instances"]
            ]
        return {answer["InstanceId"]: values.instance(answer) for answer in answers}

    def _protected(self, instance: Instance) -> bool:
        if instance.state in ("shutting-down", "terminated"):
            return False
        try:
            with translated("ec2", "DescribeInstanceAttribute", instance.id):
                answer = self._calls.ec2.describe_instance_attribute(
                    InstanceId=instance.id, Attribute="disableApiTermination"
                )
        except GoneError:
            return False
        return bool(answer.get("DisableApiTermination", {}).get("Value"))
