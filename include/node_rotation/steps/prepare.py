"""Make a node group ready to be rotated: the lock, the baseline, then the changes it allows to undo."""

from __future__ import annotations

from node_rotation.outcome import Outcome
from node_rotation.run import Run


def prepare(run: Run, group_name: str) -> Outcome:
    """Take the lock, record the baseline, suspend, run the image step, taint old nodes. Idempotent.

    :param group_name: a node group of the plan.
    :returns: Done, or Blocked (another run, a running instance refresh, a template that can't be changed).
    """
    raise NotImplementedError
