"""One run over one cluster: what every step is given, and the shared look at the world."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from node_rotation.fleet import Settings
from node_rotation.model import Batch, GroupPlan, Plan
from node_rotation.outside import Outside
from node_rotation.policy import Policy
from node_rotation.world import Clock, Cloud, Cluster, Lease, Snapshot


class Look(Protocol):
    """One observation, shared by all who wait for it."""

    def __call__(self) -> Snapshot:
        """The current observation."""
        ...

    def forget(self) -> None:
        """Look anew next time: the caller just changed the world."""
        ...

    def saw(self, lease: Lease | None) -> None:
        """The caller just read or wrote the Lease: the next look shows this one."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """A plan being carried out.

    :param id: the lock's holder: Airflow's run id, or one the CLI made.
    :param look: one observation of the cluster, shared for ``policy.poll`` seconds.
    """

    id: str
    plan: Plan
    settings: Settings
    cloud: Cloud
    cluster: Cluster
    clock: Clock
    look: Look
    outside: Outside

    def policy(self, batch: Batch) -> Policy:
        """The policy of a batch's group."""
        return self.settings.groups[batch.group]

    def group(self, batch: Batch) -> GroupPlan:
        """The plan of a batch's group."""
        return self.plan.group(batch.group)


class SharedLook:
    """All who wait in one process share one observation per cluster and interval.

    :param observe: makes an observation.
    :param ttl_s: how long one is shared, in seconds.
    """

    def __init__(self, observe: Callable[[], Snapshot], clock: Clock, ttl_s: float) -> None:
        self._observe, self._clock, self._ttl_s = observe, clock, ttl_s
        self._lock = threading.Lock()
        self._last: Snapshot | None = None

    def __call__(self) -> Snapshot:
        """The current observation, made anew if the last one is too old."""
        with self._lock:
            if self._last is None or self._clock.now() - self._last.taken_at >= self._ttl_s:
                self._last = self._observe()
            return self._last

    def forget(self) -> None:
        """Look anew next time: the caller just changed the world."""
        with self._lock:
            self._last = None

    def saw(self, lease: Lease | None) -> None:
        """The caller just read or wrote the Lease: show it without observing everything again."""
        with self._lock:
            if self._last is not None:
                self._last = replace(self._last, lease=lease)
