"""Which image a managed node group should run: by its AMI type, a release version, or its launch template."""

from __future__ import annotations

from dataclasses import replace

from node_rotation.errors import GoneError
from node_rotation.managed.ami_types import AMI_TYPES, OWNER, RECOMMENDED, AmiType
from node_rotation.managed.nodegroup import CUSTOM, ManagedGroup
from node_rotation.model import Blocker, Image
from node_rotation.policy import ImageSource
from node_rotation.target import LEFT_OUT, Choice
from node_rotation.world.aws import ScalingGroup, TemplateSpec
from node_rotation.world.clients import Cloud

LATEST = "$Latest"


def source_of(cloud: Cloud, group: ManagedGroup, source: ImageSource) -> ImageSource | Blocker:
    """What the policy's image source means for a managed group.

    ``template``, the default, is AWS' newest image of the group's AMI type and Kubernetes version; for CUSTOM the
    newest version of the user's launch template. Past nights are answered by the images' names and dates.

    :returns: a source that :func:`node_rotation.target.choose` understands, or why there is none.
    """
    if group.ami_type == CUSTOM:
        return _custom(group, source)
    known = AMI_TYPES.get(group.ami_type)
    if known is None:
        return _refused(
            group,
            f"AMI type {group.ami_type or 'of an unknown name'} of node group {group.label} is not known here",
            "update node-rotation, or leave the group out of the fleet",
        )
    kept = {"architecture": known.architecture, "soak": source.soak}
    if source.release:
        return _of_release(cloud, group, known, source.release)
    if source.id:
        return ImageSource(id=source.id, architecture=known.architecture)
    if source.ssm or source.name:
        return _refused(
            group,
            f"EKS chooses the images of node group {group.label} (AMI type {group.ami_type}): image.ssm and image.name "
            "mean nothing to it",
            "say image: {template: true} (AWS' newest) in the policy of this group in the fleet file, or pin "
            "image.release or image.id there",
        )
    name = known.image_name(group.version)
    return ImageSource(ssm=known.parameter(group.version), owner=OWNER, name=name, **kept)


def launched_from(group: ManagedGroup, scaling: ScalingGroup) -> ScalingGroup:
    """The group with the template that says what it should launch: for CUSTOM the user's, at its newest version."""
    if group.ami_type != CUSTOM or group.template is None:
        return scaling
    return replace(scaling, template=TemplateSpec(group.template.name, group.template.id, LATEST), overrides=())


def completed(
    cloud: Cloud, group: ManagedGroup, scaling: ScalingGroup, choice: Choice, running: tuple[Image, ...]
) -> Choice:
    """The choice with what UpdateNodegroupVersion needs: the image's release version, or the template's.

    :param running: the images that the group's machines run: EKS takes no group back to an older one.
    """
    target = choice.target
    if target is None:
        return choice
    if older := next((image for image in running if image.created > target.image.created), None):
        reason = f"EKS can't take node group {group.label} back from {older.id} to the older {target.image.id}"
        return _without(choice, _refused(group, reason, f"make a new node group, name a newer image, {LEFT_OUT}"))
    if group.ami_type == CUSTOM:
        return _of_template(group, scaling, choice)
    release = _release(cloud, group, AMI_TYPES[group.ami_type], target.image)
    if not release:
        reason = f"image {target.image.id} ({target.image.name}) is no release of AMI type {group.ami_type}"
        remedy = f"name an image that AWS made for this AMI type and Kubernetes version, {LEFT_OUT}"
        return _without(choice, _refused(group, reason, remedy))
    templates = tuple(m.template for m in scaling.members if m.template is not None)  # EKS' own: no drift of ours
    return replace(choice, target=target.model_copy(update={"release": release, "based_on": None}), templates=templates)


def _custom(group: ManagedGroup, source: ImageSource) -> ImageSource | Blocker:
    if source.release:
        reason = f"node group {group.label} has AMI type CUSTOM: release versions mean nothing to it"
        return _refused(group, reason, "put the image into a new version of its launch template")
    return source


def _of_release(cloud: Cloud, group: ManagedGroup, known: AmiType, release: str) -> ImageSource | Blocker:
    name = known.image_name(group.version, release)
    found = cloud.images(OWNER, name, known.architecture)
    if found:
        return ImageSource(id=found[0].id, architecture=known.architecture)
    reason = f"there is no image {name} for release version {release} of node group {group.label}"
    return _refused(
        group, reason, "correct image.release in the fleet file; it belongs to one AMI type and Kubernetes version"
    )


def _of_template(group: ManagedGroup, scaling: ScalingGroup, choice: Choice) -> Choice:
    """A template version other than the group's own is drift of every machine, if the policy counts templates."""
    target = choice.target
    if target is None or target.template is None:
        reason = f"the newest version of the launch template of node group {group.label} does not launch the target"
        return _without(choice, _refused(group, reason, "put the image into a new version of that launch template"))
    current = group.template is not None and group.template.version == target.template.version
    templates = tuple(m.template for m in scaling.members if m.template is not None) if current else ()
    return replace(choice, templates=templates)


def _release(cloud: Cloud, group: ManagedGroup, known: AmiType, image: Image) -> str:
    found = known.release_in(group.version, image.name)
    if not found or not known.releases:
        return found
    newest = _parameter(cloud, known.parameter(group.version))
    which = RECOMMENDED if newest == image.id else image.name
    return _parameter(cloud, known.release_parameter(group.version, which))


def _parameter(cloud: Cloud, name: str) -> str:
    try:
        return cloud.parameter(name).value
    except GoneError:
        return ""


def _refused(group: ManagedGroup, reason: str, remedy: str) -> Blocker:
    return Blocker(reason=reason, objects=(f"node group {group.label}",), remedy=remedy)


def _without(choice: Choice, blocker: Blocker) -> Choice:
    return replace(choice, target=None, blockers=(*choice.blockers, blocker))
