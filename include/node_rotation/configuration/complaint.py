"""Say what is wrong with somebody's configuration: the path in it, the problem, what to write instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

SCHEMA = "docs/fleet.schema.json"
_NAMES = {r"a valid tuple": "a list", r"a valid dictionary( or instance of \w+)?": "settings, as key: value"}


def explain(error: ValidationError, data: Any, model: type[BaseModel]) -> tuple[str, str, str]:
    """The first problem of a validation.

    :param error: what pydantic found.
    :param data: what was validated, to call list items by their name.
    :param model: what it should have been, to suggest a setting that exists.
    :returns: path, e.g. ``environments[dev].clusters[eu-1].policy.budget``; problem; remedy.
    """
    problems = _causes(error.errors(include_url=False))
    first = problems[0]
    loc = first["loc"]
    more = f" ({len(problems) - 1} more after it)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _settings_at(model, loc[:-1])
        return path(loc, data), f"there is no such setting{more}.", _suggest(str(loc[-1]), known)
    if first["type"] == "missing":
        return path(loc, data), f"is missing{more}.", f"Add it; {SCHEMA} describes it."
    message = _plain(first["msg"].removeprefix("Value error, ").rstrip("."))
    given = first.get("input")
    said = f", not {given!r}" if isinstance(given, str | int | float | bool) and repr(given) not in message else ""
    return path(loc, data), f"{message}{said}{more}.", f"Correct it; {SCHEMA} describes it."


def _causes(problems: Sequence[Any]) -> list[Any]:
    """Without what only follows from another: a list whose items are wrong counts as too short as well.

    A name that is not there comes before one that is missing: it is most often the same one, misspelt.
    """
    places = [problem["loc"] for problem in problems]

    def follows(problem: Any) -> bool:
        loc = problem["loc"]
        return problem["type"] == "too_short" and any(len(p) > len(loc) and p[: len(loc)] == loc for p in places)

    own = [problem for problem in problems if not follows(problem)]
    return sorted(own, key=lambda problem: problem["type"] != "extra_forbidden")


def _plain(message: str) -> str:
    """Python's names of types as YAML calls them."""
    for theirs, ours in _NAMES.items():
        message = re.sub(theirs, ours, message)
    return message


def path(loc: Sequence[int | str], data: Any) -> str:
    """Where in the document, list items called by their name where they have one.

    :param loc: pydantic's location.
    :param data: the document.
    """
    said = ""
    for part in loc:
        if isinstance(part, str) and "[" in part and _step(data, part) is None:  # pydantic's name of an alternative
            continue
        data = _step(data, part)
        name = data.get("name") if isinstance(data, Mapping) else None
        if isinstance(part, int):
            said += f"[{name if isinstance(name, str) else part}]"
        else:
            said += f".{part}" if said else part
    return said or "(top)"


def _step(data: Any, part: int | str) -> Any:
    try:
        return data[part]
    except (KeyError, IndexError, TypeError):
        return None


def _suggest(wrong: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(wrong, known, n=1)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known here: {', '.join(known)}." if known else f"Remove it; {SCHEMA} lists what there is."


def _settings_at(model: type[BaseModel], loc: Sequence[int | str]) -> tuple[str, ...]:
    current: type[BaseModel] | None = model
    for part in loc:
        if isinstance(part, str) and current is not None:
            current = _model_of(current, part)
    return tuple(current.model_fields) if current is not None else ()


def _model_of(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    found = model.model_fields.get(name)
    return next(_models(found.annotation), None) if found is not None else None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
