"""What went wrong, for programs: the one JSON document of a command that has no answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from node_rotation.cli.arguments import WITH_VALUE
from node_rotation.errors import BadInputError, BlockedError, RotationError, TransientError

TRY_AGAIN = "This may pass: try again in a moment."


def said(message: str, objects: Sequence[str] = (), remedy: str = "") -> dict[str, Any]:
    """How every document has an error.

    :param message: what happened, one sentence.
    :param objects: what it happened to; may be empty.
    :param remedy: what to do; may be empty.
    """
    return {"message": message, "objects": list(objects), "remedy": remedy}


def of(error: RotationError) -> dict[str, Any]:
    """An error of ours."""
    if isinstance(error, BlockedError):
        return said(error.blocked.reason, error.blocked.objects, error.blocked.remedy)
    if isinstance(error, BadInputError):
        return said(f"{error.where}: {error.problem}", (error.where,), error.remedy)
    return said(str(error), remedy=TRY_AGAIN if isinstance(error, TransientError) else "")


def as_json(given: Sequence[str]) -> bool:
    """Whether JSON was asked for, also by a command line that is wrong elsewhere.

    :param given: what follows the program's name; the options of every command in front.
    """
    value_of, last = "", ""
    for word in given:
        if value_of:
            value_of, last = "", word if value_of in ("--output", "-o") else last
        elif word in WITH_VALUE:
            value_of = word
        elif word.startswith("--output="):
            last = word.removeprefix("--output=")
        elif word.startswith("-o"):
            last = word.removeprefix("-o")
        elif not word.startswith("-"):
            break
    return last == "json"
