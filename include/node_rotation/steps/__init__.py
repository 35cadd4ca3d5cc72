"""The steps of a rotation, each an ``act`` that may be repeated and a ``look`` that only reads."""

from __future__ import annotations

from collections.abc import Mapping

from node_rotation.model import StepName
from node_rotation.steps.step import Step

ORDER = (
    StepName.ADMIT,
    StepName.LAUNCH,
    StepName.CORDON,
    StepName.DRAIN,
    StepName.TERMINATE,
    StepName.GATE,
)
"""A batch's way; heal is beside it."""

STEPS: Mapping[StepName, Step] = {}
"""Every step by its name, heal included."""

__all__ = ["ORDER", "STEPS", "Step"]
