"""Which image the machines of a group should run, from what the cloud offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from node_rotation.model import Blocker, Image, Target, TemplateVersion
from node_rotation.policy import ImageSource
from node_rotation.world import Parameter, Template


@dataclass(frozen=True, slots=True)
class Candidates:
    """What the cloud says of one group; gathered by whoever may do I/O.

    :param template: the group's template, resolved now; None if it can't be resolved.
    :param overrides: the mixed instances policy's overrides that bring a template of their own, resolved.
    :param images: what the source can mean: the template's image, the parameter's, the pinned one, or every
        image that matches owner and name (deprecated ones included). An image that is gone is left out.
    :param parameter: the SSM parameter, if that is the source; None if there is none of that name.
    :param running: the image id of every machine of the group, one entry per machine.
    :param known: images by id, at least those of ``running`` that still exist.
    """

    template: Template | None = None
    overrides: tuple[Template, ...] = ()
    images: tuple[Image, ...] = ()
    parameter: Parameter | None = None
    running: tuple[str, ...] = ()
    known: Mapping[str, Image] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """The target, or why there is none.

    :param target: None if no image may be rolled out; then ``blockers`` says why.
    :param blockers: may also stand beside a target (e.g. an override that launches another image).
    :param pinned: the image was asked for by id: it may be deprecated, and older than what runs.
    :param templates: every template version that new machines of the group are launched from now.
    """

    target: Target | None
    blockers: tuple[Blocker, ...] = ()
    notes: tuple[str, ...] = ()
    pinned: bool = False
    templates: tuple[TemplateVersion, ...] = ()


def choose(
    source: ImageSource, candidates: Candidates, *, group: str, now: float, as_of: float | None = None
) -> Choice:
    """Choose the target image of a group.

    :param source: where the image comes from, its soak and architecture.
    :param candidates: what the cloud offers.
    :param group: the node group's name, for messages.
    :param now: epoch seconds.
    :param as_of: answer for this moment in the past (epoch seconds); None for now.
    """
    image = candidates.images[0] if candidates.images else None
    if image is None:
        return Choice(None, (Blocker(reason=f"no image for {group}"),))
    template = candidates.template
    ref = template.ref if template and template.image_id == image.id else None
    return Choice(Target(image=image, template=ref, source="template"), pinned=bool(source.id))


def newest(images: Sequence[Image]) -> Image | None:
    """The image created last; by id where two share the second."""
    return max(images, key=lambda image: (image.created, image.id), default=None)
