"""Say what is wrong with somebody's configuration: the path in it, the problem, what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from node_rotation.configuration import examples, expectation
from node_rotation.configuration.places import Place, item, options, place, settings_at

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

SCHEMA = "docs/fleet.schema.json"
Problem = Mapping[str, Any]
"""One of pydantic's errors."""


class ContradictionError(ValueError):
    """Settings that don't go together, each of which would do by itself: no example of one is of help.

    :param remedy: what to write instead, a sentence.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.remedy = remedy


def explain(
    error: ValidationError, data: Any, model: type[BaseModel], *, schema: str = SCHEMA, assigned: bool = False
) -> tuple[str, str, str]:
    """The first problem of a validation.

    :param error: what pydantic found.
    :param data: what was validated, to call list items by their name.
    :param model: what it should have been, to suggest a setting that exists.
    :param schema: the file that describes it.
    :param assigned: examples are written as a run's parameters, ``drain.timeout=15m``.
    :returns: path, e.g. ``environments[dev].clusters[eu-1].policy.budget``; problem; remedy.
    """
    places = _places(error.errors(include_url=False), data)
    first = places[0]
    loc = _plain(first[0]["loc"], data)
    more = f" ({len(places) - 1} more after it)" if len(places) > 1 else ""
    where = path(loc, data)
    if first[0]["type"] == "extra_forbidden":
        remedy = _suggest(loc, model, schema, assigned=assigned)
        return where, f"there is no such setting{more}.", remedy
    if isinstance(why := first[0].get("ctx", {}).get("error"), ContradictionError):
        return where, f"{why}{more}.", why.remedy
    shown = _example(model, loc, first[0], assigned=assigned)
    if first[0]["type"] == "missing":
        return where, f"is missing{more}.", f"Add it{f', e.g. {shown}' if shown else ''}; {schema} describes it."
    remedy = f"{_closest(first[0])}E.g. {shown}" if shown else "Correct it"
    return (
        where,
        f"{expectation.told(first, examples.shape(place(model, loc)))}{more}.",
        f"{remedy}; {schema} describes it.",
    )


def _places(problems: Sequence[Problem], data: Any) -> list[list[Problem]]:
    """What is wrong, place by place, without what only follows from another: a list whose items are wrong counts as
    too short as well, and what may be of several types is wrong once for each.

    A name that is not there comes before one that is missing: it is most often the same one, misspelt.
    """
    found: dict[tuple[int | str, ...], list[Problem]] = {}
    for problem in problems:
        found.setdefault(_plain(problem["loc"], data), []).append(problem)

    def follows(loc: tuple[int | str, ...]) -> bool:
        weak = all(p["type"] == "too_short" or p["loc"] != loc for p in found[loc])
        return weak and any(len(other) > len(loc) and other[: len(loc)] == loc for other in found)

    own = [there for loc, there in found.items() if not follows(loc)]
    return sorted(own, key=lambda there: there[0]["type"] != "extra_forbidden")


def _plain(loc: Sequence[int | str], data: Any) -> tuple[int | str, ...]:
    """A location without pydantic's names of alternatives."""
    kept: list[int | str] = []
    for part in loc:
        if isinstance(part, str) and "[" in part and _step(data, part) is None:
            continue
        data = _step(data, part)
        kept.append(part)
    return tuple(kept)


def path(loc: Sequence[int | str], data: Any) -> str:
    """Where in the document, list items called by their name where they have one.

    :param loc: pydantic's location.
    :param data: the document.
    """
    said = ""
    for part in _plain(loc, data):
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


def _suggest(loc: Sequence[int | str], model: type[BaseModel], schema: str, *, assigned: bool) -> str:
    """What was meant: the same name one level deeper, else one like it here.

    :param assigned: names are given as a run's parameters: ``drain.timeout``.
    """
    wrong, above = str(loc[-1]), loc[:-1]
    known = settings_at(model, above)
    front = "".join(f"{part}." for part in above) if assigned else ""
    deeper = [f"{front}{name}.{wrong}" for name in known if wrong in settings_at(model, (*above, name))]
    close = [front + name for name in difflib.get_close_matches(wrong, known, n=1)]
    if meant := deeper or close:
        return f"Did you mean {' or '.join(map(repr, meant))}?"
    return f"Known here: {', '.join(known)}." if known else f"Remove it; {schema} lists what there is."


def _closest(problem: Problem) -> str:
    """What was meant: whose beginning was given, else one like it."""
    given, known = str(problem.get("input")), expectation.choices(problem)
    begun = [name for name in known if given and name.lower().startswith(given.lower())]
    close = begun or difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}? " if close else ""


def _example(model: type[BaseModel], loc: Sequence[int | str], problem: Problem, *, assigned: bool) -> str:
    """The setting as it might be written; "" where the problem is with several at once."""
    whole = list(loc)
    while whole and isinstance(whole[-1], int):  # of a list, all of it is shown
        whole.pop()
    found = place(model, whole)
    if found is None or not whole:
        return ""
    value = _as_it_was_meant(found, problem, within=len(whole) < len(loc))
    key = ".".join(map(str, whole)) if assigned else str(whole[-1])
    return examples.written(key, value, "=" if assigned else ": ")


def _as_it_was_meant(found: Place, problem: Problem, *, within: bool) -> Any:
    """What was given, where only its type is wrong; else the example most like it, or any."""
    given, kind = problem.get("input"), problem["type"]
    free = found.field is None or not found.field.metadata  # any text would do
    if kind == "string_type" and free and isinstance(given, int | float) and not isinstance(given, bool):
        return [str(given)] if within else str(given)
    if kind == "tuple_type" and isinstance(given, str) and any(item(o) is str for o in options(found.annotation)):
        return [given]
    if kind == "value_error" and isinstance(given, Mapping) and (alike := examples.closest(found, given)):
        return [alike] if within else alike
    return examples.example(found)
