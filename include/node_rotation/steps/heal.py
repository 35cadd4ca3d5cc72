"""Take a failed batch back to where it was, or, once its machine is drained, forward to the end."""

from __future__ import annotations

from node_rotation.model import Batch
from node_rotation.run import Run


def heal(run: Run, batch: Batch) -> tuple[str, ...]:
    """Do what can be done now for a batch that failed; nothing for one that passed or never began.

    Call it again until ``STEPS[StepName.HEAL].look`` says Done: pods leave at their own pace.

    :returns: one line per thing done.
    """
    raise NotImplementedError
