"""One run over one cluster: what every step is given, and the shared look at the world."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf
from typing import Protocol

from node_rotation.clearance.answers import Answer, Answers
from node_rotation.clearance.freezes import Freezes
from node_rotation.errors import BlockedError, RotationError, TransientError
from node_rotation.fleet import Settings
from node_rotation.model import Batch, GroupPlan, Plan
from node_rotation.outcome import Blocked
from node_rotation.outside import Outside
from node_rotation.policy import Policy
from node_rotation.world.clients import Clock, Cloud, Cluster
from node_rotation.world.kubernetes import Lease
from node_rotation.world.snapshot import Snapshot

BLIND_S = 60.0
"""A look that comes so much later than it was due begins a new series: machines and pods had that time unseen."""
LONGEST_UNSEEN_S = 60.0
"""For no longer than that nobody looks again after a look that nobody answered, however long that one took."""


class Look(Protocol):
    """One observation, shared by all who wait for it."""

    def __call__(self) -> Snapshot:
        """The current observation.

        :raises RotationError: if it could not be made; that nobody answers is shared as well.
        """
        ...

    def forget(self) -> None:
        """Look anew next time: the caller just changed the world."""
        ...

    def moment(self) -> int:
        """Now, in the order of what the look was told; to be taken before the Lease is read."""
        ...

    def saw(self, lease: Lease | None, read_at: int | None = None) -> None:
        """The caller read or wrote the Lease: the next look shows this one, unless it was told something later.

        :param read_at: the moment at which reading began; None: it was written.
        """
        ...

    def first_in(self, every_s: float) -> bool:
        """Whether the caller is the first in so many seconds: it does for all who wait what is enough once."""
        ...


Connect = Callable[[Settings], tuple[Cloud, Cluster]]
"""Makes the clients of one cluster of the fleet."""


class Others:
    """The other clusters of the fleet, reached when they are asked and then kept.

    :param connect: None for a run that can't reach any.
    :param answers: shared by all runs of the process; None: each question is asked anew.
    """

    def __init__(self, connect: Connect | None = None, answers: Answers | None = None) -> None:
        self._connect, self._answers = connect, answers
        self._reached: dict[str, tuple[Cloud, Cluster]] = {}

    def reach(self, settings: Settings) -> tuple[Cloud, Cluster]:
        """The clients of another cluster.

        :raises BlockedError: if this run was not told how.
        """
        if self._connect is None:
            remedy = "Give make_run a way to connect to them (others)."
            raise BlockedError(
                Blocked("this run knows no way to other clusters", (f"cluster {settings.name}",), remedy)
            )
        if settings.name not in self._reached:
            self._reached[settings.name] = self._connect(settings)
        return self._reached[settings.name]

    def asked(self, question: str, clock: Clock, believed_s: float, ask: Callable[[], Answer]) -> Answer:
        """An answer about another cluster, as :meth:`Answers.get` gives it."""
        return self._answers.get(question, clock, believed_s, ask) if self._answers else ask()


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Run:
    """A plan being carried out.

    :param id: the lock's holder: Airflow's run id, or one the CLI made.
    :param look: one observation of the cluster, shared for ``policy.poll`` seconds.
    :param others: the fleet's other clusters, for what only they can tell.
    :param freezes: the images that nobody may roll out.
    :param asked: when the API server last answered whether a pod may be evicted, by its UID; epoch seconds.
    """

    id: str
    plan: Plan
    settings: Settings
    cloud: Cloud
    cluster: Cluster
    clock: Clock
    look: Look
    outside: Outside
    others: Others
    freezes: Freezes
    asked: dict[str, float] = field(default_factory=dict, compare=False, repr=False)

    def policy(self, batch: Batch) -> Policy:
        """The policy of a batch's group."""
        return self.settings.groups[batch.group]

    def group(self, batch: Batch) -> GroupPlan:
        """The plan of a batch's group."""
        return self.plan.group(batch.group)

    def waited(self, since: float) -> float:
        """Seconds since then, without those in which nobody could look, and what was before them.

        :param since: epoch seconds.
        """
        try:
            watched_since = self.look().watched_since
        except RotationError:
            watched_since = 0.0
        return self.clock.now() - max(since, watched_since)


class SharedLook:
    """All who wait in one process share one observation per run and interval, also one that nobody answered.

    An interval counts from the end of an observation and is never shorter than that took: where looking is slow,
    because a machine or an API server is busy, looking all the time would make it slower still. Where nobody answers,
    each of those who wait would find that out for itself, one after another. What is refused is told at once and to one
    only: the next look may be let in, with a token that was renewed say.

    :param observe: makes an observation.
    :param ttl_s: how long one is shared, in seconds.
    """

    def __init__(self, observe: Callable[[], Snapshot], clock: Clock, ttl_s: float) -> None:
        self._observe, self._clock, self._ttl_s = observe, clock, ttl_s
        self._lock = threading.Lock()
        self._last: Snapshot | TransientError | None = None
        self._until = 0.0
        self._due = inf
        self._watched_since = 0.0
        self._told = 0
        self._turns = threading.Lock()
        self._turn = -inf

    def __call__(self) -> Snapshot:
        """The current observation, made anew if the last one is too old.

        :raises RotationError: if it could not be made.
        """
        with self._lock:
            began = self._clock.now()
            if self._last is None or began >= self._until:
                self._last = self._looked()
                self._told += 1
                ended = self._clock.now()
                took = ended - began if isinstance(self._last, Snapshot) else min(ended - began, LONGEST_UNSEEN_S)
                self._until = ended + max(self._ttl_s, took)
                if isinstance(self._last, Snapshot):
                    self._due = self._until
            if isinstance(self._last, TransientError):
                raise self._last.with_traceback(None)  # else it grows with everybody who is told
            return self._last

    def _looked(self) -> Snapshot | TransientError:
        began = self._clock.now()
        try:
            seen = self._observe()
        except TransientError as error:
            return error
        if began - self._due > BLIND_S:
            self._watched_since = began
        return replace(seen, watched_since=self._watched_since) if self._watched_since else seen

    def forget(self) -> None:
        """Look anew next time: the caller just changed the world."""
        with self._lock:
            self._last = None
            self._told += 1

    def moment(self) -> int:
        """How often it was told something, or looked: a look must not go back behind that."""
        with self._lock:
            return self._told

    def saw(self, lease: Lease | None, read_at: int | None = None) -> None:
        """The caller read or wrote the Lease: show it without observing everything again.

        :param read_at: the moment at which reading began: a read that others have overtaken is not shown.
        """
        with self._lock:
            if read_at is not None and read_at != self._told:
                return
            self._told += 1
            if isinstance(self._last, Snapshot):
                self._last = replace(self._last, lease=lease)

    def first_in(self, every_s: float) -> bool:
        """Whether the caller is the first in so many seconds; nobody waits for a look to be told."""
        with self._turns:
            now = self._clock.now()
            first = now - self._turn >= every_s
            self._turn = now if first else self._turn
            return first
