"""``freeze`` and ``unfreeze``: images that nobody may roll out, over the whole fleet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from node_rotation import fleet
from node_rotation.clearance.freeze import Frozen, of
from node_rotation.clearance.freezes import Freezes
from node_rotation.cli import render, session
from node_rotation.cli.exits import ExitCode
from node_rotation.cli.options import Output
from node_rotation.errors import BadInputError
from node_rotation.fleet import Fleet, Settings
from node_rotation.model import Image


def freeze(file: Path, output: Output, image_id: str, reason: str) -> ExitCode:
    """Freeze an image, in the first account that knows it."""
    said = _reason(reason)
    for settings in _accounts(fleet.load(file)):
        cloud = session.account(settings.cluster.aws)
        if (image := cloud.image(image_id)) is not None:
            store = Freezes(settings, cloud, session.wall_clock(), session.account)
            _show(output, (store.freeze(image, said, f"cli {session.user()}"),))
            return ExitCode.OK
    raise _unknown(image_id)


def unfreeze(file: Path, output: Output, image_id: str, reason: str) -> ExitCode:
    """Lift the freezes of an image, and of its copies, in every account."""
    said = _reason(reason)
    known = fleet.load(file)
    store = freezes(known)
    record = of(_image(known, store, image_id), store())
    if record is None:
        raise BadInputError("IMAGE", f"image {image_id} is not frozen.", "node-rotation status shows those that are.")
    lifted = store.unfreeze(record.image, said)
    if output is Output.JSON:
        render.write_json({"schema_version": 1, "lifted": [one.model_dump(mode="json") for one in lifted]})
    else:
        for one in lifted:
            render.console().print(f"lifted: {one}", markup=False, soft_wrap=True)
    return ExitCode.OK


def freezes(known: Fleet) -> Freezes:
    """What is frozen, as every cluster of a fleet sees it."""
    settings = known.settings(known.names[0])
    return Freezes(settings, session.account(settings.cluster.aws), session.wall_clock(), session.account)


def _accounts(known: Fleet) -> Iterator[Settings]:
    """One cluster of each account and region."""
    seen = set()
    for settings in known.each():
        if settings.cluster.aws not in seen:
            seen.add(settings.cluster.aws)
            yield settings


def _image(known: Fleet, store: Freezes, image_id: str) -> Image:
    """The image behind an id; one that is gone by now is known from its record."""
    recorded = next((record.image for record in store() if record.image.id == image_id), None)
    if recorded is not None:
        return recorded
    for access in known.accounts:
        if (image := session.account(access).image(image_id)) is not None:
            return image
    raise _unknown(image_id)


def _reason(given: str) -> str:
    if not given.strip():
        raise BadInputError("--reason", "is empty.", "Say why: everybody who meets it reads it.")
    return given.strip()


def _unknown(image_id: str) -> BadInputError:
    return BadInputError("IMAGE", f"no account of the fleet knows an image {image_id!r}.", "Give the id of an AMI.")


def _show(output: Output, records: tuple[Frozen, ...]) -> None:
    if output is Output.JSON:
        render.write_json({"schema_version": 1, "frozen": [record.model_dump(mode="json") for record in records]})
        return
    for record in records:
        render.console().print(str(record), markup=False, soft_wrap=True)
