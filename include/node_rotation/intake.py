"""Close a cluster's intake of new installations while it rotates, and open it again, whoever gets to do that.

Written down in the ledger before the first request, so that no crash leaves it closed unknown. Requests may be
repeated, by two actors at once as well: closing what is closed has to be harmless.
"""

from __future__ import annotations

from contextlib import suppress

from node_rotation import lock
from node_rotation.configuration.intake_policy import IntakePolicy
from node_rotation.errors import BlockedError, PermanentError, TransientError
from node_rotation.ledger import Change, ClosedIntake, Ledger
from node_rotation.outcome import Blocked, Done, Outcome, Waiting
from node_rotation.run import Run

RETRY_S = 5.0


def check(run: Run) -> None:
    """See that the intake's address is known, before anything is touched.

    :raises BlockedError: if it is not.
    """
    policy = run.settings.policy.intake
    if policy is not None and policy.http is not None:
        run.outside.http.check(policy.http)


def close(run: Run) -> Outcome:
    """Close it, if the policy has one and it is open. Idempotent; this run holds the lock.

    :returns: Done; Waiting between tries; Blocked by a refusal, or once the policy's timeout is over.
    """
    policy, known = run.settings.policy.intake, lock.require(run).ledger.intake
    if policy is None or (known is not None and known.closed):
        return Done()
    now = run.clock.now()
    known = lock.change(run, lambda ledger: _begun(ledger, policy, now)).intake or ClosedIntake(
        policy=policy, since=now
    )
    try:
        _send(run, known.policy, closing=True)
    except TransientError as error:
        return _again(run, known, known.since, "closed", error)
    except (BlockedError, PermanentError) as error:
        if not known.trouble:  # a refusal does nothing, but a request without answer before it may have
            lock.change(run, lambda ledger: ledger.model_copy(update={"intake": None}))
        return _refused(run, known.policy, "closed", error)
    lock.change(run, lambda ledger: _with(ledger, closed=True, trouble=""))
    return Done(f"the intake of {run.settings.name} is closed")


def open_again(run: Run) -> tuple[str, ...]:
    """Open what this run's ledger says is closed. Idempotent; :func:`shut` says if it is still not open.

    :returns: one line if it was opened.
    :raises BlockedError: if that is refused; the ledger keeps it for a sweep.
    """
    found = lock.held(run)
    known = found.ledger.intake if found and found.lease.holder == run.id else None
    if known is None:
        return ()
    try:
        _send(run, known.policy, closing=False)
    except TransientError as error:
        since, trouble = known.opening_since or run.clock.now(), str(error)
        _write(run, lambda ledger: _with(ledger, opening_since=since, trouble=trouble))
        return ()
    except (BlockedError, PermanentError) as error:
        raise BlockedError(_refused(run, known.policy, "opened", error)) from error
    _write(run, lambda ledger: ledger.model_copy(update={"intake": None}))
    return (f"the intake of {run.settings.name} is open again",)


def _write(run: Run, how: Change) -> None:
    """Into the ledger, unless another actor of this run was faster and has given the lock back."""
    with suppress(BlockedError):
        lock.change(run, how)


def opened(run: Run, ledger: Ledger) -> Outcome:
    """Whether nothing is closed any more: Waiting while opening is tried, Blocked once that took too long.

    :param ledger: as a look shows it.
    """
    known = ledger.intake
    if known is None:
        return Done()
    since = known.opening_since or run.clock.now()
    if run.clock.now() - since > known.policy.timeout:
        return _too_long(run, known.policy, "opened", known.trouble)
    return Waiting((shut(ledger),), RETRY_S)


def shut(ledger: Ledger) -> str:
    """What is still closed, in one line; empty if nothing is."""
    known = ledger.intake
    if known is None:
        return ""
    state = "is closed" if known.closed else "may be closed"
    return f"{known.policy.object} {state}{f': {known.trouble}' if known.trouble else ''}"


def _send(run: Run, policy: IntakePolicy, *, closing: bool) -> None:
    if policy.http is not None:
        run.outside.http.send(policy.http, policy.http.close if closing else policy.http.open)
    if policy.kubernetes is not None:
        patch = policy.kubernetes.close if closing else policy.kubernetes.open
        run.cluster.objects.patch(policy.kubernetes, patch)


def _again(run: Run, known: ClosedIntake, since: float, done: str, error: TransientError) -> Outcome:
    lock.change(run, lambda ledger: _with(ledger, trouble=str(error)))
    if run.clock.now() - since > known.policy.timeout:
        return _too_long(run, known.policy, done, str(error))
    return Waiting((f"the intake is not {done} yet: {error}",), RETRY_S)


def _too_long(run: Run, policy: IntakePolicy, done: str, trouble: str) -> Blocked:
    return Blocked(
        f"the intake of {run.settings.name} could not be {done} within {policy.timeout:.0f} s: {trouble}",
        (policy.object,),
        f"{_REMEDY} An intake that is still closed is in the ledger: a sweep opens it.",
    )


def _refused(run: Run, policy: IntakePolicy, done: str, error: BlockedError | PermanentError) -> Blocked:
    why = error.blocked.reason if isinstance(error, BlockedError) else str(error)
    remedy = error.blocked.remedy if isinstance(error, BlockedError) else _REMEDY
    return Blocked(f"the intake of {run.settings.name} could not be {done}: {why}", (policy.object,), remedy)


_REMEDY = "See that whoever takes new installations answers, then start again."


def _begun(ledger: Ledger, policy: IntakePolicy, now: float) -> Ledger:
    known = ledger.intake or ClosedIntake(policy=policy, since=now)
    return ledger.model_copy(update={"intake": known})


def _with(ledger: Ledger, **fields: object) -> Ledger:
    known = ledger.intake
    return ledger.model_copy(update={"intake": known.model_copy(update=fields)}) if known else ledger
