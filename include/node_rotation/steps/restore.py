"""Undo what prepare did to a node group; gives the lock back after the last one."""

from __future__ import annotations

from node_rotation.outcome import Outcome
from node_rotation.run import Run


def restore(run: Run, group_name: str) -> tuple[str, ...]:
    """Put a group back as it was, new machines kept. Idempotent; does nothing if nothing was prepared.

    :returns: one line per thing done.
    """
    raise NotImplementedError


def restored(run: Run, group_name: str) -> Outcome:
    """Whether a group is restored: Waiting while pods still leave a surplus machine (call restore again)."""
    raise NotImplementedError
