"""The steps of a rotation, each an ``act`` that may be repeated and a ``look`` that only reads."""

from __future__ import annotations

from collections.abc import Mapping

from node_rotation.model import StepName
from node_rotation.steps.admit import Admit
from node_rotation.steps.cordon import Cordon
from node_rotation.steps.drain import Drain
from node_rotation.steps.gate import Gate
from node_rotation.steps.heal import Heal
from node_rotation.steps.launch import Launch
from node_rotation.steps.managed import LeftToEks, StartUpdate, WatchDrain, WatchUpdate
from node_rotation.steps.routing import ByStrategy
from node_rotation.steps.step import Step
from node_rotation.steps.terminate import Terminate

ORDER = (
    StepName.ADMIT,
    StepName.LAUNCH,
    StepName.CORDON,
    StepName.DRAIN,
    StepName.TERMINATE,
    StepName.GATE,
)
"""A batch's way; heal is beside it."""

STEPS: Mapping[StepName, Step] = {
    step.name: step
    for step in (
        Admit(),
        ByStrategy(StepName.LAUNCH, Launch(), StartUpdate()),
        ByStrategy(StepName.CORDON, Cordon(), LeftToEks()),
        ByStrategy(StepName.DRAIN, Drain(), WatchDrain()),
        ByStrategy(StepName.TERMINATE, Terminate(), WatchUpdate()),
        Gate(),
        Heal(),
    )
}
"""Every step by its name, heal included."""

__all__ = ["ORDER", "STEPS", "Step"]
