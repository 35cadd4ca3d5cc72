"""Carry out a plan outside Airflow: one loop over the batches, sleeping only through the clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from node_rotation import lock, sweep
from node_rotation.admission import Refuse
from node_rotation.clearance import look as clearance
from node_rotation.clearance.look import Superseded
from node_rotation.ending import DEAF_S, Ending, insisting
from node_rotation.errors import BlockedError, PermanentError, RefusedError, RotationError, TransientError
from node_rotation.ledger import Ledger
from node_rotation.model import Batch, StepName
from node_rotation.outcome import REFUSED_CALL, Blocked, Done, Outcome, Waiting, too_long
from node_rotation.patience import Patience, waiting
from node_rotation.run import Run
from node_rotation.steps import ORDER, STEPS
from node_rotation.steps.admit import refusal
from node_rotation.steps.evening import even_out_beside
from node_rotation.steps.freezing import frozen_targets
from node_rotation.steps.heal import heal
from node_rotation.steps.others import notice
from node_rotation.steps.prepare import prepare
from node_rotation.steps.prepare import timeout_s as prepare_timeout_s
from node_rotation.steps.scene import ledger_of
from node_rotation.steps.verify import Verdict, verify

SHORTEST_S = 0.05
LONG_S = 3600.0


@dataclass(frozen=True, slots=True)
class BatchMoved:
    """A batch begins a step; ``step`` is None when it has passed, or with ``failed`` when it was given up."""

    at: float
    batch: str
    step: StepName | None
    failed: Blocked | None = None


@dataclass(frozen=True, slots=True)
class BatchWaits:
    """Why a batch does not move, said again only when it changes."""

    at: float
    batch: str
    step: StepName
    reasons: tuple[str, ...]
    since: float


@dataclass(frozen=True, slots=True)
class Note:
    """Anything else worth a line: prepared, healed, restored."""

    at: float
    text: str


Event = BatchMoved | BatchWaits | Note


@dataclass(frozen=True, slots=True)
class Result:
    """How a rotation ended.

    :param verdict: what verify found; None if nothing was touched.
    :param passed: names of the batches that passed.
    :param failed: what blocked each batch that did not.
    :param blocked: why the run as a whole stopped, e.g. the lock is another run's.
    :param ledger: as it was before it was given back, for the report.
    :param frozen: which of the plan's images are frozen by now, and why.
    :param not_begun: why it ended before anything was touched, e.g. superseded by a newer image.
    :param took_up: the dead run that it cleaned up after and went on for.
    :param postponed: batches that the maintenance window had no room for, and why: a run to come goes on with them.
    """

    started_at: float
    ended_at: float
    passed: tuple[str, ...] = ()
    failed: tuple[tuple[str, Blocked], ...] = ()
    skipped: tuple[str, ...] = ()
    blocked: Blocked | None = None
    verdict: Verdict | None = None
    ledger: Ledger | None = None
    not_begun: str = ""
    frozen: tuple[str, ...] = ()
    postponed: tuple[tuple[str, str], ...] = ()
    took_up: str = ""

    @property
    def ok(self) -> bool:
        """True if every batch passed and nothing is left behind; so not if none began, ``not_begun`` says why."""
        undone = self.failed or self.skipped or self.postponed or self.blocked or self.not_begun
        return not undone and (self.verdict is None or self.verdict.ok)


class RotationInterruptedError(KeyboardInterrupt):
    """Interrupted twice while everything was given back: what is left is a sweep's, or the next run's, to put back."""


def rotate(run: Run, on_event: Callable[[Event], None] | None = None) -> Result:
    """Carry out a run's plan to its end; whatever happens, it ends with restore and verify.

    A KeyboardInterrupt ends it early. What gives back goes on in spite of one, and is ended by the next.

    :param on_event: told what happens, for progress displays.
    :raises RotationInterruptedError: by that one.
    """
    started = run.clock.now()
    if run.plan.blockers:
        first = run.plan.blockers[0]
        return Result(started, started, blocked=Blocked(first.reason, first.objects, first.remedy))
    if not run.plan.batches:
        return _clean_up(run, started)
    return _Rotation(run, on_event or (lambda event: None)).carry_out(started)


def _clean_up(run: Run, started: float) -> Result:
    """With nothing to rotate, at least what a dead run left is cleaned up, or this one before it was called again."""
    dead = lock.inherited(run) or (run.id if lock.replanned(run) else "")
    if dead:
        sweep.until_done(run.settings, run.cloud, run.cluster, run.clock, run.id, run.outside)
    return Result(started, run.clock.now(), verdict=verify(run) if dead else None, took_up=dead)


@dataclass(slots=True, eq=False)
class _Moving:
    """A batch on its way; ``step`` indexes ``ORDER``."""

    batch: Batch
    step: int = 0
    since: float = 0.0
    healing: Blocked | None = None
    said: tuple[str, ...] = ()
    others_may_go: bool = False
    patience: Patience = field(default_factory=Patience)

    @property
    def name(self) -> StepName:
        return StepName.HEAL if self.healing else ORDER[self.step]

    @property
    def queued(self) -> bool:
        """Whether it still waits to be admitted."""
        return self.step == 0 and self.healing is None


@dataclass(slots=True)
class _Rotation:
    run: Run
    tell: Callable[[Event], None]
    moving: list[_Moving] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    failed: list[tuple[str, Blocked]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    postponed: list[tuple[str, str]] = field(default_factory=list)
    ledger: Ledger | None = None
    took_up: str = ""

    @property
    def _objects(self) -> tuple[str, ...]:
        return (f"cluster {self.run.settings.name}",)

    def carry_out(self, started: float) -> Result:
        cleared = self._cleared()
        if isinstance(cleared, Superseded):
            return Result(started, self.run.clock.now(), not_begun=f"superseded: {cleared.reason}")
        if isinstance(cleared, Blocked):
            return Result(started, self.run.clock.now(), blocked=cleared)
        try:
            return self._carried_out(started)
        except KeyboardInterrupt as error:
            raise RotationInterruptedError from error

    def _carried_out(self, started: float) -> Result:
        try:
            blocked = self._forward()
        except KeyboardInterrupt:
            remedy = "Start it again: it goes on with what is left."
            blocked = Blocked("the rotation was interrupted", self._objects, remedy)
            with suppress(KeyboardInterrupt):
                self._note("the rotation was interrupted: everything is given back")
        except Exception:
            insisting(self._restore, self._note)
            raise
        return insisting(lambda: self._ended(started, blocked), self._note)

    def _ended(self, started: float, blocked: Blocked | None) -> Result:
        ending = self._restore()
        ended = self.run.clock.now()
        verdict = ending.verify(self.ledger.updated if self.ledger else ())
        skipped = (*self.skipped, *(m.batch.name for m in self.moving))
        return Result(
            started,
            ended,
            tuple(self.passed),
            tuple(self.failed),
            skipped,
            blocked,
            verdict,
            self.ledger,
            frozen=frozen_targets(self.run),
            postponed=tuple(self.postponed),
            took_up=self.took_up,
        )

    def _cleared(self) -> Done | Blocked | Superseded:
        """Wait until the run may begin; nothing is touched before that, so nothing has to be restored."""
        said: tuple[str, ...] = ()
        try:
            while isinstance(answer := clearance.look(self.run), Waiting):
                if answer.reasons != said:
                    said = answer.reasons
                    self._note(f"waits: {'; '.join(said)}")
                self.run.clock.wait(answer.poll_s)
        except KeyboardInterrupt:
            return Blocked("the rotation was interrupted before it began", self._objects, "Start it again.")
        return answer

    def _forward(self) -> Blocked | None:
        try:
            blocked = self._prepare()
            if blocked is None:
                self._batches()
        except BlockedError as error:
            return error.blocked
        except TransientError as error:
            return Blocked(str(error), self._objects, "Start again when the service answers.")
        except PermanentError as error:
            return Blocked(str(error), self._objects, REFUSED_CALL)
        return blocked

    def _prepare(self) -> Blocked | None:
        for group in self.run.plan.groups:
            began, said = self.run.clock.now(), ""
            outcome = self._prepared(group.name)
            while isinstance(outcome, Waiting) and self.run.clock.now() - began < prepare_timeout_s(self.run):
                if (reasons := "; ".join(outcome.reasons)) != said:
                    self._note(said := reasons)
                self.run.clock.wait(outcome.poll_s)
                outcome = self._prepared(group.name)
            if isinstance(outcome, Blocked):
                return outcome
            if isinstance(outcome, Waiting):
                return Blocked("; ".join(outcome.reasons), (f"group {group.name}",), "Start again later.")
            self._note(outcome.detail)
        return None

    def _prepared(self, group: str) -> Outcome:
        try:
            self.took_up = self.took_up or lock.inherited(self.run)
            return prepare(self.run, group)
        except TransientError as error:
            return Waiting((str(error),), error.retry_after_s)

    def _batches(self) -> None:
        self.moving = [_Moving(batch) for batch in self.run.plan.batches]
        heard = self.run.clock.now()
        while self.moving:
            try:
                lock.require(self.run)
                pauses = [self._advance(moving) for moving in self._in_turn()]
                heard = self.run.clock.now()
            except (TransientError, RefusedError) as error:
                if self.run.clock.now() - heard > DEAF_S:
                    raise
                pauses = [waiting(error).poll_s]
            self._remember()
            if all(m.step == 0 and not m.healing for m in self.moving) and self.failed:
                return  # nothing is in flight and nothing will be: held
            if self.moving:
                self.run.clock.wait(max(min(pauses), SHORTEST_S))

    def _in_turn(self) -> Iterator[_Moving]:
        """Who moves now: first in, first out, so behind one that waits for slots nobody of its group need ask.

        One that only waits for machines in flight, with which it shares a tight budget, keeps nobody; and none that
        was admitted past it has to stop, or to ask for its slots again after a crash.
        """
        claimed = {claim.batch for claim in self.ledger.claims} if self.ledger else set()
        queues: set[str] = set()
        for moving in tuple(self.moving):
            if not moving.queued or moving.batch.group not in queues or moving.batch.name in claimed:
                yield moving
            if moving.queued and moving in self.moving and not moving.others_may_go:
                queues.add(moving.batch.group)

    def _advance(self, moving: _Moving) -> float:
        """One batch as far as it goes now; seconds until the next look is worth it."""
        while True:
            try:
                self._act(moving)
                outcome = STEPS[moving.name].look(self.run, moving.batch)
            except (TransientError, RefusedError) as error:
                outcome = waiting(error)
            except BlockedError as error:
                lock.require(self.run)  # a lost lock ends the run, not the batch
                outcome = error.blocked
            except PermanentError as error:
                outcome = Blocked(str(error), (f"batch {moving.batch.name}",), REFUSED_CALL)
            outcome = moving.patience.spent(outcome, self.run.clock.now()) or outcome
            if isinstance(outcome, Waiting) and self._overdue(moving):
                outcome = too_long(moving.name, f"batch {moving.batch.name}", outcome.reasons)
            if isinstance(outcome, Waiting):
                moving.others_may_go = outcome.others_may_go
                self._waits(moving, outcome)
                for line in even_out_beside(self.run, moving.batch):
                    self._note(line)
                return outcome.poll_s
            if not self._next(moving, outcome):
                return LONG_S

    def _act(self, moving: _Moving) -> None:
        if moving.healing:
            heal(self.run, moving.batch, str(moving.healing), image_fault=moving.healing.image_fault)
        else:
            STEPS[moving.name].act(self.run, moving.batch)

    def _next(self, moving: _Moving, outcome: Done | Blocked) -> bool:
        """Take the outcome of a step; False once there is nothing more to do for the batch."""
        now, name = self.run.clock.now(), moving.batch.name
        if moving.healing:
            self.moving.remove(moving)
            self.failed.append((name, moving.healing))
            self.tell(BatchMoved(now, name, None, moving.healing))
            self._note(outcome.detail if isinstance(outcome, Done) else str(outcome))
            return False
        if isinstance(outcome, Blocked):
            return self._fails(moving, outcome)
        moving.step, moving.since, moving.said = moving.step + 1, now, ()
        if moving.step < len(ORDER):
            self.tell(BatchMoved(now, name, ORDER[moving.step]))
            return True
        self.moving.remove(moving)
        self.passed.append(name)
        self.tell(BatchMoved(now, name, None))
        return False

    def _fails(self, moving: _Moving, why: Blocked) -> bool:
        """A refused batch never began: it is left out, or to a run to come, or fails; any other is healed."""
        now, name = self.run.clock.now(), moving.batch.name
        if moving.step == 0 and (refused := self._refusal(moving.batch)) is not None:
            self.moving.remove(moving)
            if refused.how == "later":
                self.postponed.append((name, refused.reason))
                self._note(f"{name} is left to a run to come: {refused.reason}")
                return False
            if refused.how == "skip":
                self.skipped.append(name)
            else:
                self.failed.append((name, why))
            self.tell(BatchMoved(now, name, None, why))
            return False
        moving.healing, moving.since, moving.said = why, now, ()
        self.tell(BatchMoved(now, name, StepName.HEAL, why))
        return True

    def _refusal(self, batch: Batch) -> Refuse | None:
        try:
            return refusal(self.run, batch)
        except (BlockedError, PermanentError):  # it fails by what it failed with already
            return None

    def _overdue(self, moving: _Moving) -> bool:
        if moving.step == 0 and not moving.healing:
            return False
        limit_s = STEPS[moving.name].timeout_s(self.run, moving.batch)
        return self.run.clock.now() - moving.since > limit_s and self.run.waited(moving.since) > limit_s

    def _waits(self, moving: _Moving, outcome: Waiting) -> None:
        if outcome.reasons == moving.said:
            return
        moving.said = outcome.reasons
        now = self.run.clock.now()
        self.tell(BatchWaits(now, moving.batch.name, moving.name, outcome.reasons, moving.since or now))

    def _restore(self) -> Ending:
        self.run.look.forget()  # whoever was interrupted may have changed what it shows
        with suppress(RotationError):  # what others did goes on record while there is a ledger for it
            notice(self.run)
        self._remember()
        ending = Ending(self.run, self._note)
        ending.restore()
        return ending

    def _remember(self) -> None:
        try:
            lease = self.run.look().lease
            if lease is not None and lease.holder == self.run.id:
                self.ledger = ledger_of(lease, self.run.id)
        except RotationError:
            return  # the next one will do

    def _note(self, text: str) -> None:
        self.tell(Note(self.run.clock.now(), text))
