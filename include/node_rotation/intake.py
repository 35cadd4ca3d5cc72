"""Close what works against a rotation while it lasts, and open it again, whoever gets to do that.

Two doors: a cluster's intake of new installations, and its cluster-autoscaler, which is paused. What is closed, and
how to open it, is written down in the ledger before the first request, so that no crash leaves it closed unknown.
Requests may be repeated, by two actors at once as well: closing what is closed has to be harmless.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from node_rotation import lock
from node_rotation.configuration.autoscaler_policy import remembering
from node_rotation.configuration.intake_policy import IntakePolicy
from node_rotation.errors import BlockedError, GoneError, PermanentError, TransientError
from node_rotation.ledger import Change, ClosedIntake, Ledger
from node_rotation.names import REPLICAS
from node_rotation.outcome import Blocked, Done, Outcome, Waiting
from node_rotation.run import Run

RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class Door:
    """Something that is closed while a cluster rotates: the ledger's field for it, and its words."""

    field: str
    noun: str
    closed: str
    opened: str
    again: str
    remedy: str


INTAKE = Door(
    "intake",
    "the intake of",
    "closed",
    "opened",
    "is open again",
    "See that whoever takes new installations answers, then start again.",
)
AUTOSCALER = Door(
    "autoscaler",
    "the cluster-autoscaler of",
    "paused",
    "started again",
    "runs again",
    "See that its Deployment can be read and patched (docs/rbac.yaml), then start again.",
)
DOORS = (INTAKE, AUTOSCALER)


def check(run: Run) -> None:
    """See that the intake's address and the autoscaler's Deployment are known, before anything is touched.

    :raises BlockedError: if one is not.
    """
    policy = run.settings.policy.intake
    if policy is not None and policy.http is not None:
        run.outside.http.check(policy.http)
    if run.settings.policy.autoscaler.pause:
        _replicas(run)


def close(run: Run) -> Outcome:
    """Close what the policy says and what is open. Idempotent; this run holds the lock.

    :returns: Done; Waiting between tries; Blocked by a refusal, or once the policy's timeout is over.
    """
    said: list[str] = []
    for door in DOORS:
        outcome = _close(run, door)
        if not isinstance(outcome, Done):
            return outcome
        said += [outcome.detail] if outcome.detail else []
    return Done("; ".join(said))


def open_again(run: Run) -> tuple[str, ...]:
    """Open what this run's ledger says is closed. Idempotent; :func:`shut` says if something is still not open.

    :returns: one line for each that was opened.
    :raises BlockedError: if that is refused; the ledger keeps it for a sweep.
    """
    refused: list[BlockedError] = []
    did: list[str] = []
    for door in DOORS:
        try:
            did.extend(_open(run, door))
        except BlockedError as error:  # the other one is opened nevertheless
            refused.append(error)
    if refused:
        raise refused[0]
    return tuple(did)


def opened(run: Run, ledger: Ledger) -> Outcome:
    """Whether nothing is closed any more: Waiting while opening is tried, Blocked once that took too long.

    :param ledger: as a look shows it.
    """
    for door in DOORS:
        if (known := _known(ledger, door)) is not None:
            since = known.opening_since or run.clock.now()
            if run.clock.now() - since > known.policy.timeout:
                return _too_long(run, door, known.policy, door.opened, known.trouble)
            return Waiting((shut(ledger),), RETRY_S)
    return Done()


def shut(ledger: Ledger) -> str:
    """What is still closed, in one line; empty if nothing is."""
    return "; ".join(_shut(door, known) for door in DOORS if (known := _known(ledger, door)) is not None)


def timeout_s(run: Run) -> float:
    """Seconds that all tries to close may take."""
    policy = run.settings.policy
    intake_s = policy.intake.timeout if policy.intake else 0.0
    return intake_s + (policy.autoscaler.timeout if policy.autoscaler.pause else 0.0)


def _close(run: Run, door: Door) -> Outcome:
    known = _known(lock.require(run).ledger, door)
    if known is not None and known.closed:
        return Done()
    policy = known.policy if known is not None else _policy(run, door)
    if policy is None:
        return Done()
    known, ours = _begin(run, door, ClosedIntake(policy=policy, since=run.clock.now()))
    try:
        _send(run, known.policy, closing=True)
    except TransientError as error:
        return _again(run, door, known, error)
    except (BlockedError, PermanentError) as error:
        left = _known(lock.change(run, lambda ledger: _struck_out(ledger, door) if ours else ledger), door)
        if left is not None and left.closed:  # another task of this run was answered, so this one is not
            return Done()
        return _refused(run, door, known.policy, door.closed, error)
    lock.change(run, lambda ledger: _asked(ledger, door, known, closed=True, trouble=""))
    return Done(f"{door.noun} {run.settings.name} is {door.closed}")


def _begin(run: Run, door: Door, new: ClosedIntake) -> tuple[ClosedIntake, bool]:
    """What the ledger says of it by now, and whether this task has written it there."""
    ours = False

    def begin(ledger: Ledger) -> Ledger:
        nonlocal ours
        ours = _known(ledger, door) is None
        return _asked(ledger, door, new)

    return _known(lock.change(run, begin), door) or new, ours


def _open(run: Run, door: Door) -> tuple[str, ...]:
    found = lock.held(run)
    known = _known(found.ledger, door) if found and found.lease.holder == run.id else None
    if known is None:
        return ()
    try:
        theirs = door is AUTOSCALER and _scaled_by_others(run, known.policy)
        if theirs:
            _forget_pause(run, known.policy)
        else:
            _send(run, known.policy, closing=False)
    except TransientError as error:
        since, trouble = known.opening_since or run.clock.now(), str(error)
        _write(run, lambda ledger: _with(ledger, door, opening_since=since, trouble=trouble))
        return ()
    except (BlockedError, PermanentError) as error:
        raise BlockedError(_refused(run, door, known.policy, door.opened, error)) from error
    _write(run, lambda ledger: ledger.model_copy(update={door.field: None}))
    if theirs:
        return (f"{door.noun} {run.settings.name} is left as it is: {theirs}",)
    return (f"{door.noun} {run.settings.name} {door.again}",)


def _policy(run: Run, door: Door) -> IntakePolicy | None:
    """How a door is closed now; None if it is not to be, or is already."""
    if door is INTAKE:
        return run.settings.policy.intake
    policy = run.settings.policy.autoscaler
    replicas = _replicas(run) if policy.pause else 0
    return policy.pausing(replicas) if replicas else None


def _replicas(run: Run) -> int:
    """How many replicas the autoscaler is to have.

    :raises BlockedError: if it is not there, or can't be read.
    """
    policy = run.settings.policy.autoscaler
    try:
        found = run.cluster.objects.read(policy.object)
    except GoneError as error:
        remedy = "Name its Deployment (autoscaler.deployment, autoscaler.namespace), or set autoscaler.pause: false, "
        remedy += "in the fleet file."
        reason = f"there is no cluster-autoscaler to pause: {error}"
        raise BlockedError(Blocked(reason, (str(policy.object),), remedy)) from error
    replicas = int(found["spec"].get("replicas", 1))
    before = (found.get("metadata", {}).get("annotations") or {}).get(REPLICAS, "")
    return int(before) if before.isdecimal() and not replicas else replicas  # paused by a run whose Lease is gone


def _scaled_by_others(run: Run, policy: IntakePolicy) -> str:
    """What somebody has done to it since; empty if it is at our 0, or at what we would set anyway."""
    how = policy.kubernetes
    if how is None:
        return ""
    try:
        replicas = int(run.cluster.objects.read(how)["spec"].get("replicas", 1))
    except GoneError as error:
        return str(error)
    ours = (how.close["spec"]["replicas"], how.open["spec"]["replicas"])
    return "" if replicas in ours else f"somebody else has scaled {how} to {replicas}"


def _forget_pause(run: Run, policy: IntakePolicy) -> None:
    """Take our annotation off what somebody else has scaled."""
    if policy.kubernetes is not None:
        with suppress(GoneError):
            run.cluster.objects.patch(policy.kubernetes, remembering(None))


def _write(run: Run, how: Change) -> None:
    """Into the ledger, unless another actor of this run was faster and has given the lock back."""
    with suppress(BlockedError):
        lock.change(run, how)


def _known(ledger: Ledger, door: Door) -> ClosedIntake | None:
    found: ClosedIntake | None = getattr(ledger, door.field)
    return found


def _shut(door: Door, known: ClosedIntake) -> str:
    state = f"is {door.closed}" if known.closed else f"may be {door.closed}"
    return f"{known.policy.object_of(door.field)} {state}{f': {known.trouble}' if known.trouble else ''}"


def _send(run: Run, policy: IntakePolicy, *, closing: bool) -> None:
    if policy.http is not None:
        run.outside.http.send(policy.http, policy.http.close if closing else policy.http.open)
    if policy.kubernetes is not None:
        patch = policy.kubernetes.close if closing else policy.kubernetes.open
        run.cluster.objects.patch(policy.kubernetes, patch)


def _again(run: Run, door: Door, known: ClosedIntake, error: TransientError) -> Outcome:
    lock.change(run, lambda ledger: _asked(ledger, door, known, trouble=str(error)))
    if run.clock.now() - known.since > known.policy.timeout:
        return _too_long(run, door, known.policy, door.closed, str(error))
    return Waiting((f"{door.noun} {run.settings.name} is not {door.closed} yet: {error}",), RETRY_S)


def _too_long(run: Run, door: Door, policy: IntakePolicy, done: str, trouble: str) -> Blocked:
    kept = f"What is still {door.closed} is in the ledger: a sweep opens it."
    return Blocked(
        f"{door.noun} {run.settings.name} could not be {done} within {policy.timeout:.0f} s: {trouble}",
        (policy.object_of(door.field),),
        f"{door.remedy} {kept}",
    )


def _refused(run: Run, door: Door, policy: IntakePolicy, done: str, error: BlockedError | PermanentError) -> Blocked:
    why = error.blocked.reason if isinstance(error, BlockedError) else str(error)
    remedy = error.blocked.remedy if isinstance(error, BlockedError) else door.remedy
    objects = (policy.object_of(door.field),)
    return Blocked(f"{door.noun} {run.settings.name} could not be {done}: {why}", objects, remedy)


def _asked(ledger: Ledger, door: Door, known: ClosedIntake, **fields: object) -> Ledger:
    """A ledger that knows of a request to close, whether or not another task's refusal has struck it out."""
    return ledger.model_copy(update={door.field: (_known(ledger, door) or known).model_copy(update=fields)})


def _struck_out(ledger: Ledger, door: Door) -> Ledger:
    """A refusal does nothing; but another task's request may have, or one without an answer."""
    known = _known(ledger, door)
    nothing = known is not None and not known.closed and not known.trouble
    return ledger.model_copy(update={door.field: None}) if nothing else ledger


def _with(ledger: Ledger, door: Door, **fields: object) -> Ledger:
    known = _known(ledger, door)
    return ledger.model_copy(update={door.field: known.model_copy(update=fields)}) if known else ledger
