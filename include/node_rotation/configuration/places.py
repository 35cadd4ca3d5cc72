"""Where in a model a path of a document leads: fields by the names that the document has for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


class Place(NamedTuple):
    """What belongs at a path.

    :param annotation: its type.
    :param field: the setting it is, or is a part of; None at the top.
    :param keyed: whether it stands below a key of that setting's own choosing.
    """

    annotation: Any
    field: FieldInfo | None = None
    keyed: bool = False


def place(model: type[BaseModel], loc: Sequence[int | str]) -> Place | None:
    """What belongs at a path; None if it leads nowhere.

    :param loc: pydantic's location.
    """
    here: Place | None = Place(model)
    for part in loc:
        here = _step(here, part) if here is not None else None
    return here


def names(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """A model's settings, by the names that a document has for them."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def settings_at(model: type[BaseModel], loc: Sequence[int | str]) -> tuple[str, ...]:
    """The settings there are at a path."""
    found = place(model, loc)
    models = [option for option in options(found.annotation) if is_model(option)] if found else []
    return tuple(name for option in models for name in names(option))


def options(annotation: Any) -> Iterator[Any]:
    """What a type may be: the members of a union, without what is only annotated."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from options(arguments[0])
    elif origin in (Union, UnionType):
        for one in arguments:
            yield from options(one)
    else:
        yield annotation


def is_model(option: Any) -> bool:
    """Whether it is settings of its own."""
    return isinstance(option, type) and issubclass(option, BaseModel)


def item(option: Any) -> Any:
    """What a list, or the values of a mapping, consist of; None if it is neither."""
    origin, arguments = get_origin(option), get_args(option)
    if origin in (tuple, list) and arguments:
        return arguments[0]
    if isinstance(origin, type) and issubclass(origin, Mapping) and len(arguments) > 1:
        return arguments[1]
    return None


def _step(here: Place, part: int | str) -> Place | None:
    for option in options(here.annotation):
        if is_model(option) and part in names(option):
            field = names(option)[str(part)]
            return Place(field.annotation, field)
        if (inner := item(option)) is not None and isinstance(part, int) == (get_origin(option) in (tuple, list)):
            return Place(inner, here.field, keyed=isinstance(part, str))
    return None
