"""The ``Cloud`` protocol over EC2 and Auto Scaling in memory."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from node_rotation.errors import BlockedError, GoneError, PermanentError
from node_rotation.model import Image, TemplateVersion
from node_rotation.outcome import Blocked
from node_rotation.testing.autoscaling import AutoScaling
from node_rotation.testing.cloud_nodegroups import MemoryNodegroups
from node_rotation.testing.cloud_targets import MemoryTargets
from node_rotation.testing.ec2 import GONE, Ec2
from node_rotation.testing.faults import Journal
from node_rotation.testing.managed_groups import ManagedGroups
from node_rotation.testing.scaling_values import (
    AwsFault,
    Group,
    GroupChange,
    GroupTag,
    TemplateRef,
)
from node_rotation.testing.shapes import Shapes
from node_rotation.testing.targets import Targets
from node_rotation.world.aws import Activity, Instance, Member, Parameter, ScalingGroup, Template, TemplateSpec
from node_rotation.world.clients import PROTECTION_READ_UP_TO

_SIZES_TEXT = re.compile(r"min[- ]?size|max[- ]?size|m(?:in|ax) bound|above max value|below min value", re.IGNORECASE)
_GONE_TEXT = re.compile("AutoScalingGroup name not found|not part of Auto Scaling group|No managed instance found")


class MemoryCloud(MemoryNodegroups, MemoryTargets):
    """AWS as a rotation sees it; every call goes through the journal.

    :param owners: account ids behind ``self`` and ``amazon``.
    """

    def __init__(
        self,
        ec2: Ec2,
        scaling: AutoScaling,
        eks: ManagedGroups,
        journal: Journal,
        owners: Mapping[str, str],
        targets: Targets,
    ) -> None:
        MemoryNodegroups.__init__(self, eks, journal)
        MemoryTargets.__init__(self, targets, journal)
        self._ec2, self._scaling, self._journal = ec2, scaling, journal
        self._owners = owners
        self._shapes = Shapes()

    def groups(self, names: Sequence[str]) -> Mapping[str, ScalingGroup]:
        """The groups that exist among these names."""
        self._journal.read("autoscaling", "DescribeAutoScalingGroups")
        known = self._scaling.groups
        return {name: self._shapes.group(known[name]) for name in names if name in known}

    def find_groups(self, tags: Mapping[str, str]) -> tuple[str, ...]:
        """Names of the groups that carry all these tags."""
        self._journal.read("autoscaling", "DescribeAutoScalingGroups")
        return tuple(
            name
            for name, group in self._scaling.groups.items()
            if all(key in group.tags and group.tags[key].value == value for key, value in tags.items())
        )

    def warm_members(self, group: str) -> tuple[Member, ...]:
        """The machines of a group's warm pool."""
        self._journal.read("autoscaling", "DescribeWarmPool")
        return tuple(self._shapes.member(member) for member in self._known(group).pool.values())

    def instances(self, ids: Sequence[str]) -> Mapping[str, Instance]:
        """The instances among these ids that EC2 still knows; in large looks nobody is protected, as with AWS."""
        self._journal.read("ec2", "DescribeInstances")
        found = {i: self._ec2.found[i] for i in ids if i in self._ec2.found}
        if len(found) > PROTECTION_READ_UP_TO:
            return {i: replace(one, termination_protected=False) for i, one in found.items()}
        for one in found.values():
            if one.state not in GONE:
                self._journal.read("ec2", "DescribeInstanceAttribute")
        return found

    def tagged_instances(self, key: str, value: str = "*") -> Mapping[str, Instance]:
        """Instances, not yet terminated, whose tag has this value."""
        self._journal.read("ec2", "DescribeInstances")
        candidates = (self._ec2.found[i] for i in self._ec2.alive)
        leaving = (i for i in self._ec2.found.values() if i.state == "shutting-down")
        return {i.id: i for i in (*candidates, *leaving) if key in i.tags and fnmatch.fnmatchcase(i.tags[key], value)}

    def activities(self, group: str, since: float) -> tuple[Activity, ...]:
        """Scaling activities that started after ``since``, newest first."""
        self._journal.read("autoscaling", "DescribeScalingActivities")
        found = []
        for activity in self._known(group).activities:
            if activity.started_at <= since:
                break
            status, message = activity.status.value, activity.message or ""
            found.append(Activity(activity.started_at, status, activity.description, message, activity.cause))
        return tuple(found)

    def image(self, image_id: str) -> Image | None:
        """An image by id; None if it is gone."""
        self._journal.read("ec2", "DescribeImages")
        return self._ec2.images.get(image_id)

    def images(self, owner: str, name: str, architecture: str) -> tuple[Image, ...]:
        """Images whose name matches, newest first."""
        self._journal.read("ec2", "DescribeImages")
        found = [
            image
            for image in self._ec2.images.values()
            if image.owner == self._owners.get(owner, owner)
            and image.architecture == architecture
            and fnmatch.fnmatchcase(image.name, name)
        ]
        return tuple(sorted(found, key=lambda image: image.created, reverse=True))

    def parameter(self, name: str) -> Parameter:
        """:raises GoneError: if there is none."""
        self._journal.read("ssm", "GetParameter")
        return self._ec2.parameter(name)

    def parameters(self, path: str) -> tuple[Parameter, ...]:
        """Every SSM parameter directly below a path."""
        self._journal.read("ssm", "GetParametersByPath")
        found = self._ec2.parameters.values()
        return tuple(one for one in found if one.name.rpartition("/")[0] == path)

    def put_parameter(self, name: str, value: str) -> None:
        """Write an SSM parameter."""
        with self._write("ssm", "PutParameter", name=name):
            self._ec2.put_parameter(name, value)

    def template(self, spec: TemplateSpec) -> Template:
        """What a template launches now; :raises GoneError: if there is no such template or version."""
        self._journal.read("ec2", "DescribeLaunchTemplateVersions")
        source = (
            spec.name
            if spec.launch_configuration
            else TemplateRef(spec.id or None, spec.name or None, spec.version or "$Default")
        )
        try:
            return self._ec2.as_template(self._ec2.blueprint(source))
        except LookupError as error:
            raise GoneError(str(error)) from error

    def new_template_version(self, source: TemplateVersion, image_id: str, token: str) -> TemplateVersion:
        """Copy a version with another image; the same token makes it once."""
        if not source.version:
            remedy = "Give the group a launch template, or set image_step: external"
            raise BlockedError(Blocked("a launch configuration can't be changed", (source.name,), remedy))
        with self._write("ec2", "CreateLaunchTemplateVersion", name=source.name, image_id=image_id):
            template = self._ec2.template_named(source.id or source.name)
            if token not in template.tokens:
                _, instance_type = template.versions[template.number(source.version)]
                template.tokens[token] = template.add(image_id, instance_type)
            return TemplateVersion(name=template.name, id=template.id, version=template.tokens[token])

    def use_template_version(self, group: str, version: TemplateVersion) -> None:
        """Point a group at a template version; overrides are kept."""
        with self._write("autoscaling", "UpdateAutoScalingGroup", group=group, version=version.version):
            source = self._known(group).source
            ref = TemplateRef(version.id or None, version.name, version.version)
            self._scaling.update(group, GroupChange(source=replace(source, template=ref, configuration=None)))

    def set_default_version(self, version: TemplateVersion) -> None:
        """Make a version the template's default."""
        with self._write("ec2", "ModifyLaunchTemplate", name=version.name, version=version.version):
            template = self._ec2.template_named(version.id or version.name)
            template.default = template.number(version.version)

    def detach(self, group: str, instance_ids: Sequence[str]) -> None:
        """Detach without decrement."""
        with self._write("autoscaling", "DetachInstances", group=group, instance_ids=tuple(instance_ids)):
            self._scaling.detach(group, instance_ids, decrement=False)

    def attach(self, group: str, instance_ids: Sequence[str]) -> None:
        """Attach; raises desired by as many."""
        with self._write("autoscaling", "AttachInstances", group=group, instance_ids=tuple(instance_ids)):
            self._scaling.attach(group, instance_ids)

    def set_sizes(
        self, group: str, *, min: int | None = None, max: int | None = None, desired: int | None = None
    ) -> None:
        """Set only what is given."""
        sizes = {key: size for key, size in (("min", min), ("max", max), ("desired", desired)) if size is not None}
        if not sizes:
            return
        with self._write("autoscaling", "UpdateAutoScalingGroup", group=group, **sizes):
            self._scaling.update(group, GroupChange(min_size=min, max_size=max, desired=desired))

    def terminate_in_group(self, instance_id: str, *, decrement: bool) -> None:
        """TerminateInstanceInAutoScalingGroup."""
        action = "TerminateInstanceInAutoScalingGroup"
        with self._write("autoscaling", action, instance_id=instance_id, decrement=decrement):
            self._scaling.terminate(instance_id, decrement=decrement)

    def terminate(self, instance_id: str) -> None:
        """EC2 TerminateInstances; a group notices that its member goes."""
        with self._write("ec2", "TerminateInstances", instance_id=instance_id):
            self._ec2.terminate_by_request(instance_id)
            self._scaling.instance_changed(instance_id)

    def suspend(self, group: str, processes: Sequence[str]) -> None:
        """SuspendProcesses; none named does nothing (AWS would suspend all)."""
        if processes:
            with self._write("autoscaling", "SuspendProcesses", group=group, processes=tuple(processes)):
                self._scaling.suspend(group, processes)

    def resume(self, group: str, processes: Sequence[str]) -> None:
        """ResumeProcesses; none named does nothing (AWS would resume all)."""
        if processes:
            with self._write("autoscaling", "ResumeProcesses", group=group, processes=tuple(processes)):
                self._scaling.resume(group, processes)

    def tag_instances(self, instance_ids: Sequence[str], tags: Mapping[str, str]) -> None:
        """CreateTags."""
        if not tags:
            return
        with self._write("ec2", "CreateTags", instance_ids=tuple(instance_ids), tags=dict(tags)):
            self._retag(instance_ids, dict(tags))

    def untag_instances(self, instance_ids: Sequence[str], keys: Sequence[str]) -> None:
        """DeleteTags."""
        if not keys:
            return
        with self._write("ec2", "DeleteTags", instance_ids=tuple(instance_ids), keys=tuple(keys)):
            self._retag(instance_ids, dict.fromkeys(keys))

    def tag_group(self, group: str, tags: Mapping[str, str]) -> None:
        """CreateOrUpdateTags, never propagated."""
        if not tags:
            return
        with self._write("autoscaling", "CreateOrUpdateTags", group=group, tags=dict(tags)):
            self._scaling.put_tags(group, [GroupTag(key, value) for key, value in tags.items()])

    def untag_group(self, group: str, keys: Sequence[str]) -> None:
        """DeleteTags of Auto Scaling."""
        if not keys:
            return
        with self._write("autoscaling", "DeleteTags", group=group, keys=tuple(keys)):
            self._scaling.delete_tags(group, keys)

    @contextmanager
    def _write(self, service: str, action: str, **args: Any) -> Iterator[None]:
        try:
            with self._journal.mutation(service, action, **args):
                yield
        except AwsFault as fault:
            raise _ours(fault, ", ".join(str(arg) for arg in args.values())) from fault
        except LookupError as error:
            raise GoneError(str(error)) from error

    def _retag(self, instance_ids: Sequence[str], tags: dict[str, str | None]) -> None:
        for instance_id in instance_ids:
            if instance_id not in self._ec2.found:
                raise GoneError(f"The instance ID '{instance_id}' does not exist")
        for instance_id in instance_ids:
            self._ec2.retag(instance_id, tags)

    def _known(self, group: str) -> Group:
        if group not in self._scaling.groups:
            raise GoneError(f"AutoScalingGroup name not found - no such group: {group}")
        return self._scaling.groups[group]


def _ours(fault: AwsFault, objects: str) -> Exception:
    """AWS' answer in our classes; Auto Scaling says ValidationError for everything, only its words tell."""
    said = f"{objects}: {fault} ({fault.code})"
    if _GONE_TEXT.search(str(fault)):
        return GoneError(said)
    if _SIZES_TEXT.search(str(fault)):
        remedy = "Change the group's minimum or maximum size so that the rotation fits between them."
        return BlockedError(Blocked(said, (objects,), remedy))
    return PermanentError(said)
