"""An example of a setting, as the document would have it."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from node_rotation.configuration import durations
from node_rotation.configuration.places import Place, is_model, item, names, options
from node_rotation.configuration.shapes import BY_PATTERN, Shape


class _Dumper(yaml.SafeDumper):
    """Says the same thing twice where it stands twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_PLAIN: Mapping[Any, Any] = types.MappingProxyType(
    {bool: True, int: 1, float: 0.5, str: "text", date: date(2026, 12, 21), Any: {}}
)


def written(key: str, value: Any, between: str = ": ") -> str:
    """A setting as the document has it, on one line.

    :param between: what stands between key and value.
    """
    said = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, width=10**6).strip()
    return f"{key}{between}{said.removesuffix('...').strip()}"


def example(place: Place) -> Any:
    """A value that would do at a place."""
    return next(_ways(place), None)


def closest(place: Place, given: Mapping[str, Any]) -> Any:
    """Of several examples that the model at a place brings itself, the one most like what was given; else None."""
    for option in options(place.annotation):
        model = option if is_model(option) else item(option)
        if is_model(model) and len(shown := _own(model)) > 1:
            return max(shown, key=lambda one: sum(_alike(model, key, value, given) for key, value in one.items()))
    return None


def _alike(model: type[BaseModel], key: str, value: Any, given: Mapping[str, Any]) -> int:
    """A word out of a few says more than that a setting is there, and another word that something else is meant."""
    annotation = names(model)[key].annotation
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return 2 if given.get(key) == value else 0
    return 1 if given.get(key) else 0


def _ways(place: Place) -> Iterator[Any]:
    """What it says itself, what it is anyway, what its type says, anything of its type."""
    if place.field is not None and place.keyed:
        yield from (value for one in place.field.examples or () for value in one.values())
    elif place.field is not None:
        yield from place.field.examples or ()
        yield from _default(place.field)
        yield from _in_schema(place.field.metadata)
    if (found := shape(place)) is not None:
        yield found.example
    yield from _told(place.annotation)
    yield _of_type(place.annotation)


def _told(annotation: Any) -> Iterator[Any]:
    """Examples that stand beside a type."""
    if get_origin(annotation) is Annotated:
        yield from _in_schema(get_args(annotation)[1:])
    elif get_origin(annotation) in (Union, types.UnionType):
        for one in get_args(annotation):
            yield from _told(one)


def _in_schema(metadata: Any) -> Iterator[Any]:
    for one in metadata:
        if isinstance(one, WithJsonSchema) and one.json_schema is not None:
            yield from one.json_schema.get("examples", ())
        elif isinstance(one, FieldInfo):
            yield from one.examples or ()


def shape(place: Place | None) -> Shape | None:
    """What a text has to look like at a place; None: as it likes, or no text at all."""
    if place is None:
        return None
    own = get_args(place.annotation)[1:] if get_origin(place.annotation) is Annotated else ()
    metadata = (*(place.field.metadata if place.field is not None else ()), *own)
    patterns = (getattr(one, "pattern", None) for one in metadata)
    return next((BY_PATTERN[pattern] for pattern in patterns if pattern in BY_PATTERN), None)


def _default(field: FieldInfo) -> Iterator[Any]:
    """What it is anyway, unless that is nothing."""
    value = field.default
    nothing = value in (None, (), {}, "") or (value == 0 and value is not False)
    if value is PydanticUndefined or isinstance(value, BaseModel) or nothing:
        return
    yield durations.written(value) if isinstance(value, float) else _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _of_type(annotation: Any) -> Any:
    option = next(options(annotation))
    if is_model(option):
        return _of_model(option)
    if get_origin(option) is Literal:
        return get_args(option)[0]
    if isinstance(option, type) and issubclass(option, Enum):
        return _plain(next(iter(option)))
    if (inner := item(option)) is not None:
        one = example(Place(inner))
        return [one] if get_origin(option) in (tuple, list) else {"name": one}
    return _PLAIN.get(option, "...")


def _of_model(model: type[BaseModel]) -> dict[str, Any]:
    """The example it brings itself, else what it can't do without, else the first of its settings."""
    if shown := _own(model):
        return dict(shown[0])
    fields = names(model)
    wanted = {name: field for name, field in fields.items() if field.is_required()} or dict(
        [next(iter(fields.items()))]
    )
    return {name: example(Place(field.annotation, field)) for name, field in wanted.items()}


def _own(model: type[BaseModel]) -> list[Mapping[str, Any]]:
    """The examples that a model brings itself."""
    extra = model.model_config.get("json_schema_extra")
    shown = extra.get("examples") if isinstance(extra, dict) else None
    return [one for one in shown if isinstance(one, dict)] if isinstance(shown, list) else []
