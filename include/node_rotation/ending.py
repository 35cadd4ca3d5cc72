"""How a rotation outside Airflow ends, whatever happened: its groups are restored, then looked at once more."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from math import inf
from typing import TypeVar

from node_rotation.errors import RotationError, TransientError
from node_rotation.outcome import Blocked, Waiting
from node_rotation.run import Run
from node_rotation.steps.restore import restore, restored, timeout_s
from node_rotation.steps.verify import Verdict, verify

DEAF_S = 1800.0
"""How long AWS or the API server may give no answer, or refuse, before the run gives up."""
RETRY_S = 5.0
"""So often is tried again what was refused: credentials are renewed, certificates replaced."""
GOES_ON = "interrupted while everything is given back, which goes on: press Ctrl-C again to leave it as it is"
Given = TypeVar("Given")


def insisting(give_back: Callable[[], Given], note: Callable[[str], None]) -> Given:
    """Give back in spite of one interrupt: all of it is idempotent, so it is begun again. The next one ends it.

    :param note: told that it goes on.
    """
    try:
        return give_back()
    except KeyboardInterrupt:
        note(GOES_ON)
        return give_back()


@dataclass(slots=True)
class Ending:
    """The end of one run.

    :param note: told what is done, and once what goes wrong.
    """

    run: Run
    note: Callable[[str], None]
    _said: set[str] = field(default_factory=set, init=False)

    def restore(self) -> None:
        """Restore every group of the plan, all at once: one that pods don't leave takes no time from the others."""
        now = self.run.clock.now()
        left = [_Group(group.name, now) for group in self.run.plan.groups]
        while left := [group for group in left if not self._restored(group)]:
            self.run.clock.wait(self.run.settings.policy.poll)

    def verify(self, begun: Collection[str]) -> Verdict:
        """Look at what is left; where that can't be done, this is what the verdict says.

        :param begun: as :func:`verify` takes it.
        """
        since = self.run.clock.now()
        while True:
            try:
                return verify(self.run, begun)
            except RotationError as error:
                if self.run.clock.now() - since > DEAF_S:
                    return Verdict(problems=(f"what is left in {self.run.settings.name} can't be seen: {error}",))
                self._say(error)
                self.run.clock.wait(error.retry_after_s if isinstance(error, TransientError) else RETRY_S)

    def _restored(self, group: _Group) -> bool:
        """One pass; True once there is nothing more to do, or to wait for."""
        now = self.run.clock.now()
        giving_up = group.deaf_s > DEAF_S or now - group.since - group.deaf_s > self._patience_s(group.name)
        try:
            for line in restore(self.run, group.name, giving_up=giving_up):
                self.note(line)
            outcome = restored(self.run, group.name)
        except RotationError as error:  # if the lock is another's by now, the next pass finds nothing of ours
            self._say(error)
            group.deaf_s, group.seen = group.deaf_s + now - group.seen, now
            return giving_up
        group.seen = now
        if isinstance(outcome, Blocked):
            self.note(str(outcome))
        return giving_up or not isinstance(outcome, Waiting)

    def _patience_s(self, group: str) -> float:
        try:
            return timeout_s(self.run, group)
        except RotationError:  # restore can do some of it without a look, and says what was wrong
            return inf

    def _say(self, error: RotationError) -> None:
        if str(error) not in self._said:
            self._said.add(str(error))
            self.note(str(error))


@dataclass(slots=True, eq=False)
class _Group:
    """A group that is being restored: since when, and for how long of that it could not be."""

    name: str
    since: float
    seen: float = field(init=False)
    deaf_s: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.seen = self.since
