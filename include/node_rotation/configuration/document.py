"""Read YAML that somebody wrote by hand: a key that stands twice is a mistake, not the last one's victory."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

_FLOAT = "tag:yaml.org,2002:float"
_INT = "tag:yaml.org,2002:int"
_MERGE = "tag:yaml.org,2002:merge"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class _Loader(yaml.SafeLoader):
    """YAML wants keys to be unique (https://yaml.org/spec/1.2.2/#3213-node-comparison); PyYAML keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != _MERGE and isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class Number(float):
    """A number as somebody wrote it: where a duration belongs, it has no unit."""


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Number:
    return Number(loader.construct_yaml_float(node))


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | str:
    """22:00 is text, as in YAML 1.2; YAML 1.1 makes 1320 of it, in base 60 (https://yaml.org/type/int.html)."""
    written = str(node.value)
    return written if ":" in written else int(loader.construct_yaml_int(node))


def _text(_loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    """A date as it stands there: PyYAML fails at one that does not exist, and validation names its place."""
    return str(node.value)


_Loader.add_constructor(_FLOAT, _number)
_Loader.add_constructor(_INT, _integer)
_Loader.add_constructor(_TIMESTAMP, _text)


def read(text: str) -> Any:
    """The document.

    :param text: YAML.
    :raises yaml.YAMLError: if it is none, or a key is there twice.
    """
    return yaml.load(text, Loader=_Loader)
