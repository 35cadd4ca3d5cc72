"""What pydantic's errors mean to somebody who wrote a YAML file: what was given, and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from node_rotation.configuration.durations import written
from node_rotation.configuration.words import said

if TYPE_CHECKING:
    from node_rotation.configuration.shapes import Shape

_NEEDED = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "finite": "a number",
    "string": "a text",
    "tuple": "a list",
    "list": "a list",
    "dict": "settings, as key: value",
    "mapping": "settings, as key: value",
    "model": "settings, as key: value",
    "date": "a date",
    "datetime": "a date",
}
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_BOUNDS = {
    "greater_than_equal": ("too little", "at least", "ge"),
    "greater_than": ("too little", "more than", "gt"),
    "less_than_equal": ("too much", "at most", "le"),
    "less_than": ("too much", "less than", "lt"),
}


def told(problems: Sequence[Mapping[str, Any]], shape: Shape | None = None) -> str:
    """What is wrong at one place, without a full stop.

    :param problems: pydantic's errors there; several where a setting may be of several types.
    :param shape: what a text has to look like there.
    """
    first = problems[0]
    kind, given = first["type"], first.get("input")
    if shape is not None and kind in ("string_type", "string_pattern_mismatch"):
        return f"{said(given)} is not {shape.what}: {shape.allowed}"
    if kind in _SPECIAL:
        return _SPECIAL[kind](first)
    needed = " or ".join(dict.fromkeys(_needed(problem) for problem in problems))
    if not needed:
        return str(first["msg"])
    if given is None:
        return f"is empty, and has to be {needed}"
    return f"{said(given)} is not {needed}{_advice(first)}"


def choices(problem: Mapping[str, Any]) -> list[str]:
    """What a setting may be, where it is one of a few; else nothing."""
    expected = str(problem.get("ctx", {}).get("expected", ""))
    return re.findall(r"'([^']*)'", expected) or ([expected] if expected else [])


def _needed(problem: Mapping[str, Any]) -> str:
    kind = problem["type"]
    if kind in ("enum", "literal_error"):
        names = choices(problem)
        return names[0] if len(names) == 1 else f"one of {', '.join(names)}"
    return _NEEDED.get(kind.partition("_")[0], "")


def _advice(problem: Mapping[str, Any]) -> str:
    kind, given = problem["type"], problem.get("input")
    if kind == "string_type" and not isinstance(given, Mapping | list | tuple):
        return ": put it in quotes"
    if not kind.startswith("date"):
        return ""
    return ": there is no such day" if _DAY.fullmatch(str(given)) else ": write year-month-day"


def _bound(problem: Mapping[str, Any]) -> str:
    """Durations are floats by now, and no number of the file is one where only more than nothing is allowed."""
    what, side, key = _BOUNDS[problem["type"]]
    bound, given = problem["ctx"][key], problem["input"]
    if isinstance(given, float) and isinstance(bound, float):
        return f"{written(given)} is {what}: {side} {written(bound)}"
    return f"{said(given)} is {what}: {side} {bound:g}"


def _short(problem: Mapping[str, Any]) -> str:
    return f"the list is empty: at least {problem['ctx']['min_length']} is needed"


def _own(problem: Mapping[str, Any]) -> str:
    return str(problem["msg"]).removeprefix("Value error, ").rstrip(".")


_SPECIAL: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "too_short": _short,
    "value_error": _own,
    **dict.fromkeys(_BOUNDS, _bound),
}
