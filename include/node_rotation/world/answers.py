"""What the API server may answer to an eviction."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Evicted:
    """The API server accepted the eviction."""


@dataclass(frozen=True, slots=True)
class RefusedByBudget:
    """429 with a DisruptionBudget cause: the budget allows no disruption now."""

    message: str
    retry_after_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Throttled:
    """429 without that cause: the API server is busy."""

    retry_after_s: float


@dataclass(frozen=True, slots=True)
class Denied:
    """An admission webhook denied it, with whatever code: its own say about this one pod."""

    message: str


@dataclass(frozen=True, slots=True)
class Misconfigured:
    """500: e.g. more than one budget covers the pod; no retry will help."""

    message: str


@dataclass(frozen=True, slots=True)
class PodGone:
    """404, or 409 because another pod has the name now: this pod is gone."""


EvictionAnswer = Evicted | RefusedByBudget | Throttled | Denied | Misconfigured | PodGone
