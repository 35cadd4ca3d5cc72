"""What goes wrong, and when: faults by the n-th call, crashes between mutations, and the journal of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from node_rotation.errors import BlockedError, ConflictError, PermanentError, TransientError
from node_rotation.outcome import Blocked
from node_rotation.testing.clock import VirtualClock
from node_rotation.testing.scaling_activity import capacity_text
from node_rotation.testing.seeds import Fault


class Crash(BaseException):  # noqa: N818 - not an error to be handled: the process is dead
    """The actor died here; nothing of ours may catch it."""


class ThrottledError(TransientError):
    """Too many calls; for an eviction this is an answer and no error."""


class Mutation(NamedTuple):
    """A call that changed the world: when, by whom, what."""

    at: float
    actor: str
    action: str
    args: dict[str, Any]


class Journal:
    """Every call passes here: it is counted, may fail, may crash its caller, and is written down.

    :param actor: who calls now; tests change it, or use ``acting``. ``away`` says why a service can't be reached.
    """

    def __init__(self, clock: VirtualClock, faults: Sequence[Fault] = ()) -> None:
        self.clock = clock
        self.faults = list(faults)
        self.actor = "rotation"
        self.calls: Counter[str] = Counter()
        self.mutations: list[Mutation] = []
        self.on_mutation: Callable[[Mutation], None] | None = None
        self.away: Callable[[str], str] = lambda service: ""
        self._crash_at: tuple[int, bool] | None = None
        self._dead: str | None = None
        self._begun = 0
        self._launches: Counter[int] = Counter()

    def forget(self) -> None:
        """Begin anew: what came before belongs to the seeding."""
        self.calls.clear()
        self.mutations.clear()
        self._begun = 0

    @contextmanager
    def acting(self, actor: str) -> Iterator[None]:
        """Let somebody else act for a while."""
        before, self.actor = self.actor, actor
        try:
            yield
        finally:
            self.actor = before

    def crash_after(self, mutations: int) -> None:
        """Raise ``Crash`` right after the n-th mutation from now took effect."""
        self.alive_again()
        self._crash_at = (self._begun + mutations, False)

    def crash_before(self, mutations: int) -> None:
        """Raise ``Crash`` right before the n-th mutation from now."""
        self.alive_again()
        self._crash_at = (self._begun + mutations, True)

    def no_crash(self) -> None:
        """Forget a crash that has not come yet, or one that has."""
        self.alive_again()
        self._crash_at = None

    def alive_again(self) -> None:
        """Somebody new acts: who died calls nothing any more, not even from a ``finally``."""
        self._dead = None

    def read(self, service: str, action: str) -> None:
        """Note a reading call, or fail it."""
        self._fail(self._matching(service, action))

    @contextmanager
    def mutation(self, service: str, action: str, **args: Any) -> Iterator[None]:
        """Around a changing call: fail or crash before it, write it down, crash or lose the answer after it."""
        faults = self._matching(service, action)
        self._fail(faults)
        self._begun += 1
        self._crash_if(before=True)
        yield
        mutation = Mutation(self.clock.now(), self.actor, action, args)
        self.mutations.append(mutation)
        if self.on_mutation:
            self.on_mutation(mutation)
        self._crash_if(before=False)
        if any(fault.kind == "lost_answer" for fault in faults):
            raise TransientError(f"{action}: the connection was closed before the answer came")

    def capacity(self, instance_type: str, zone: str, others: tuple[str, ...]) -> str | None:
        """AWS' text if this type can't be had in this zone now (``scaling_values.Faults``)."""
        for number, fault in enumerate(self.faults):
            spent = fault.launches is not None and self._launches[number] >= fault.launches
            where = fault.zone in ("*", zone, zone[-1]) and fault.instance_type in ("*", instance_type)
            if fault.kind == "capacity" and where and not spent:
                self._launches[number] += 1
                return fault.message or capacity_text(instance_type, zone, others)
        return None

    def _matching(self, service: str, action: str) -> list[Fault]:
        if self._dead == self.actor:
            raise Crash(f"{self.actor} is dead: it can't call {action}")
        self.calls[action] += 1
        if why := self.away(service):
            raise TransientError(f"{action}: {why}", retry_after_s=1.0)
        if not self.faults:
            return []
        number = self.calls[action]
        return [
            fault
            for fault in self.faults
            if fault.kind != "capacity"
            and fault.service in (None, service)
            and fault.action in (None, action)
            and (not fault.calls or number in fault.calls)
        ]

    def _fail(self, faults: Sequence[Fault]) -> None:
        for fault in faults:
            if fault.kind == "delay":
                self.clock.wait(fault.delay)
            elif fault.kind != "lost_answer":
                raise _error(fault)

    def _crash_if(self, *, before: bool) -> None:
        if self._crash_at and self._crash_at[1] is before and self._begun >= self._crash_at[0]:
            self._crash_at, self._dead = None, self.actor
            raise Crash(f"{self.actor} died {'before' if before else 'after'} mutation {self._begun}")


def _error(fault: Fault) -> Exception:
    said = fault.message or f"{fault.code or 'Rate exceeded'} ({fault.action or 'any call'})"
    if fault.kind == "conflict":
        return ConflictError(said)
    if fault.kind == "throttle":
        return ThrottledError(said, retry_after_s=1.0)
    if fault.kind == "denied":
        return BlockedError(Blocked(said, (fault.action or "any call",), "Allow it."))
    if fault.code is None or fault.status >= 500:
        return TransientError(said)
    return PermanentError(said)
