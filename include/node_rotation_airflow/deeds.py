"""Everything a task repeats until it is done, by name: act, then look, in one call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from node_rotation import lock, patience
from node_rotation.errors import BlockedError, PermanentError, RefusedError, RotationError, TransientError
from node_rotation.ledger import Ledger
from node_rotation.model import Batch, Role, StepName, Strategy
from node_rotation.outcome import REFUSED_CALL, Blocked, Done, Outcome, Waiting
from node_rotation.run import Run
from node_rotation.steps import STEPS
from node_rotation.steps import prepare as preparing
from node_rotation.steps import restore as restoring
from node_rotation.steps.evening import even_out_beside
from node_rotation.steps.put_back import put_back_of
from node_rotation.steps.scene import ledger_of
from node_rotation_airflow.constants import PREPARE, RESTORE
from node_rotation_airflow.documents import Span

log = logging.getLogger(__name__)
GIVING_UP_S = 60.0
"""So long before its deadline restore stops waiting for pods and machines, and for what is refused."""
AGAIN_S = 5.0
"""So often is tried again what was refused: credentials are renewed, rights are given."""
TOGETHER = ", "
"""Between the groups that verify has restored at once."""

Do = Callable[[Run, str, float], Outcome]


def _at_once(run: Run, subject: str) -> bool:
    """It may be done at its first try."""
    return False


@dataclass(frozen=True, slots=True)
class Deed:
    """One kind of work on one subject, by its name: a batch, a node group, or several to restore.

    :param do: act and look once, given run, subject and the seconds that are left.
    :param timeout_s: seconds after which nobody waits any more.
    :param waits: whether it will have to wait in any case, as far as the plan tells, so that a worker need not try.
    """

    do: Do
    timeout_s: Callable[[Run, str], float]
    waits: Callable[[Run, str], bool] = _at_once


def attempt(name: str, run: Run, subject: str, left_s: float = inf) -> Outcome:
    """Act and look once; what may pass by itself is waiting, what can't is Blocked.

    :param name: a key of :data:`DEEDS`.
    :param left_s: seconds until nobody waits any more.
    :raises PermanentError: if the call was wrong.
    """
    return _attempted(DEEDS[name].do, run, subject, left_s)


def _attempted(do: Do, run: Run, subject: str, left_s: float) -> Outcome:
    try:
        return do(run, subject, left_s)
    except (TransientError, RefusedError) as error:
        lock.keep_unseen(run)
        return patience.waiting(error)
    except BlockedError as error:
        return error.blocked


def spanned(run: Run, name: str, subject: str, began: float, ended: float) -> Span:
    """A deed that is done, with what the shared look shows of it for the report; the ledger does not stay.

    :param name: a key of :data:`DEEDS`.
    """
    ledger = _ledger(run) if name in (StepName.GATE, StepName.HEAL) else None
    others = ledger.others if ledger is not None and name == StepName.GATE else ()
    back = put_back_of(ledger, subject) if name == StepName.HEAL else ()
    return Span(subject=subject, deed=name, began=began, ended=ended, others=others, put_back=back)


def _ledger(run: Run) -> Ledger | None:
    try:
        return ledger_of(run.look().lease, run.id)
    except RotationError:  # the next one tells it
        return None


def refused(name: str, subject: str, error: PermanentError) -> Blocked:
    """A call that was wrong, as the command line reports it."""
    return Blocked(str(error), (label(name, subject),), REFUSED_CALL)


def label(name: str, subject: str) -> str:
    """What a deed works on, for people: ``batch workers/1``, ``group workers``."""
    return f"{'group' if name in (PREPARE, RESTORE) else 'batch'} {subject}"


def _step(name: StepName) -> Deed:
    def do(run: Run, subject: str, left_s: float) -> Outcome:
        batch, step = batch_of(run, subject), STEPS[name]
        known = step.act(run, batch)
        outcome = step.look(run, batch) if known is None else known
        for line in even_out_beside(run, batch) if isinstance(outcome, Waiting) else ():
            log.info(line)
        return outcome

    done = _insisting(do, until_s=0.0) if name is StepName.HEAL else do
    return Deed(
        done, lambda run, subject: STEPS[name].timeout_s(run, batch_of(run, subject)), _WAITS.get(name, _at_once)
    )


def _boots(run: Run, subject: str) -> bool:
    """A replacement has to boot, or EKS to roll. A canary's begins at once: it boots while the triggerer wakes up."""
    batch = batch_of(run, subject)
    return run.group(batch).strategy is not Strategy.TERMINATE_FIRST and not batch.canary


def _empties(run: Run, subject: str) -> bool:
    """A worker's pods take their time to stop; a master has none that are evicted."""
    return run.group(batch_of(run, subject)).role is Role.WORKER


def _settles(run: Run, subject: str) -> bool:
    """A gate wants to see it well for a while."""
    return run.policy(batch_of(run, subject)).gate.settle > 0


_WAITS = {StepName.LAUNCH: _boots, StepName.DRAIN: _empties, StepName.GATE: _settles}


def _insisting(do: Do, until_s: float) -> Do:
    """Wait for what is refused as well: who puts back has nobody behind it who would.

    :param until_s: so many seconds before the deadline a refusal is one.
    """

    def insist(run: Run, subject: str, left_s: float) -> Outcome:
        try:
            return do(run, subject, left_s)
        except (BlockedError, PermanentError) as error:
            if left_s <= until_s:
                raise
            lock.keep_unseen(run)
            return Waiting((str(error),), AGAIN_S)

    return insist


def _restore(run: Run, group: str, left_s: float) -> Outcome:
    """Rather a group undone while pods still leave than one left as it is: verify names what remains."""
    for line in restoring.restore(run, group, giving_up=left_s <= GIVING_UP_S):
        log.info(line)
    return restoring.restored(run, group)


def _restore_together(run: Run, groups: str, left_s: float) -> Outcome:
    """All at once: one that pods don't leave takes no time from the others, one that is refused keeps none waiting.

    :param groups: one, or several with :data:`TOGETHER` between them.
    """
    outcomes = [_restore_one(run, group, left_s) for group in groups.split(TOGETHER)]
    waiting = [outcome for outcome in outcomes if isinstance(outcome, Waiting)]
    blocked = [outcome for outcome in outcomes if isinstance(outcome, Blocked)]
    if waiting:
        reasons = (*(reason for outcome in waiting for reason in outcome.reasons), *map(str, blocked))
        return Waiting(tuple(dict.fromkeys(reasons)), min(outcome.poll_s for outcome in waiting))
    if blocked:
        return _all_of(blocked)
    return Done("; ".join(dict.fromkeys(outcome.detail for outcome in outcomes if isinstance(outcome, Done))))


def _restore_one(run: Run, group: str, left_s: float) -> Outcome:
    try:
        return _attempted(_insisting(_restore, until_s=GIVING_UP_S), run, group, left_s)
    except PermanentError as error:
        return refused(RESTORE, group, error)


def _all_of(blocked: Sequence[Blocked]) -> Blocked:
    """What several were refused, each said once."""
    return Blocked(
        "; ".join(dict.fromkeys(one.reason.removesuffix(".") for one in blocked)),
        tuple(dict.fromkeys(name for one in blocked for name in one.objects)),
        " ".join(dict.fromkeys(one.remedy for one in blocked if one.remedy)),
    )


def _prepare(run: Run, group: str) -> Outcome:
    try:
        if preparing.rotated(run, group):
            return Done(f"group {group} has nothing left to rotate")
        return preparing.prepare(run, group)
    except RefusedError as error:  # nobody has let this run in yet
        return error.blocked


def batch_of(run: Run, name: str) -> Batch:
    """A batch of the run's plan by its name."""
    return next(batch for batch in run.plan.batches if batch.name == name)


DEEDS: Mapping[str, Deed] = {
    **{name.value: _step(name) for name in StepName},
    PREPARE: Deed(
        lambda run, group, left_s: _prepare(run, group),
        lambda run, group: preparing.timeout_s(run),
    ),
    RESTORE: Deed(
        _restore_together,
        lambda run, groups: max(restoring.timeout_s(run, group) for group in groups.split(TOGETHER)),
    ),
}
