"""What a drain does with each pod, and what the API server's answer means."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from node_rotation.outcome import Blocked
from node_rotation.policy import DrainPolicy
from node_rotation.world import Budget, EvictionAnswer, Pod


@dataclass(frozen=True, slots=True)
class Leave:
    """The pod does not keep the machine: DaemonSet, mirror, finished."""

    why: str


@dataclass(frozen=True, slots=True)
class Evict:
    """Ask the Eviction API now.

    :param grace_s: overrides the pod's own grace period, seconds; None keeps it.
    """

    grace_s: float | None = None


@dataclass(frozen=True, slots=True)
class WaitFor:
    """The pod goes, or may be evicted, by itself later."""

    why: str


@dataclass(frozen=True, slots=True)
class Block:
    """Only a person or the policy can let this pod go."""

    blocked: Blocked


@dataclass(frozen=True, slots=True)
class Force:
    """The policy's ``force_after`` has passed: delete by UID, past its budget."""

    grace_s: float | None = None


PodDecision = Leave | Evict | WaitFor | Block | Force


def decide(
    pod: Pod, policy: DrainPolicy, budgets: Iterable[Budget], *, drain_started_at: float, now: float
) -> PodDecision:
    """Decide about one pod of a machine that is being drained.

    :param budgets: every PodDisruptionBudget of the cluster.
    :param drain_started_at: epoch seconds.
    :param now: epoch seconds.
    """
    if pod.mirror or (pod.owner is not None and pod.owner.kind == "DaemonSet"):
        return Leave("DaemonSet")
    if pod.terminating_since is not None:
        return WaitFor(f"pod {pod.key} is terminating")
    return Evict(policy.grace)


def order(pods: Iterable[Pod]) -> tuple[Pod, ...]:
    """The order of evictions: low priority first, then by name so that two actors agree."""
    return tuple(sorted(pods, key=lambda pod: (pod.priority, pod.key)))


def covering(pod: Pod, budgets: Iterable[Budget]) -> tuple[Budget, ...]:
    """The budgets that protect a pod."""
    return tuple(b for b in budgets if selects(b, pod))


def selects(budget: Budget, pod: Pod) -> bool:
    """Whether a budget's selector matches a pod (same namespace)."""
    return budget.namespace == pod.namespace and all(pod.labels.get(k) == v for k, v in budget.selector.items())


def structural(pod: Pod, budgets: Iterable[Budget]) -> Blocked | None:
    """Why no eviction of this pod can ever be allowed, or None: several budgets, or one without any room."""
    return None


def read_answer(answer: EvictionAnswer, pod: Pod, budgets: Iterable[Budget]) -> Leave | WaitFor | Block:
    """What the API server's answer means for the drain.

    :returns: Leave (gone), WaitFor (accepted, refused for now, throttled), or Block.
    """
    return WaitFor(f"pod {pod.key}")
