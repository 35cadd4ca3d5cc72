"""What a drain does with each pod, and what the API server's answer means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from node_rotation import names
from node_rotation.outcome import Blocked
from node_rotation.policy import DrainPolicy, PodRule
from node_rotation.workloads.do_not_disrupt import node_asks, pod_asks
from node_rotation.workloads.rolling import to_roll
from node_rotation.world.answers import Denied, EvictionAnswer, Misconfigured, PodGone, RefusedByBudget, Throttled
from node_rotation.world.kubernetes import Budget, Node, Pod, Workload

NEXT_RUN = "in the fleet file for the next run (each keeps its settings)"
"""Where the remedy is a setting: it is named in the midst of runs, too, which read the fleet file once."""


@dataclass(frozen=True, slots=True)
class Leave:
    """The pod does not keep the machine: DaemonSet, mirror, finished, gone, or come back to it."""

    why: str


@dataclass(frozen=True, slots=True)
class Evict:
    """Ask the Eviction API now.

    :param grace_s: overrides the pod's own grace period, seconds; None keeps it.
    """

    grace_s: float | None = None


@dataclass(frozen=True, slots=True)
class WaitFor:
    """The pod goes, or may be evicted, by itself later.

    :param retry_after_s: seconds the API server asked for; 0 if it did not.
    """

    why: str
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Block:
    """Only a person or the policy can let this pod go."""

    blocked: Blocked


@dataclass(frozen=True, slots=True)
class Force:
    """The policy's ``force_after`` has passed: delete by UID, past its budget."""

    grace_s: float | None = None


@dataclass(frozen=True, slots=True)
class Roll:
    """Have the pod's Deployment start its successor; the pod goes by itself once that is Ready."""

    deployment: Workload


PodDecision = Leave | Evict | WaitFor | Block | Force | Roll


def decide(
    pod: Pod,
    policy: DrainPolicy,
    budgets: Iterable[Budget],
    *,
    workloads: Iterable[Workload] = (),
    node: Node | None = None,
    drain_started_at: float,
    now: float,
    asked: bool = True,
) -> PodDecision:
    """Decide about one pod of a machine that is being drained.

    :param budgets: every PodDisruptionBudget of the cluster (those of the pod's namespace suffice).
    :param workloads: every workload of the cluster, for ``drain.roll_single_replicas``.
    :param node: the pod's, which says whether the pod came back to it.
    :param drain_started_at: epoch seconds; when it was first looked at again, if nobody could for a while.
    :param now: epoch seconds.
    :param asked: whether its eviction was asked for since: nothing is forced that may go by itself.
    """
    protecting = covering(pod, budgets)
    if why := left_alone(pod, node):
        return Leave(why)
    forced = policy.force_after is not None and now - drain_started_at >= policy.force_after
    if pod.terminating_since is not None:
        return _terminating(pod, pod.terminating_since, forced, now)
    if forced:
        at_once = asked or policy.force_after == 0 or _structural(pod, protecting)
        return Force(policy.grace) if at_once else Evict(policy.grace)
    held = _by_rule(pod, policy, now)
    if held is not None:
        return held
    if policy.roll_single_replicas and (deployment := to_roll(pod, workloads)):
        return _rolling(pod, deployment)
    blocked = _structural(pod, protecting)
    return Block(blocked) if blocked else Evict(policy.grace)


def _rolling(pod: Pod, deployment: Workload) -> Roll | WaitFor:
    """Once for each pod: what it was rolled for is written on the Deployment."""
    if deployment.rolled_for != pod.uid:
        return Roll(deployment)
    return WaitFor(f"pod {pod.key} leaves once its successor is Ready: {deployment.key} is rolled")


def decide_node(node: Node, policy: DrainPolicy, *, drain_started_at: float, now: float) -> Block | WaitFor | None:
    """Whether a node's own annotation keeps its pods where they are; None if they may go.

    :param drain_started_at: epoch seconds.
    :param now: epoch seconds.
    """
    asks = node_asks(node)
    forced = policy.force_after is not None and now - drain_started_at >= policy.force_after
    if not asks or forced or policy.do_not_disrupt is PodRule.EVICT:
        return None
    if policy.do_not_disrupt is PodRule.WAIT:
        return WaitFor(f"{asks}; drain.do_not_disrupt: wait")
    remedy = f"remove the annotation, or set drain.do_not_disrupt to evict or wait {NEXT_RUN}"
    return Block(Blocked(asks, (f"node {node.name}",), remedy))


def order(pods: Iterable[Pod]) -> tuple[Pod, ...]:
    """The order of evictions: low priority first, then by name so that two actors agree."""
    return tuple(sorted(pods, key=lambda pod: (pod.priority, pod.key)))


def covering(pod: Pod, budgets: Iterable[Budget]) -> tuple[Budget, ...]:
    """The budgets that protect a pod."""
    return tuple([budget for budget in budgets if selects(budget, pod)])


def selects(budget: Budget, pod: Pod) -> bool:
    """Whether a budget selects a pod: same namespace, every label and every expression.

    An empty selector selects every pod of the namespace (policy/v1); a budget without any selector selects
    none and is left out by the clients.
    """
    if budget.namespace != pod.namespace:
        return False
    for key, value in budget.selector.items():
        if pod.labels.get(key) != value:
            return False
    return not budget.expressions or all(_matches(pod, *expression) for expression in budget.expressions)


def structural(pod: Pod, budgets: Iterable[Budget]) -> Blocked | None:
    """Why no eviction of this pod can ever be allowed, or None.

    Two things never clear by waiting: several budgets over one pod (the Eviction API answers 500), and a budget
    that wants as many healthy pods as there are. A pod that does not run yet may always go, an unready one if
    its budget has the healthy pods it wants, or says ``unhealthyPodEvictionPolicy: AlwaysAllow``.

    :param budgets: every budget of the cluster, or those that cover the pod.
    """
    return _structural(pod, covering(pod, budgets))


def _structural(pod: Pod, found: tuple[Budget, ...]) -> Blocked | None:
    if pod.phase == "Pending":
        return None
    if len(found) > 1:
        return Blocked(
            f"more than one PodDisruptionBudget ({', '.join(b.key for b in found)}) covers the same pod: "
            "the Eviction API refuses it",
            (f"pod {pod.key}", *(f"pdb {b.key}" for b in found)),
            "leave one budget over each pod",
        )
    for budget in found:
        if _never_allows(budget) and (pod.ready or not _lets_unhealthy_go(budget)):
            return Blocked(
                f"PodDisruptionBudget {budget.key} can never allow an eviction: it wants {budget.desired_healthy} "
                f"healthy of {budget.expected}",
                (f"pdb {budget.key}", f"pod {pod.key}"),
                "raise the replicas, or lower minAvailable / raise maxUnavailable",
            )
    return None


def read_answer(answer: EvictionAnswer, pod: Pod, budgets: Iterable[Budget]) -> Leave | WaitFor | Block:
    """What the API server's answer means for the drain.

    :returns: Leave (gone), WaitFor (accepted, refused or denied for now, throttled), or Block.
    """
    if isinstance(answer, PodGone):
        return Leave("gone")
    if isinstance(answer, Throttled):
        return WaitFor(f"pod {pod.key}: the API server is busy", answer.retry_after_s)
    if isinstance(answer, Denied):
        return WaitFor(f"pod {pod.key}: {answer.message}")
    found = covering(pod, budgets)
    if isinstance(answer, Misconfigured):
        reason = f"the API server can't evict: {answer.message}"
        objects = (f"pod {pod.key}", *(f"pdb {b.key}" for b in found))
        return Block(structural(pod, found) or Blocked(reason, objects, "correct the pod's PodDisruptionBudgets"))
    if isinstance(answer, RefusedByBudget):
        blocked = structural(pod, found)
        names = ", ".join(b.key for b in found) or "its budget"
        why = f"pod {pod.key}: pdb {names} allows no disruption now"
        return Block(blocked) if blocked else WaitFor(why, answer.retry_after_s)
    return WaitFor(f"pod {pod.key} is leaving")


def left_alone(pod: Pod, node: Node | None = None) -> str:
    """Why a drain leaves a pod where it is; empty if it has to go.

    :param node: the pod's; None asks of what is there before a drain, to which no pod has come back.
    """
    if pod.mirror:
        return "mirror pod: it lives and dies with its machine"
    if pod.owner is not None and pod.owner.kind == "DaemonSet":
        return "DaemonSet pod: its controller would put it back at once"
    if pod.phase in ("Succeeded", "Failed"):
        return "finished"
    if may_come_back(pod) and (since := drained_since(node)) is not None and pod.created_at >= since:
        return "tolerates every taint: it came back to this machine after its drain had begun, and would again"
    return ""


def may_come_back(pod: Pod) -> bool:
    """Whether a pod's successor may be scheduled onto the same machine, for a cordon is a taint as well."""
    return pod.tolerates_everything and pod.owner is not None


def drained_since(node: Node | None) -> float | None:
    """When the drain of a cordoned node began from which pods may have come back; None if no such drain is known."""
    said = node.annotations.get(names.DRAINED_SINCE) if node is not None and node.unschedulable else None
    try:
        return None if said is None else float(said)
    except ValueError:  # somebody else wrote it
        return None


def _terminating(pod: Pod, since: float, forced: bool, now: float) -> PodDecision:
    """A terminating pod is waited for, never evicted again; stuck past its grace it goes by policy only."""
    over_s = now - since - pod.grace_s
    if forced and over_s > 0:
        return Force(0.0)
    finalizers = f", finalizers {', '.join(pod.finalizers)}" if pod.finalizers else ""
    overdue = f", past its grace period of {pod.grace_s:.0f}s" if over_s > 0 else ""
    return WaitFor(f"pod {pod.key} is terminating{overdue}{finalizers}")


def _by_rule(pod: Pod, policy: DrainPolicy, now: float) -> Block | WaitFor | None:
    """The strictest of the policy's rules that concern this pod."""
    rules = list(_rules(pod, policy, now))
    for rule, setting, what in rules:
        if rule is PodRule.BLOCK:
            return Block(
                Blocked(
                    what,
                    (f"pod {pod.key}",),
                    f"remove the pod, or set drain.{setting} to evict or wait {NEXT_RUN}",
                )
            )
    for rule, setting, what in rules:
        if rule is PodRule.WAIT:
            return WaitFor(f"pod {pod.key}: {what} (drain.{setting}: wait)")
    return None


def _rules(pod: Pod, policy: DrainPolicy, now: float) -> Iterator[tuple[PodRule, str, str]]:
    if asks := pod_asks(pod, now):
        yield policy.do_not_disrupt, "do_not_disrupt", asks
    if pod.owner is None:
        yield policy.bare_pods, "bare_pods", "a pod without a controller would be lost"
    elif pod.owner.kind == "Job":
        yield policy.jobs, "jobs", "a Job's pod would have to start over"
    if pod.empty_dir:
        yield policy.empty_dir, "empty_dir", "a pod's emptyDir would be lost"


def _never_allows(budget: Budget) -> bool:
    return budget.observed and 0 < budget.expected <= budget.desired_healthy


def _lets_unhealthy_go(budget: Budget) -> bool:
    """https://kubernetes.io/docs/tasks/run-application/configure-pdb/#unhealthy-pod-eviction-policy"""
    return budget.always_allow_unhealthy or budget.healthy >= budget.desired_healthy


def _matches(pod: Pod, key: str, operator: str, values: tuple[str, ...]) -> bool:
    """One matchExpression, as a Kubernetes label selector reads it (a missing key satisfies NotIn)."""
    value = pod.labels.get(key)
    match operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    return False
