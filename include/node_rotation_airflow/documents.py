"""What tasks hand to each other in XCom: versioned JSON, read back by tasks and triggers alike."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import ValidationError

from node_rotation.errors import BadInputError
from node_rotation.fleet import Settings
from node_rotation.ledger import Heard
from node_rotation.model import Plan, Value
from node_rotation.outcome import Blocked


class Document(Value):
    """A value that travels by XCom."""

    def dump(self) -> dict[str, Any]:
        """As XCom holds it."""
        return self.model_dump(mode="json")

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Self:
        """Read it back.

        :raises BadInputError: if it is of another version.
        """
        try:
            return cls.model_validate(dict(data))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise BadInputError(
                f"XCom {cls.__name__.lower()}: {where}",
                f"{first['msg']}: it was made by another version of node-rotation.",
                "Start a new run.",
            ) from error


def pushed(value: Any) -> Mapping[str, Any]:
    """What a task pushed: a trigger's comes back as the text of its JSON, a worker's as the value itself."""
    found: Mapping[str, Any] = json.loads(value) if isinstance(value, str) else value
    return found


class Request(Document):
    """What a run is to do, validated, everything pinned that the fleet file says.

    :param groups: names of the node groups it is about.
    :param as_of: for a past night: the images there were then.
    """

    schema_version: Literal[1] = 1
    settings: Settings
    groups: tuple[str, ...]
    as_of: datetime | None = None


class Span(Document):
    """One step of one batch, or the work on one node group: from its first attempt to its end, epoch seconds.

    :param others: what others did to the cluster's groups up to then; gates only.
    :param put_back: what was put back as it was, one line each; heal only.
    """

    subject: str
    deed: str
    began: float
    ended: float
    others: tuple[Heard, ...] = ()
    put_back: tuple[str, ...] = ()

    def dump(self) -> dict[str, Any]:
        """As XCom holds it, and no more than needed: there is one per task."""
        return self.model_dump(mode="json", exclude_defaults=True)


class Approval(Document):
    """Who approved a plan, and when."""

    by: str
    at: datetime


class Unsent(Document):
    """What could not be told to somebody, and why: a line each."""

    schema_version: Literal[1] = 1
    lines: tuple[str, ...]


class Postponed(Document):
    """A batch that the maintenance window had no room for."""

    batch: str
    reason: str


class Cause(Document):
    """Why a step failed, for the heal that follows and for the report; the fields are those of ``Blocked``."""

    reason: str
    objects: tuple[str, ...] = ()
    remedy: str = ""
    image_fault: bool = False

    @classmethod
    def of(cls, blocked: Blocked) -> Cause:
        """What blocked it."""
        return cls(**asdict(blocked))

    def blocked(self) -> Blocked:
        """The same, in the words of the command line."""
        return Blocked(self.reason, self.objects, self.remedy, self.image_fault)


class Rotation(Document):
    """A plan with the settings it was made under: all a step needs."""

    schema_version: Literal[1] = 1
    settings: Settings
    plan: Plan
