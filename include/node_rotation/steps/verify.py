"""The last word: what is still different from the plan, and what the run left behind."""

from __future__ import annotations

from dataclasses import dataclass

from node_rotation.run import Run


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verify found; every entry names its object.

    :param drift: machines of the plan's groups that are not on the target.
    :param orphans: machines out of every group, still running.
    :param residue: lock, taints, tags, suspended processes, sizes that are not as before.
    :param problems: batches that did not pass.
    """

    drift: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    residue: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True if there is nothing left to say."""
        return not (self.drift or self.orphans or self.residue or self.problems)


def verify(run: Run) -> Verdict:
    """Look at the world once more, without any memory of the run. Reads only."""
    raise NotImplementedError
