"""The health gate: is the cluster at least as well as before, apart from what was broken already."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from node_rotation.world.aws import LEAVING
from node_rotation.world.kubernetes import Pod, Workload
from node_rotation.world.snapshot import Snapshot

SYSTEM_NAMESPACE = "kube-system"
UNHEARD = "NodeStatusUnknown"
"""Why a Node is NotReady whose kubelet does not reach the API server (Kubernetes: node lifecycle controller)."""
Count = tuple[int, int]
"""how many are well, of how many"""
_Finding = tuple[str, bool]
"""reason, whether the cause lies on a new node"""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was broken before the run touched anything; only regressions against it count.

    :param not_ready: names of nodes.
    :param unhealthy: keys of workloads (``Deployment shop/api``), each with how many of its pods were Ready.
    :param broken_budgets: keys of PodDisruptionBudgets below their desired health, each with how many were healthy.
    :param unready_system_pods: keys of pods of ``kube-system``.
    """

    not_ready: frozenset[str] = frozenset()
    unhealthy: Mapping[str, Count] = field(default_factory=dict)
    broken_budgets: Mapping[str, Count] = field(default_factory=dict)
    unready_system_pods: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Health:
    """The gate's verdict of one look.

    :param reasons: what is worse than before, each naming its object; empty is green.
    :param image_fault: the cause lies on new nodes.
    :param suspects: keys of workloads that fail on new nodes alone, too few of them to blame the image.
    """

    reasons: tuple[str, ...] = ()
    image_fault: bool = False
    suspects: tuple[str, ...] = ()

    @property
    def green(self) -> bool:
        """Nothing is worse than before."""
        return not self.reasons


def baseline_of(snapshot: Snapshot) -> Baseline:
    """What is broken now, to be recorded before anything changes."""
    return Baseline(
        not_ready=frozenset(node.name for node in snapshot.nodes if not node.ready),
        unhealthy={w.key: (w.ready, w.desired) for w in snapshot.workloads if w.ready < w.desired},
        broken_budgets={
            b.key: (b.healthy, b.desired_healthy) for b in snapshot.budgets if b.healthy < b.desired_healthy
        },
        unready_system_pods=frozenset(p.key for p in snapshot.pods if _system(p) and _unready(p)),
    )


def judge(
    snapshot: Snapshot,
    baseline: Baseline,
    *,
    evicted: Collection[str],
    new_machines: Collection[str],
    leaving: Collection[str] = (),
) -> Health:
    """Judge the cluster for one batch: regressions only.

    :param evicted: keys of the workloads whose pods the batch evicted, from :func:`workload_of`.
    :param new_machines: instance ids of the batch's replacements.
    :param leaving: instance ids in flight in any batch, old machines and other batches' replacements: their Nodes
        may be anything just now.
    """
    new = {node.name for node in snapshot.nodes if node.instance_id and node.instance_id in new_machines}
    away = {
        node.name
        for node in snapshot.nodes
        if node.instance_id and node.instance_id in leaving and node.name not in new
    }
    blamed = new - _excused(snapshot, baseline, new)
    lagging = _lagging(snapshot, baseline, evicted)
    suspects = [w for w, pods in lagging if pods and all(pod.node in blamed for pod in pods)]
    findings = [
        *_machines_without_node(snapshot, baseline, new_machines),
        *_nodes(snapshot, baseline, new, away, blamed),
        *((_short(workload, pods, baseline), False) for workload, pods in lagging),
        *_budgets(snapshot, baseline),
        *_system_pods(snapshot, baseline, blamed, away),
        *_daemons(snapshot, baseline, new, blamed),
    ]
    reasons = tuple(dict.fromkeys(reason for reason, _ in findings))
    fault = any(fault for _, fault in findings) or _unrelated(suspects)
    return Health(reasons, fault, () if fault else tuple(w.key for w in suspects))


def workload_of(pod: Pod, workloads: Iterable[Workload]) -> str | None:
    """The key of the workload a pod belongs to, or None.

    A ReplicaSet's Deployment is known by its name: the Deployment controller appends one hash to it.
    """
    key = owner_key(pod)
    return key if any(w.key == key for w in workloads) else None


def ails_elsewhere(snapshot: Snapshot, machine: str, reason: str, before: Collection[str]) -> bool:
    """Whether a machine on another image is NotReady for the same reason, and was Ready: then the image is not why.

    :param machine: a new machine's instance id.
    :param reason: why its Node is NotReady, without the message; :data:`UNHEARD` if it has none.
    :param before: names of nodes that were NotReady before the run.
    """
    members = (member for group in snapshot.groups.values() for member in group.members)
    serving = {member.instance_id for member in members if not member.lifecycle.startswith(LEAVING)}
    image = _image(snapshot, machine)
    return any(
        node.instance_id in serving and not node.ready and node.ready_reason == reason and node.name not in before
        for node in snapshot.nodes
        if _image(snapshot, node.instance_id) not in (None, image)
    )


def _image(snapshot: Snapshot, machine: str) -> str | None:
    instance = snapshot.instances.get(machine)
    return instance.image_id if instance else None


def _excused(snapshot: Snapshot, baseline: Baseline, new: Collection[str]) -> set[str]:
    """The new nodes that are not well for a reason for which old ones are not either."""
    return {
        node.name
        for node in snapshot.nodes
        if node.name in new
        and not node.ready
        and ails_elsewhere(snapshot, node.instance_id, node.ready_reason, baseline.not_ready)
    }


def _machines_without_node(snapshot: Snapshot, baseline: Baseline, new_machines: Collection[str]) -> Iterator[_Finding]:
    joined = {node.instance_id for node in snapshot.nodes}
    for machine in sorted(set(new_machines) - joined):
        yield f"machine {machine} has no Node", not ails_elsewhere(snapshot, machine, UNHEARD, baseline.not_ready)


def _nodes(
    snapshot: Snapshot, baseline: Baseline, new: set[str], away: set[str], blamed: set[str]
) -> Iterator[_Finding]:
    """Nodes of our groups; those of other provisioners come and go by themselves."""
    ours = {member.instance_id for group in snapshot.groups.values() for member in group.members}
    for node in snapshot.nodes:
        if node.ready or node.name in baseline.not_ready or node.name in away:
            continue
        if node.name in new or node.instance_id in ours:
            yield f"node {node.name} is NotReady ({node.why_not_ready})", node.name in blamed


def _lagging(
    snapshot: Snapshot, baseline: Baseline, evicted: Collection[str]
) -> tuple[tuple[Workload, tuple[Pod, ...]], ...]:
    """The evicted workloads that are not back, each with its pods that are not Ready."""
    lagging = {w.key: w for w in snapshot.workloads if w.key in evicted and _worse(w, baseline)}
    unready: dict[str, list[Pod]] = {key: [] for key in lagging}
    for pod in snapshot.pods if lagging else ():
        key = owner_key(pod)
        if key in unready and _unready(pod):
            unready[key].append(pod)
    return tuple((workload, tuple(unready[key])) for key, workload in lagging.items())


def _worse(workload: Workload, baseline: Baseline) -> bool:
    return _fewer((workload.ready, workload.desired), baseline.unhealthy.get(workload.key))


def _fewer(now: Count, before: Count | None) -> bool:
    """Whether some are missing, and more than were missing before: who only scales it takes nobody away."""
    well, wanted = now
    if before is None:
        return well < wanted
    return well < before[0] and wanted - well > before[1] - before[0]


def _left_out(snapshot: Snapshot, baseline: Baseline) -> frozenset[str]:
    """The keys of the workloads that are no worse than they were, broken."""
    return frozenset(baseline.unhealthy) - {w.key for w in snapshot.workloads if _worse(w, baseline)}


def _short(workload: Workload, pods: tuple[Pod, ...], baseline: Baseline) -> str:
    where = f" ({', '.join(_place(pod) for pod in pods[:3])})" if pods else ""
    return f"{workload.key}: {workload.ready} of {workload.desired} Ready{_earlier(workload.key, baseline)}{where}"


def _earlier(key: str, baseline: Baseline) -> str:
    before = baseline.unhealthy.get(key) or baseline.broken_budgets.get(key)
    return f", {before[0]} of {before[1]} before the run" if before else ""


def _unrelated(suspects: Collection[Workload]) -> bool:
    """Whether more than one application fails on new nodes alone; those of one namespace may need each other.

    One proves nothing: our taint keeps evicted pods off the old nodes, so that a new one is where they fail anyway.
    """
    return len({workload.namespace for workload in suspects}) > 1


def _budgets(snapshot: Snapshot, baseline: Baseline) -> Iterator[_Finding]:
    for budget in snapshot.budgets:
        count = budget.healthy, budget.desired_healthy
        if budget.expected and _fewer(count, baseline.broken_budgets.get(budget.key)):
            yield f"pdb {budget.key}: {count[0]} of {count[1]} pods healthy{_earlier(budget.key, baseline)}", False


def _system_pods(snapshot: Snapshot, baseline: Baseline, blamed: set[str], away: set[str]) -> Iterator[_Finding]:
    left_out = _left_out(snapshot, baseline)
    for pod in snapshot.pods:
        if not _system(pod) or not _unready(pod) or pod.node in away:
            continue
        if pod.key not in baseline.unready_system_pods and owner_key(pod) not in left_out:
            fault = pod.node in blamed and (not is_daemon(pod) or works_elsewhere(pod, snapshot.pods))
            yield f"{_place(pod)} is not Ready", fault


def _daemons(snapshot: Snapshot, baseline: Baseline, new: set[str], blamed: set[str]) -> Iterator[_Finding]:
    left_out = _left_out(snapshot, baseline)
    for pod in snapshot.pods:
        if pod.node not in new or not is_daemon(pod) or not _unready(pod):
            continue
        if owner_key(pod) not in left_out:
            yield f"{_place(pod)} is not Ready", pod.node in blamed and works_elsewhere(pod, snapshot.pods)


def is_daemon(pod: Pod) -> bool:
    """Whether a DaemonSet put it on its node."""
    return pod.owner is not None and pod.owner.kind == "DaemonSet"


def works_elsewhere(pod: Pod, pods: Iterable[Pod]) -> bool:
    """Whether a DaemonSet is Ready on another node now: if not, this pod's node is not why it is not."""
    key = owner_key(pod)
    return any(p.ready and p.node != pod.node and owner_key(p) == key for p in pods)


def _system(pod: Pod) -> bool:
    return pod.namespace == SYSTEM_NAMESPACE


def _unready(pod: Pod) -> bool:
    return not pod.ready and pod.terminating_since is None and pod.phase not in ("Succeeded", "Failed")


def _place(pod: Pod) -> str:
    return f"pod {pod.key} on {pod.node}" if pod.node else f"pod {pod.key}, not scheduled,"


def owner_key(pod: Pod) -> str:
    """As :func:`workload_of`, without asking whether the workload exists."""
    if pod.owner is None:
        return ""
    if pod.owner.kind == "ReplicaSet":
        return f"Deployment {pod.namespace}/{pod.owner.name.rpartition('-')[0]}"
    return f"{pod.owner.kind} {pod.namespace}/{pod.owner.name}"
