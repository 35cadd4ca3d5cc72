"""One step, two ways: ours, and for groups that EKS rolls EKS'."""

from __future__ import annotations

from dataclasses import dataclass

from node_rotation.model import Batch, StepName, Strategy
from node_rotation.outcome import Outcome
from node_rotation.run import Run
from node_rotation.steps.step import Step


@dataclass(frozen=True, slots=True)
class ByStrategy:
    """Hands a batch to the step that its group's strategy asks for."""

    name: StepName
    ours: Step
    eks: Step

    def act(self, run: Run, batch: Batch) -> None:
        """The chosen step's ``act``."""
        self._chosen(run, batch).act(run, batch)

    def look(self, run: Run, batch: Batch) -> Outcome:
        """The chosen step's ``look``."""
        return self._chosen(run, batch).look(run, batch)

    def timeout_s(self, run: Run, batch: Batch) -> float:
        """The chosen step's own."""
        return self._chosen(run, batch).timeout_s(run, batch)

    def _chosen(self, run: Run, batch: Batch) -> Step:
        return self.eks if run.group(batch).strategy is Strategy.MANAGED else self.ours
