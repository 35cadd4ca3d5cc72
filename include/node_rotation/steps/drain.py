"""Drain: every pod leaves the old machines through the Eviction API, so that no budget is broken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from math import inf
from types import MappingProxyType

from node_rotation import lock, names, sickness
from node_rotation.errors import BlockedError, GoneError, TransientError
from node_rotation.eviction import (
    Block,
    Evict,
    Force,
    PodDecision,
    Roll,
    WaitFor,
    covering,
    decide,
    decide_node,
    drained_since,
    left_alone,
    may_come_back,
    order,
    read_answer,
)
from node_rotation.ledger import DENIAL_LENGTH, MOST_DENIED, Ledger, claim_change
from node_rotation.model import Batch, StepName
from node_rotation.outcome import CLEAR_BATCH, Blocked, Done, Outcome, Waiting
from node_rotation.policy import DrainPolicy, Policy
from node_rotation.run import Run
from node_rotation.steps.scene import Scene, acting, busy_pods, ledger_of, over, scene, span, taken_back
from node_rotation.steps.step import MARGIN_S
from node_rotation.steps.taken import counted
from node_rotation.workloads.lost import lost
from node_rotation.world.answers import Denied, Evicted, EvictionAnswer, RefusedByBudget, Throttled
from node_rotation.world.kubernetes import Node, Pod
from node_rotation.world.snapshot import Snapshot

NOTHING_DENIED: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Drain:
    """Done once only DaemonSet, mirror and finished pods are left on the old machines, and such as came back."""

    name: StepName = StepName.DRAIN

    def act(self, run: Run, batch: Batch) -> None:
        """Evict what may be evicted now."""
        if over(run, batch):
            return
        place = acting(run, batch)
        if not place.claim.open or not place.old_nodes():
            return
        if place.claim.drain_since is None:
            ledger = lock.change(run, lambda now: _started(place, now))
            claim = ledger.claim(batch.name)
            if claim is None or claim.drain_since is None:
                return  # another batch has just begun: wait_between_drains
        policy = run.policy(batch).drain
        heed(evict_from(run, place.snapshot, place.old_nodes(), _since(place), policy, batch.name).stopped)

    def look(self, run: Run, batch: Batch) -> Outcome:
        """Done, or each pod that is still there and why; Blocked by a pod or once the time is up."""
        if over(run, batch):
            return Done("the old machines are gone")
        place = scene(run, batch)
        if isinstance(place, Blocked):
            return place
        if back := taken_back(place):
            return back
        policy, since = run.policy(batch), _since(place)
        if place.claim.drain_since is None and (pause := _pause(place, place.ledger)) > 0:
            return Waiting(
                (f"wait_between_drains: {span(policy.wait_between_drains)} between two drains",),
                min(pause, policy.poll),
            )
        return standing(place.snapshot, place.old_nodes(), policy, since, place.now, place.claim.denied)

    def timeout_s(self, run: Run, batch: Batch) -> float:
        """The policy's ``drain.timeout``, the pauses between drains, and a margin."""
        return run.policy(batch).drain.timeout + self._pauses(run, batch) + MARGIN_S

    @staticmethod
    def _pauses(run: Run, batch: Batch) -> float:
        return run.policy(batch).wait_between_drains * len(run.plan.batches)


def standing(
    snapshot: Snapshot,
    nodes: tuple[Node, ...],
    policy: Policy,
    since: float,
    now: float,
    denied: Mapping[str, str] = NOTHING_DENIED,
) -> Outcome:
    """How a drain stands: Done, or each pod that is still there and why; Blocked by one, or once the time is up.

    :param nodes: what is drained.
    :param since: when the drain began, epoch seconds.
    :param denied: what webhooks said of which pod.
    """
    left = [p for node in nodes for p in busy_pods(snapshot, node)]
    kept = _kept(nodes, policy.drain, since, now)
    if isinstance(kept, Blocked):
        return kept
    if not left and not kept:
        given_up = (said for n in nodes for p in snapshot.pods_on(n.name) if (said := lost(p, n, snapshot)))
        return Done("; ".join(("the old machines are empty", *given_up)))
    if now - since > policy.drain.timeout:
        return _timed_out(snapshot, nodes, left, kept, policy.drain, denied)
    why = _why(snapshot, left, policy.drain, since, now, denied)
    return why if isinstance(why, Blocked) else Waiting((*kept, *why), policy.poll)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the API server said as a drain asked for its evictions.

    ``stopped`` is what it stopped the drain with, for :func:`heed`: it is busy, or it can't evict a pod at all.
    ``denied`` are the pods that an admission webhook keeps (``namespace/name``), each with its words.
    """

    stopped: WaitFor | Block | None
    denied: Mapping[str, str]


def evict_from(
    run: Run, snapshot: Snapshot, nodes: tuple[Node, ...], since: float, policy: DrainPolicy, batch: str | None
) -> Asked:
    """Ask for every eviction that may be asked for now.

    :param since: when this drain began, epoch seconds.
    :param batch: whose claim keeps the time of the last eviction granted, for ``wait_between_evictions``, and what
        webhooks deny.
    """
    now = run.clock.now()
    free = [node for node in nodes if decide_node(node, policy, drain_started_at=since, now=now) is None]
    pods = order(p for node in free for p in snapshot.pods_on(node.name))
    _remember(run, snapshot, free)
    said: dict[str, str] = {}
    stopped: WaitFor | Block | None = None
    for pod, answer in _answers(run, snapshot, free, pods, since, policy, batch):
        said[pod.key] = answer.message[:DENIAL_LENGTH] if isinstance(answer, Denied) else ""
        meaning = read_answer(answer, pod, snapshot.budgets)
        if isinstance(meaning, Block) or (isinstance(answer, Throttled) and isinstance(meaning, WaitFor)):
            stopped = meaning
            break
        if batch is not None and policy.wait_between_evictions and isinstance(answer, Evicted):
            lock.change(run, claim_change(batch, last_eviction=run.clock.now()))
    return Asked(stopped, _denied(run, snapshot, pods, said, batch))


def _remember(run: Run, snapshot: Snapshot, nodes: Iterable[Node]) -> None:
    """Write on each Node since when it is drained, before a pod goes that may come back to it, and again and again."""
    for node in nodes:
        if drained_since(node) is not None or not any(_may_return(p) for p in snapshot.pods_on(node.name)):
            continue
        lock.require(run)
        with suppress(GoneError):
            run.cluster.annotate(node.name, node.uid, {names.DRAINED_SINCE: f"{run.clock.now():.3f}"})
        run.look.forget()


def _may_return(pod: Pod) -> bool:
    return may_come_back(pod) and not left_alone(pod)


def _answers(
    run: Run,
    snapshot: Snapshot,
    nodes: Iterable[Node],
    pods: Iterable[Pod],
    since: float,
    policy: DrainPolicy,
    batch: str | None,
) -> Iterator[tuple[Pod, EvictionAnswer]]:
    """Each pod that may go now, and what the API server says to that, until its turn has not come."""
    of = {node.name: node for node in nodes}
    budgets, workloads = snapshot.budgets, snapshot.workloads
    for pod in pods:
        now = run.clock.now()
        decision = decide(
            pod,
            policy,
            budgets,
            workloads=workloads,
            node=of[pod.node],
            drain_started_at=since,
            now=now,
            asked=run.asked.get(pod.uid, -inf) >= snapshot.watched_since,
        )
        if not isinstance(decision, Evict | Force | Roll):
            continue
        ledger = lock.require(run).ledger
        if batch is not None and _too_soon(run, ledger, batch, policy):
            return
        yield pod, _let_go(run, pod, decision)


def _denied(
    run: Run, snapshot: Snapshot, pods: Iterable[Pod], said: Mapping[str, str], batch: str | None
) -> Mapping[str, str]:
    """What webhooks deny of these pods, the first few; of pods not asked now, as a batch's claim has it.

    :param said: the words of this look, none for a pod that no webhook denied.
    """
    ledger = ledger_of(snapshot.lease, run.id)
    claim = ledger.claim(batch) if ledger is not None and batch is not None else None
    known = {**(claim.denied if claim else {}), **said}
    denied = dict(islice(((pod.key, known[pod.key]) for pod in pods if known.get(pod.key)), MOST_DENIED))
    if claim is not None and denied != claim.denied:
        lock.change(run, claim_change(claim.batch, denied=denied))
    return denied


def heed(stopped: WaitFor | Block | None) -> None:
    """Tell whoever drives a drain what the API server stopped it with.

    :raises TransientError: it is busy; after the seconds it asked for.
    :raises BlockedError: it can't evict a pod, in its own words.
    """
    if isinstance(stopped, Block):
        raise BlockedError(stopped.blocked)
    if stopped is not None:
        raise TransientError(stopped.why, stopped.retry_after_s)


def _let_go(run: Run, pod: Pod, decision: Evict | Force | Roll) -> EvictionAnswer:
    """Have one pod go; what the API server says to that."""
    answer: EvictionAnswer = Evicted()
    if isinstance(decision, Evict):
        answer = run.cluster.evict(pod, decision.grace_s)
        if not isinstance(answer, Throttled):
            run.asked[pod.uid] = run.clock.now()
    else:
        with suppress(GoneError):
            if isinstance(decision, Roll):
                run.cluster.roll(decision.deployment, pod.uid)
            else:
                run.cluster.delete_pod(pod, decision.grace_s)
    if not isinstance(answer, RefusedByBudget | Throttled | Denied):
        run.look.forget()
    return answer


def _too_soon(run: Run, ledger: Ledger, batch: str, policy: DrainPolicy) -> bool:
    claim = ledger.claim(batch)
    last = claim.last_eviction if claim else None
    return last is not None and run.clock.now() - last < policy.wait_between_evictions


def _since(place: Scene) -> float:
    """When the drain began; when it could be looked at again, if nobody could since."""
    began = place.claim.drain_since if place.claim.drain_since is not None else place.now
    return max(began, place.snapshot.watched_since)


def _pause(place: Scene, ledger: Ledger) -> float:
    """Seconds until this batch may begin to drain, counted from the last one that began."""
    wait = place.run.settings.groups[place.claim.group].wait_between_drains
    begun = [c.drain_since for c in ledger.claims if c.drain_since is not None and c.batch != place.claim.batch]
    return max(begun) + wait - place.now if begun and wait else 0.0


def _started(place: Scene, ledger: Ledger) -> Ledger:
    """The claim with its drain's beginning and the workloads that will be evicted, for the gate."""
    claim = ledger.claim(place.claim.batch)
    if claim is None or claim.drain_since is not None or _pause(place, ledger) > 0:
        return ledger
    pods = [p for node in place.old_nodes() for p in busy_pods(place.snapshot, node)]
    taken = counted(pods, place.snapshot.workloads)
    claim = claim.model_copy(update={"drain_since": place.now, **taken.fields})
    return sickness.without_recovered(ledger, place.snapshot).with_claim(claim)


def _kept(nodes: tuple[Node, ...], policy: DrainPolicy, since: float, now: float) -> tuple[str, ...] | Blocked:
    """The nodes that ask not to be disrupted themselves."""
    found = [decide_node(node, policy, drain_started_at=since, now=now) for node in nodes]
    blocked = next((one.blocked for one in found if isinstance(one, Block)), None)
    return blocked or tuple(one.why for one in found if isinstance(one, WaitFor))


def _timed_out(
    snapshot: Snapshot,
    drained: tuple[Node, ...],
    left: list[Pod],
    kept: tuple[str, ...],
    policy: DrainPolicy,
    denied: Mapping[str, str],
) -> Blocked:
    keys = tuple(f"pod {p.key}{_held(p, denied)}" for p in left)
    budgets = {f"pdb {b.key}" for p in left for b in covering(p, snapshot.budgets)}
    forced = "drain.force_after in the fleet file has the next run delete them past their budgets."
    then = forced if policy.force_after is None else f"then start again; in Airflow {CLEAR_BATCH}"
    remedy = f"Let these pods go, or make room in their budgets; {then}"
    what = "; ".join([*([f"{len(left)} pods did not leave"] if left else []), *kept])
    nodes = tuple(f"node {n.name}" for n in drained) if kept else ()
    return Blocked(f"{what}: {span(policy.timeout)} are over", (*keys, *sorted(budgets), *nodes), remedy)


def _held(pod: Pod, denied: Mapping[str, str]) -> str:
    """What keeps a pod: a webhook, or what it waits for that is terminating already."""
    if pod.terminating_since is None:
        return f", {denied[pod.key]}" if pod.key in denied else ""
    return f", terminating, finalizers {', '.join(pod.finalizers)}" if pod.finalizers else ", terminating"


def _why(
    snapshot: Snapshot, left: list[Pod], policy: DrainPolicy, since: float, now: float, denied: Mapping[str, str]
) -> tuple[str, ...] | Blocked:
    reasons = []
    for pod in left:
        decision = decide(pod, policy, snapshot.budgets, workloads=snapshot.workloads, drain_started_at=since, now=now)
        if isinstance(decision, Block):
            return decision.blocked
        reasons.append(_reason(pod, decision, snapshot, denied))
    return tuple(reasons)


def _reason(pod: Pod, decision: PodDecision, snapshot: Snapshot, denied: Mapping[str, str]) -> str:
    if isinstance(decision, WaitFor):
        return f"{decision.why} on node {pod.node}"
    if isinstance(decision, Roll):
        return f"{decision.deployment.key} is to be rolled (pod {pod.key} on {pod.node})"
    if pod.key in denied:
        return f"pod {pod.key} on node {pod.node}: {denied[pod.key]}"
    tight = [b for b in covering(pod, snapshot.budgets) if b.disruptions_allowed < 1]
    if tight:
        return f"pdb {tight[0].key} allows no disruption now (pod {pod.key} on {pod.node})"
    return f"pod {pod.key} on node {pod.node} is to be evicted"
