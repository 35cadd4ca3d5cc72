"""What EKS reads and writes of EC2 and SSM in memory: releases, user templates, its own template."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node_rotation.errors import GoneError
from node_rotation.managed.ami_types import AMI_TYPES
from node_rotation.testing.scaling_values import TemplateRef

if TYPE_CHECKING:
    from node_rotation.testing.account import Account
    from node_rotation.testing.ec2 import Ec2


class MemoryTemplates:
    """``managed_values.Templates`` over EC2 in memory."""

    def __init__(self, ec2: Ec2, account: Account) -> None:
        self._ec2, self._account = ec2, account

    def newest(self, ami_type: str, version: str) -> str:
        """The release of the image that AWS' parameter names; empty if there is none."""
        try:
            image_id = self._ec2.parameter(AMI_TYPES[ami_type].parameter(version)).value
        except (GoneError, KeyError):
            return ""
        return self._account.images[image_id].release

    def image_of(self, ami_type: str, version: str, release: str) -> str:
        """The image of a release version; :raises LookupError: if there is none."""
        known = AMI_TYPES[ami_type]
        for image_id, image in self._account.images.items():
            right = known.release_in(version, image.name) and image.architecture == known.architecture
            if release and right and image.release == release:
                return image_id
        raise LookupError(release)

    def resolve(self, template: TemplateRef) -> tuple[str, str]:
        """The number and the image of a version of a user's launch template; :raises LookupError: if it is gone."""
        blueprint = self._ec2.blueprint(template)
        return blueprint.version or "", blueprint.image_id

    def relaunch(self, asg: str, image_id: str) -> None:
        """Write a version of EKS' own template; the group launches ``$Latest`` of it."""
        template = self._ec2.template_named(asg)
        if self._ec2.resolved(template.versions[template.number("$Latest")][0]) != image_id:
            template.add(image_id, self._account.groups[asg].instance_type)
