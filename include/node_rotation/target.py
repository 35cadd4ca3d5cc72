"""Which image the machines of a group should run, from what the cloud offers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from node_rotation.clearance import freeze
from node_rotation.clearance.freeze import Frozen
from node_rotation.model import Blocker, Image, Target, TemplateVersion
from node_rotation.policy import ImageSource
from node_rotation.world.aws import Parameter, Template

LEFT_OUT = "or leave the group out: --group names those that the run is about"
"""One image for all of a run's groups (--image) may not be one for each of them."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """What the cloud says of one group; gathered by whoever may do I/O.

    :param template: the group's template, resolved now; None if it can't be resolved.
    :param overrides: the mixed instances policy's overrides that bring a template of their own, resolved.
    :param images: what the source can mean: the template's image, the parameter's, the pinned one, and every
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

    def image(self, image_id: str) -> Image | None:
        """The image with this id among ``images``, or None."""
        return next((image for image in self.images if image.id == image_id), None)


@dataclass(frozen=True, slots=True)
class Choice:
    """The target, or why there is none.

    :param target: None if no image may be rolled out; then ``blockers`` says why.
    :param blockers: may also stand beside a target (an override that launches another image).
    :param pinned: the image was asked for by id: it may be deprecated, and older than what runs.
    :param templates: every template version that new machines of the group are launched from now.
    """

    target: Target | None
    blockers: tuple[Blocker, ...] = ()
    notes: tuple[str, ...] = ()
    pinned: bool = False
    templates: tuple[TemplateVersion, ...] = ()


class _Refused(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, reason: str, objects: Sequence[str], remedy: str, *, held_back: bool = False) -> None:
        self.blocker = Blocker(reason=reason, objects=tuple(objects), remedy=remedy, held_back=held_back)


@dataclass(frozen=True, slots=True)
class _Asked:
    source: ImageSource
    candidates: Candidates
    group: str
    moment: datetime
    past: bool
    frozen: Sequence[Frozen]


def choose(
    source: ImageSource,
    candidates: Candidates,
    *,
    group: str,
    now: float,
    as_of: float | None = None,
    frozen: Sequence[Frozen] = (),
) -> Choice:
    """Choose the target image of a group.

    As of a date means: the newest image created before it and older than its soak. SSM parameters keep no
    public history (AWS: GetParameterHistory is refused for public parameters), so a night before the parameter
    was written is answered from owner and name, if the policy gives them, or not at all.

    :param source: where the image comes from, its soak and architecture.
    :param candidates: what the cloud offers.
    :param group: the node group's name, for messages.
    :param now: epoch seconds.
    :param as_of: answer for this moment in the past (epoch seconds); None for now.
    :param frozen: images that nobody may roll out.
    """
    moment = datetime.fromtimestamp(now if as_of is None else as_of, UTC)
    asked = _Asked(source, candidates, group, moment, as_of is not None and as_of < now, frozen)
    try:
        image, where = _find(asked)
        _fits(asked, image)
        notes = (*_never_backwards(asked, image), *_passed_over(asked, image))
    except _Refused as refused:
        return Choice(None, (refused.blocker,), pinned=bool(source.id))
    template = candidates.template
    now_launched = template.ref if template is not None else None
    launches_it = template is not None and template.image_id == image.id
    return Choice(
        Target(
            image=image,
            template=now_launched if launches_it else None,
            based_on=None if launches_it else now_launched,
            source=where,
        ),
        blockers=_overrides(asked, image),
        notes=notes,
        pinned=bool(source.id),
        templates=tuple(t.ref for t in (template, *candidates.overrides) if t is not None),
    )


def newest(images: Sequence[Image]) -> Image | None:
    """The image created last; by id where two share the second."""
    return max(images, key=lambda image: (image.created, image.id), default=None)


def deprecated(image: Image, moment: datetime) -> bool:
    """Whether an image was deprecated at a moment (EC2 DescribeImages, ``DeprecationTime``)."""
    return image.deprecated is not None and image.deprecated <= moment


def _find(asked: _Asked) -> tuple[Image, str]:
    source = asked.source
    if source.id:
        return _the(asked, source.id, "pinned"), f"pinned {source.id}"
    if source.ssm:
        return _by_parameter(asked, source.ssm)
    if source.name:
        return _by_name(asked), f"owner {source.owner}, name {source.name}"
    return _by_template(asked)


def _by_template(asked: _Asked) -> tuple[Image, str]:
    template = asked.candidates.template
    if template is None:
        raise _Refused(
            f"the template of group {asked.group} can't be resolved",
            [f"group {asked.group}"],
            "give the Auto Scaling group a launch template or launch configuration that exists",
        )
    where = f"template {label(template.ref)}"
    image = _the(asked, template.image_id, where)
    if asked.past and image.created > asked.moment:
        raise _unanswerable(asked, where, f"its image {image.id} is younger")
    _soaked(asked, image, where)
    return image, where


def _by_parameter(asked: _Asked, name: str) -> tuple[Image, str]:
    where = f"ssm {name}"
    parameter = asked.candidates.parameter
    if parameter is None:
        raise _Refused(
            f"there is no SSM parameter {name}", [where], "correct image.ssm in the fleet file, or create the parameter"
        )
    if asked.past and parameter.modified_at > asked.moment.timestamp():
        if not asked.source.name:
            raise _unanswerable(asked, where, "the parameter was written later and keeps no history")
        return _by_name(asked), f"owner {asked.source.owner}, name {asked.source.name} ({where} was written later)"
    image = _the(asked, parameter.value, where)
    _soaked(asked, image, where)
    return image, where


def _by_name(asked: _Asked) -> Image:
    """The newest that may be rolled out; what was refused on the way is named if nothing is left."""
    source = asked.source
    what = f"owner {source.owner}, name {source.name}, {source.architecture}"
    found = [i for i in asked.candidates.images if i.architecture == source.architecture]
    created = [i for i in found if i.created <= asked.moment]
    if not created:
        when = f" created before {_iso(asked.moment)}" if found else ""
        raise _Refused(
            f"no image matches {what}{when}",
            [f"group {asked.group}"],
            "correct image.owner or image.name in the fleet file",
        )
    current = [i for i in created if not deprecated(i, asked.moment)]
    if not current:
        raise _Refused(
            f"every image that matches {what} is deprecated", [i.id for i in created[:3]], "publish a newer image"
        )
    thawed = [i for i in current if freeze.of(i, asked.frozen) is None]
    if not thawed:
        _not_frozen(asked, current[0])
    current = thawed
    ripe = newest([i for i in current if i.created.timestamp() + source.soak <= asked.moment.timestamp()])
    if ripe is None:
        oldest = min(current, key=lambda image: image.created)
        _soaked(asked, oldest, what)
    return ripe or oldest


def _the(asked: _Asked, image_id: str, where: str) -> Image:
    image = asked.candidates.image(image_id)
    if image is None:
        raise _Refused(
            f"image {image_id} ({where}) does not exist, or this account may not use it",
            [f"image {image_id}", f"group {asked.group}"],
            "share the image with the account (aws ec2 modify-image-attribute), or name another",
        )
    return image


def _soaked(asked: _Asked, image: Image, where: str) -> None:
    until = image.created.timestamp() + asked.source.soak
    if until > asked.moment.timestamp():
        raise _Refused(
            f"image {image.id} ({where}) soaks until {_iso(datetime.fromtimestamp(until, UTC))}",
            [f"image {image.id}", f"group {asked.group}"],
            "wait, or lower image.soak in the fleet file",
            held_back=True,
        )


def _not_frozen(asked: _Asked, image: Image) -> None:
    record = freeze.of(image, asked.frozen)
    if record is not None:
        raise _Refused(
            str(record),
            [f"image {image.id}", f"group {asked.group}"],
            f"publish a better image, or lift it: {freeze.lift(image.id)}",
            held_back=True,
        )


def _passed_over(asked: _Asked, image: Image) -> tuple[str, ...]:
    """Frozen images that would be newer, and one that machines are still launched from."""
    newer = (i for i in asked.candidates.images if i.id != image.id and i.created > image.created)
    records = [record for i in newer if (record := freeze.of(i, asked.frozen)) is not None]
    template = asked.candidates.template
    launched = template and next((r for r in asked.frozen if r.image.id == template.image_id), None)
    if template and launched:
        where = f"template {label(template.ref)} of group {asked.group}"
        return (*map(str, records), f"a frozen image still launches: {launched.image.id} from {where}")
    return tuple(map(str, records))


def _fits(asked: _Asked, image: Image) -> None:
    _not_frozen(asked, image)
    if deprecated(image, asked.moment) and not asked.source.id:
        raise _Refused(
            f"image {image.id} ({image.name}) is deprecated since {_iso(image.deprecated or asked.moment)}",
            [f"image {image.id}", f"group {asked.group}"],
            "publish a newer image, or pin this one: --image ID for a run, image.id in the fleet file",
        )
    wanted = _architecture(asked)
    if image.architecture != wanted:
        raise _Refused(
            f"image {image.id} is for {image.architecture}, the machines of group {asked.group} are {wanted}",
            [f"image {image.id}", f"group {asked.group}"],
            f"name an image for {wanted} (image.architecture: {wanted} in the fleet file), {LEFT_OUT}",
        )


def _architecture(asked: _Asked) -> str:
    """What the machines are: what runs now knows best, then the template, then the policy."""
    known = asked.candidates.known
    running = {known[i].architecture for i in asked.candidates.running if i in known}
    if len(running) == 1:
        return running.pop()
    template = asked.candidates.template
    return (template.architecture if template else "") or asked.source.architecture


def _never_backwards(asked: _Asked, image: Image) -> tuple[str, ...]:
    """Refuse an image older than what most machines run; a past night is answered, and said to be behind."""
    known = asked.candidates.known
    if asked.source.id or not asked.candidates.running:
        return ()
    counts = Counter(asked.candidates.running)
    most = max(counts.values())
    rivals = [known[i] for i, count in counts.items() if count == most and i in known]
    running = newest(rivals)
    if running is None or running.created <= image.created:
        return ()
    if asked.past:
        return (f"group {asked.group} runs {running.id} ({_iso(running.created)}) by now, newer than {image.id}",)
    raise _Refused(
        f"image {image.id} ({_iso(image.created)}) is older than {running.id} ({_iso(running.created)}), which "
        f"{most} of {len(asked.candidates.running)} machines of group {asked.group} run",
        [f"image {image.id}", f"group {asked.group}"],
        f"if going back is meant, pin it: --image {image.id} for a run, image.id: {image.id} in the fleet file",
    )


def _overrides(asked: _Asked, image: Image) -> tuple[Blocker, ...]:
    """An override's own template is not changed by the image step: it must launch the target itself."""
    return tuple(
        Blocker(
            reason=f"an override of group {asked.group} launches {other.image_id} from its own template "
            f"{label(other.ref)}, not the target {image.id}",
            objects=(f"group {asked.group}", f"template {label(other.ref)}"),
            remedy="put the target image into that template, or let the override use the group's template",
        )
        for other in asked.candidates.overrides
        if other.image_id != image.id
    )


def _unanswerable(asked: _Asked, where: str, why: str) -> _Refused:
    return _Refused(
        f"the image of group {asked.group} as of {_iso(asked.moment)} cannot be answered from {where}: {why}",
        [f"group {asked.group}"],
        "give image.owner and image.name: past nights are answered from image creation dates",
    )


def label(version: TemplateVersion) -> str:
    """``name:version``, or a launch configuration's name."""
    return f"{version.name}:{version.version}" if version.version else version.name


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
