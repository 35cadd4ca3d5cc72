"""``freeze`` and ``unfreeze``: images that nobody may roll out, over the whole fleet."""

from __future__ import annotations

import re
from pathlib import Path

from node_rotation import fleet
from node_rotation.clearance.freeze import PATH, Frozen, of, read
from node_rotation.clearance.freezes import Freezes, union
from node_rotation.cli import render, session
from node_rotation.cli.exits import ExitCode
from node_rotation.cli.options import Output
from node_rotation.configuration import shapes
from node_rotation.errors import BadInputError, RotationError, happening_at
from node_rotation.fleet import Account, Fleet
from node_rotation.model import Image


def freeze(file: Path, output: Output, image_id: str, reason: str) -> ExitCode:
    """Freeze an image, in the first account that knows it; one that can't be asked keeps nobody from the next."""
    said = _reason(reason)
    _id(image_id)
    known = fleet.load(file)
    failed: list[RotationError] = []
    for account in known.accounts:
        try:
            record = _freeze_in(known, account, image_id, said)
        except RotationError as error:
            failed.append(error)
            continue
        if record is not None:
            _show(output, (record,))
            return ExitCode.OK
    raise failed[0] if failed else _unknown(image_id)


def _freeze_in(known: Fleet, account: Account, image_id: str, reason: str) -> Frozen | None:
    """Freeze an image in one account; None if it has none of this id."""
    with happening_at(str(account)):
        cloud = session.account(account.aws)
        image = cloud.image(image_id)
        if image is None:
            return None
        store = Freezes(known.settings(account.clusters[0]), cloud, session.wall_clock(), session.account)
        return store.freeze(image, reason, f"cli {session.user()}")


def unfreeze(file: Path, output: Output, image_id: str, reason: str) -> ExitCode:
    """Lift the freezes of an image, and of its copies, in every account."""
    said = _reason(reason)
    _id(image_id)
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
    with happening_at(str(known.accounts[0])):
        own = session.account(settings.cluster.aws)
    return Freezes(settings, own, session.wall_clock(), session.account)


def recorded(known: Fleet) -> tuple[tuple[Frozen, ...], tuple[RotationError, ...]]:
    """What is frozen by every account that can be asked, and why each of the others can't.

    :returns: the records, and errors that name account and clusters.
    """
    found: list[Frozen] = []
    failed: list[RotationError] = []
    for account in known.accounts:
        try:
            with happening_at(str(account)):
                found += read(session.account(account.aws).parameters(PATH))
        except RotationError as error:
            failed.append(error)
    return union(found), tuple(failed)


def _image(known: Fleet, store: Freezes, image_id: str) -> Image:
    """The image behind an id; one that is gone by now is known from its record."""
    recorded = next((record.image for record in store() if record.image.id == image_id), None)
    if recorded is not None:
        return recorded
    for account in known.accounts:
        with happening_at(str(account)):
            image = session.account(account.aws).image(image_id)
        if image is not None:
            return image
    raise _unknown(image_id)


def _reason(given: str) -> str:
    if not given.strip():
        raise BadInputError("--reason", "is empty.", "Say why: everybody who meets it reads it.")
    return given.strip()


def _id(image_id: str) -> None:
    shape = shapes.IMAGE_ID
    if not re.match(shape.pattern, image_id):
        problem = f"{image_id!r} is not {shape.what}: {shape.allowed}."
        raise BadInputError("IMAGE", problem, f"E.g. {shape.example}.")


def _unknown(image_id: str) -> BadInputError:
    return BadInputError("IMAGE", f"no account of the fleet knows an image {image_id!r}.", "Give the id of an AMI.")


def _show(output: Output, records: tuple[Frozen, ...]) -> None:
    if output is Output.JSON:
        render.write_json({"schema_version": 1, "frozen": [record.model_dump(mode="json") for record in records]})
        return
    for record in records:
        render.console().print(str(record), markup=False, soft_wrap=True)
