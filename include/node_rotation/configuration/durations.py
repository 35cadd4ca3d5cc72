"""Durations as a fleet file writes them, in seconds everywhere else."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from node_rotation.configuration.document import Number
from node_rotation.configuration.words import said

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
_UNIT_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(value: Any) -> float:
    """Read a duration such as ``90s``, ``15m``, ``1h30m``.

    :param value: text from YAML, or seconds already (a float that this function returned before).
    :raises ValueError: if there is no unit, or anything else is in the text.
    """
    if isinstance(value, float) and not isinstance(value, Number):
        return value
    parts = _DURATION.findall(value) if isinstance(value, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise ValueError(f"{said(value)} is not a duration: write a number with its unit, such as 90s, 15m or 2h")
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)


def written(duration_s: float) -> str:
    """As a fleet file writes it: ``90s``, ``15m``, ``1h30m``.

    :param duration_s: seconds.
    """
    left, said = duration_s, ""
    for unit in ("d", "h", "m"):
        whole, left = divmod(left, _UNIT_S[unit])
        said += f"{whole:.0f}{unit}" if whole else ""
    return said + (f"{left:g}s" if left or not said else "")


Duration = Annotated[
    float,
    BeforeValidator(seconds),
    Field(ge=0),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+(\.\d+)?[smhd])+$", "examples": ["90s", "15m"]}),
]
