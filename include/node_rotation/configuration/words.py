"""Values as YAML has them, for messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any


def said(value: Any) -> str:
    """What was given.

    :param value: read from a document.
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return "what stands there (key: value)"
    return "a list" if isinstance(value, list | tuple) else str(value)


def given(layer: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Each setting of a layer as ``--set`` takes it.

    :param above: where the layer stands, with a dot at its end.
    """
    for key, value in layer.items():
        if isinstance(value, Mapping) and value:
            yield from given(value, f"{above}{key}.")
        else:
            yield f"{above}{key}={value if isinstance(value, str) else json.dumps(value, default=str)}"
