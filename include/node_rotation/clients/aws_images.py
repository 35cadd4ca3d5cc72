"""Images, the parameters that name them, and the templates that launch them."""

from __future__ import annotations

from typing import Any

from node_rotation.clients import aws_values as values
from node_rotation.clients.aws_calls import Calls
from node_rotation.clients.aws_errors import translated
from node_rotation.errors import BlockedError, GoneError
from node_rotation.model import Image, TemplateVersion
from node_rotation.outcome import Blocked
from node_rotation.world.aws import Parameter, Template, TemplateSpec

ALIAS = "resolve:ssm:"
NEWEST_VERSIONS = 20


class Images:
    """What EC2 and SSM know of images and templates."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def image(self, image_id: str) -> Image | None:
        """An image by id; None if it is gone or private."""
        try:
            with translated("ec2", "DescribeImages", image_id):
                answer = self._calls.ec2.describe_images(ImageIds=[image_id], IncludeDeprecated=True)
        except GoneError:
            return None
        return next((values.image(found) for found in answer["Images"]), None)

    def images(self, owner: str, name: str, architecture: str) -> tuple[Image, ...]:
        """Images whose name matches a filter with ``*``, deprecated ones included, newest first."""
        wanted = {"name": name, "architecture": architecture, "state": "available"}
        filters = [{"Name": key, "Values": [value]} for key, value in wanted.items()]
        pages = self._calls.ec2.get_paginator("describe_images")
        with translated("ec2", "DescribeImages", f"{name} of {owner}"):
            found = [
                values.image(answer)
                for page in pages.paginate(Owners=[owner], Filters=filters, IncludeDeprecated=True)
                for answer in page["Images"]
            ]
        return tuple(sorted(found, key=lambda image: (image.created, image.id), reverse=True))

    def parameter(self, name: str) -> Parameter:
        """An SSM parameter, also as ``name:version``.

        :raises GoneError: if there is none.
        """
        with translated("ssm", "GetParameter", f"parameter {name}"):
            found = self._calls.ssm.get_parameter(Name=name)["Parameter"]
        return Parameter(found["Name"], found["Value"], found["LastModifiedDate"].timestamp())

    def parameters(self, path: str) -> tuple[Parameter, ...]:
        """Every SSM parameter directly below a path."""
        pages = self._calls.ssm.get_paginator("get_parameters_by_path")
        with translated("ssm", "GetParametersByPath", f"parameters {path}"):
            found = [one for page in pages.paginate(Path=path) for one in page["Parameters"]]
        return tuple(Parameter(one["Name"], one["Value"], one["LastModifiedDate"].timestamp()) for one in found)

    def put_parameter(self, name: str, value: str) -> None:
        """Write an SSM parameter (a String); there or not."""
        with translated("ssm", "PutParameter", f"parameter {name}"):
            self._calls.ssm.put_parameter(Name=name, Value=value, Type="String", Overwrite=True)

    def template(self, spec: TemplateSpec) -> Template:
        """What a template launches now: ``$Latest``, ``$Default``, ``resolve:ssm:`` resolved.

        :raises GoneError: if there is no such template, version or launch configuration.
        """
        if spec.launch_configuration:
            return self._configuration(spec.name)
        found = self._version(spec)
        data = found["LaunchTemplateData"]
        return self._resolved(values.version(found | {"Version": found["VersionNumber"]}), data)

    def new_template_version(self, source: TemplateVersion, image_id: str, token: str) -> TemplateVersion:
        """Copy a template version with another image; the same token makes it once.

        AWS forgets a client token after a while, a version's description never.
        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateLaunchTemplateVersion.html

        :param token: at most 64 ASCII characters.
        :raises BlockedError: if the source is a launch configuration, which nobody can change.
        """
        if not source.version:
            raise BlockedError(_immutable(source.name))
        description = f"node-rotation {token}"
        for found in self._newest(source):
            if found.get("VersionDescription") == description:
                return values.version(found | {"Version": found["VersionNumber"]})
        with translated("ec2", "CreateLaunchTemplateVersion", f"launch template {source.name or source.id}"):
            answer = self._calls.ec2_once.create_launch_template_version(
                **values.address(source),
                SourceVersion=source.version,
                ClientToken=token,
                VersionDescription=description,
                LaunchTemplateData={"ImageId": image_id},
            )
        made = answer["LaunchTemplateVersion"]
        return values.version(made | {"Version": made["VersionNumber"]})

    def set_default_version(self, version: TemplateVersion) -> None:
        """Make a version the template's default, for groups that say ``$Default``."""
        with translated("ec2", "ModifyLaunchTemplate", f"launch template {version.name or version.id}"):
            self._calls.ec2.modify_launch_template(**values.address(version), DefaultVersion=version.version)

    def _version(self, spec: TemplateSpec) -> Any:
        what = f"launch template {spec.name or spec.id} version {spec.version}"
        with translated("ec2", "DescribeLaunchTemplateVersions", what):
            answer = self._calls.ec2.describe_launch_template_versions(
                **values.address(spec), Versions=[spec.version or values.DEFAULT_VERSION], ResolveAlias=True
            )
        if not answer["LaunchTemplateVersions"]:
            raise GoneError(f"{what} does not exist")
        return answer["LaunchTemplateVersions"][0]

    def _newest(self, source: TemplateVersion) -> list[Any]:
        with translated("ec2", "DescribeLaunchTemplateVersions", f"launch template {source.name or source.id}"):
            latest = self._calls.ec2.describe_launch_template_versions(**values.address(source), Versions=["$Latest"])[
                "LaunchTemplateVersions"
            ][0]["VersionNumber"]
            oldest = str(max(1, latest - NEWEST_VERSIONS))
            answer = self._calls.ec2.describe_launch_template_versions(**values.address(source), MinVersion=oldest)
        return list(answer["LaunchTemplateVersions"])

    def _configuration(self, name: str) -> Template:
        with translated("autoscaling", "DescribeLaunchConfigurations", f"launch configuration {name}"):
            answer = self._calls.autoscaling.describe_launch_configurations(LaunchConfigurationNames=[name])
        if not answer["LaunchConfigurations"]:
            raise GoneError(f"the launch configuration {name} does not exist")
        return self._resolved(TemplateVersion(name=name), answer["LaunchConfigurations"][0])

    def _resolved(self, ref: TemplateVersion, data: Any) -> Template:
        image_id, instance_type = data.get("ImageId", ""), data.get("InstanceType", "")
        if image_id.startswith(ALIAS):
            image_id = self.parameter(image_id.removeprefix(ALIAS)).value
        return Template(ref, image_id, instance_type, self._architecture(image_id, instance_type))

    def _architecture(self, image_id: str, instance_type: str) -> str:
        """The image's; if that is gone, the one its instance type is made for."""
        image = self.image(image_id) if image_id else None
        if image:
            return image.architecture
        if not instance_type:
            return ""
        with translated("ec2", "DescribeInstanceTypes", instance_type):
            answer = self._calls.ec2.describe_instance_types(InstanceTypes=[instance_type])
        made_for = [t.get("ProcessorInfo", {}).get("SupportedArchitectures", [""]) for t in answer["InstanceTypes"]]
        return str(made_for[0][-1]) if made_for else ""


def _immutable(name: str) -> Blocked:
    return Blocked(
        "a launch configuration can't be changed",
        (f"launch configuration {name}",),
        "Give the group a launch template, or set image_step: external and replace the configuration yourself.",
    )
