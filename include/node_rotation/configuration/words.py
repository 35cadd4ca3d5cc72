"""Values as YAML has them, for messages."""

from __future__ import annotations

from collections.abc import Mapping
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
