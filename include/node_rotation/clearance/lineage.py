"""Whether two images are one: ids differ by region, and between accounts that copy rather than share."""

from __future__ import annotations

from node_rotation.model import Image
from node_rotation.policy import ImageSource


def same(one: Image, other: Image) -> bool:
    """Whether two images are the same build.

    By id, by owner and name, or because one is a copy of the other, or both of a third (EC2 API reference,
    ``Image.SourceImageId``). A name alone says nothing: anybody may give it to anything.
    """
    ids = {one.id, one.copied_from} & {other.id, other.copied_from}
    return bool(ids - {""}) or (one.owner, one.name) == (other.owner, other.name)


def alike(one: ImageSource, other: ImageSource) -> bool:
    """Whether two groups take their images from where the same builds come: a family.

    :param one: as the fleet file says it; what is pinned for a single run belongs to no family.
    """
    if one.architecture != other.architecture:
        return False
    if one.ssm or other.ssm:
        return one.ssm == other.ssm
    return (one.name, one.owner, one.id, one.template) == (other.name, other.owner, other.id, other.template)
