"""Whether two images are one: ids differ by region, and between accounts that copy rather than share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from node_rotation.managed.nodegroup import CUSTOM, ManagedGroup
from node_rotation.model import Image, Kind, Role
from node_rotation.policy import ImageSource


def same(one: Image, other: Image) -> bool:
    """Whether two images are the same build.

    By id, by owner and name, or because one is a copy of the other, or both of a third. A name alone says nothing:
    anybody may give it to anything; nor does a base that both were built on.
    """
    ids = {one.id, one.copied_from} & {other.id, other.copied_from}
    return bool(ids - {""}) or (one.owner, one.name) == (other.owner, other.name)


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of where the images of a node group come from.

    :param source: as the fleet file says it; what is pinned for a single run belongs to no family.
    :param eks: what EKS chooses a managed group's images by, from :func:`chosen_by`; "" as long as nobody asked.
    """

    group: str
    kind: Kind
    role: Role
    source: ImageSource
    eks: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """The groups elsewhere that show the images of one of ours.

    :param sure: what they run comes from where ours does: by the fleet file, by EKS or by the group's name. Groups
        that are only the ones left may run another build altogether.
    :param unclear: one of them shows the images, and nothing says which.
    """

    groups: tuple[str, ...]
    sure: bool = True
    unclear: bool = False


def chosen_by(group: ManagedGroup) -> str:
    """What EKS chooses a managed group's images by: AMI type and Kubernetes version; CUSTOM is its owner's choice."""
    return CUSTOM if group.ami_type == CUSTOM else f"{group.ami_type} {group.version}"


def alike(one: Origin, other: Origin) -> bool:
    """Whether two groups may have their images from one place.

    Templates of their own are two places: of those it is only known that groups of another kind or role, or with
    another AMI type, have nothing to do with each other.
    """
    if one.source.from_template and other.source.from_template:
        return (one.kind, one.role) == (other.kind, other.role) and _same_choice(one, other)
    return _place(one.source) == _place(other.source) and (not one.source.release or _same_choice(one, other))


def family(ours: Origin, theirs: Sequence[Origin]) -> Family:
    """The groups of another cluster that an image of ours is to be seen on.

    :param theirs: all the groups there that may count.
    """
    found = tuple(other for other in theirs if alike(ours, other))
    groups = tuple(other.group for other in found)
    if not ours.source.from_template or ours.eks not in ("", CUSTOM):
        return Family(groups)
    if ours.group in groups:
        return Family((ours.group,))
    # The masters of a cluster run one image; other groups that are not called alike may be of different builds.
    return Family(groups, sure=False, unclear=len(groups) > 1 and ours.role is not Role.CONTROL_PLANE)


def unclear(group: str, there: str, shown: Family, *, in_turn: bool) -> tuple[str, str]:
    """What is said of a family that is unclear, and what to do.

    :param group: of ours.
    :param there: the other cluster, ``environment.cluster``.
    :param in_turn: it is a cluster of the same environment.
    """
    said = (
        f"{there} has {' and '.join(shown.groups)}, which take their images from templates of their own as {group} "
        "does: nothing says which of them shows its images."
    )
    named = "" if in_turn else "Name those that count in promotion.groups, or "
    remedy = f"{named}call the group there {group}, or say in both where the image comes from (image.ssm, or "
    return said, f"{remedy[0].upper()}{remedy[1:]}image.owner and image.name)."


def _same_choice(one: Origin, other: Origin) -> bool:
    if one.kind is Kind.EKS_MANAGED:  # its AMI type has an architecture
        return "" in (one.eks, other.eks) or one.eks == other.eks
    return one.source.architecture == other.source.architecture


def _place(source: ImageSource) -> tuple[str | bool | None, ...]:
    """Where a source that the fleet file names is; owner and name only answer for the past of a parameter."""
    named = (source.ssm,) if source.ssm else (source.owner, source.name, source.id, source.release)
    return (source.architecture, source.from_template, *named)
