"""Images that nobody may roll out any more: what is recorded of them, and whether an image is one of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

from pydantic import Field, ValidationError

from node_rotation.clearance.lineage import same
from node_rotation.errors import BlockedError
from node_rotation.model import Image, Value
from node_rotation.outcome import REASON_LENGTH, Blocked
from node_rotation.world.aws import Parameter

PATH = "/node-rotation/frozen"


class Frozen(Value):
    """What is recorded of a frozen image.

    :param by: the run that failed on it, or who said so.
    :param lifted: why it may be rolled out again; "" while it is frozen.
    """

    schema_version: Literal[1] = 1
    image: Image
    reason: str = Field(max_length=REASON_LENGTH)
    by: str
    at: datetime
    lifted: str = Field(default="", max_length=REASON_LENGTH)

    def __str__(self) -> str:
        """One line for a person."""
        return f"image {self.image.id} ({self.image.name}) is frozen since {self.at:%Y-%m-%d %H:%M} UTC: {self.reason}"


def key(image: Image) -> str:
    """The name of the parameter that records an image: the same in every region, whatever its id there."""
    return f"{PATH}/{hashlib.sha256(f'{image.owner}/{image.name}'.encode()).hexdigest()[:32]}"


def read(parameters: Iterable[Parameter]) -> tuple[Frozen, ...]:
    """The images that are frozen by these records; lifted ones are left out.

    :raises BlockedError: if one can't be read: it may freeze anything.
    """
    return tuple(record for record in map(_parse, parameters) if not record.lifted)


def of(image: Image, frozen: Sequence[Frozen]) -> Frozen | None:
    """The record that freezes an image: its own, or that of an image of the same lineage."""
    return next((record for record in frozen if same(record.image, image)), None)


def lift(image_id: str) -> str:
    """What a person types to have an image rolled out again."""
    return f"node-rotation unfreeze {image_id} --reason WHY"


def _parse(parameter: Parameter) -> Frozen:
    try:
        return Frozen.model_validate_json(parameter.value)
    except ValidationError as error:
        raise BlockedError(
            Blocked(
                "a record of a frozen image can't be read",
                (f"parameter {parameter.name}",),
                "Use the version of node-rotation that wrote it, or delete the parameter.",
            )
        ) from error
