"""Messages to the receivers of the policy that have an address for the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from node_rotation import engine, notify
from node_rotation.cli.render import complain
from node_rotation.configuration.notify_policy import Notify
from node_rotation.engine import BatchMoved, Event, Result
from node_rotation.errors import RotationError
from node_rotation.model import Batch, StepName
from node_rotation.notify import Notice
from node_rotation.outcome import REFUSED_CALL, Blocked
from node_rotation.report import report
from node_rotation.run import Run


@dataclass(frozen=True, slots=True)
class Notices:
    """Carries a run out and tells of it as it goes; what can't be sent is a line on standard error.

    :param receivers: those with a ``url``.
    """

    run: Run
    receivers: Sequence[Notify]

    @classmethod
    def of(cls, run: Run) -> Notices:
        """The receivers of a run's policy."""
        return cls(run, [one for one in run.settings.policy.notify if one.http.url])

    def rotated(self, on_event: Callable[[Event], None] | None = None) -> Result:
        """Rotate, and tell how it ended.

        :param on_event: told what happens, before the receivers are.
        :raises RotationError: as the engine does, once that was told.
        """
        began = self.run.clock.now()

        def happened(event: Event) -> None:
            if on_event:
                on_event(event)
            if self.receivers and isinstance(event, BatchMoved) and event.failed:
                self._tell(self._failed(event, event.failed))

        try:
            result = engine.rotate(self.run, happened)
        except RotationError as error:
            ended = Result(
                began,
                self.run.clock.now(),
                failed=(("the run", Blocked(str(error), (f"cluster {self.run.settings.name}",), REFUSED_CALL)),),
            )
            self._ended(ended)
            raise
        self._ended(result)
        return result

    def _failed(self, event: BatchMoved, cause: Blocked) -> Notice | None:
        """What a batch that begins to go back tells; the same for one that has come to its end, by its image."""
        name, run = self.run.settings.name, self.run
        batch = next(one for one in run.plan.batches if one.name == event.batch)
        if event.step is StepName.HEAL:
            return notify.batch_failed(name, run.id, batch.name, cause, run.policy(batch).gate.on_failure)
        return self._frozen(batch, cause)

    def _frozen(self, batch: Batch, cause: Blocked) -> Notice | None:
        with suppress(RotationError):  # the end of the run tells it
            record = self.run.freezes.of(self.run.group(batch).target.image)
            return notify.frozen(self.run.settings.name, self.run.id, record, cause)
        return None

    def _ended(self, result: Result) -> None:
        if not self.receivers:
            return
        try:
            self._tell(notify.ended(report(self.run.plan, result), self.run.id))
        except KeyboardInterrupt:  # the rotation has ended all the same, and its answer is still to come
            complain("interrupted while its end was told: perhaps not everybody was")

    def _tell(self, notice: Notice | None) -> None:
        for line in notify.send(self.run.outside.http, self.receivers, notice) if notice else ():
            complain(line)
