"""What the observer has seen, folded into one state: machines, nodes, budgets, workloads, changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
LIVE = ("launched", "running", "stopping", "stopped")


@dataclass
class Machine:
    """An EC2 instance of the cluster, with the times (epoch seconds) at which it changed."""

    instance_id: str
    image_id: str
    zone: str
    group: str | None
    state: str
    launched_at: float
    ready_at: float | None = None
    cordoned_at: float | None = None
    leaving_at: float | None = None
    gone_at: float | None = None

    @property
    def live(self) -> bool:
        """Whether it still runs, or comes up."""
        return self.state in LIVE


@dataclass
class BudgetState:
    """A PodDisruptionBudget: what it wants, and how many of its pods are Ready and stay."""

    namespace: str
    name: str
    selector: Json
    desired: int
    expected: int
    size: int = 0  # expected pods when the watch began: with a number as minAvailable, leaving pods are expected too
    healthy: int = 0
    broken: bool = False
    history: list[tuple[float, int]] = field(default_factory=list)


@dataclass
class Seen:
    """Everything seen so far. Feed it with ``aws``, ``request`` and ``kubernetes``; times are epoch seconds.

    :param owned: what a call to AWS that is about this cluster names, beside its machines.
    """

    cluster: str
    owned: frozenset[str] = frozenset()
    machines: dict[str, Machine] = field(default_factory=dict)
    nodes: dict[str, Json] = field(default_factory=dict)
    pods: dict[str, Json] = field(default_factory=dict)
    budgets: dict[str, BudgetState] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)
    lease: Json | None = None
    first_change: float | None = None
    watching_since: float | None = None
    violations: list[tuple[float, str, int, int]] = field(default_factory=list)
    min_available: float = 1.0
    unready_pod_seconds: float = 0.0
    _unready_since: float = 0.0

    def start(self, now: float) -> None:
        """From here on it counts: the initial lists are complete."""
        self.watching_since = self._unready_since = now
        for budget in self.budgets.values():
            budget.size = budget.expected
            self._recount(budget, now)

    def aws(self, event: Json) -> None:
        """An event inside AWS."""
        if event.get("tags", {}).get(f"kubernetes.io/cluster/{self.cluster}") != "owned":
            return
        machine = self.machines.get(event["instance_id"])
        if machine is None:
            machine = self.machines[event["instance_id"]] = Machine(
                event["instance_id"], event["image_id"], event["zone"], event["group"], event["kind"], event["t"]
            )
        machine.state, machine.group = event["kind"], event["group"]
        if event["kind"] in ("shutting-down", "stopping"):
            machine.leaving_at = event["t"]
        elif event["kind"] == "terminated":
            machine.gone_at = event["t"]

    def request(self, call: Json) -> None:
        """A call to AWS; other clusters may share the account."""
        if call["mutating"] and not self._known.isdisjoint(_words(call["parameters"])):
            self._changed(call["t"])

    def kubernetes(self, now: float, kind: str, change: str, found: Json) -> None:
        """A watch event (``ADDED``, ``MODIFIED``, ``DELETED``) of one object."""
        metadata = found["metadata"]
        key = f"{metadata.get('namespace', '')}/{metadata['name']}"
        getattr(self, f"_on_{kind}")(now, key, None if change == "DELETED" else found)

    @property
    def _known(self) -> frozenset[str]:
        return self.owned | self.machines.keys() | {self.cluster}

    def _changed(self, at: float) -> None:
        if self.watching_since is not None and self.first_change is None:
            self.first_change = at

    def _on_node(self, now: float, key: str, node: Json | None) -> None:
        if node is None:
            self.nodes.pop(key, None)
            return
        self.nodes[key] = node
        machine = self.machines.get(node["spec"].get("providerID", "").rsplit("/", 1)[-1])
        if machine is None:
            return
        if machine.ready_at is None and is_ready(node):
            machine.ready_at = now
        if node["spec"].get("unschedulable"):
            self._changed(now)
            machine.cordoned_at = machine.cordoned_at or now

    def _on_pod(self, now: float, key: str, pod: Json | None) -> None:
        if pod is None:
            self.pods.pop(key, None)
        else:
            self.pods[key] = pod
        for budget in self.budgets.values():
            if budget.namespace == key.split("/", 1)[0]:
                self._recount(budget, now)

    def _on_budget(self, now: float, key: str, found: Json | None) -> None:
        if found is None:
            self.budgets.pop(key, None)
            return
        status = found.get("status", {})
        namespace, name = key.split("/", 1)
        budget = self.budgets.setdefault(key, BudgetState(namespace, name, {}, 0, 0))
        budget.selector = found["spec"].get("selector", {})
        budget.desired, budget.expected = status.get("desiredHealthy", 0), status.get("expectedPods", 0)
        self._recount(budget, now)

    def _on_workload(self, now: float, key: str, found: Json | None) -> None:
        self._add_unready(now)
        if found is None:
            self.missing.pop(key, None)
            return
        ready = found.get("status", {}).get("readyReplicas", 0)
        self.missing[key] = max(0, found["spec"].get("replicas", 0) - ready)

    def _on_lease(self, now: float, key: str, lease: Json | None) -> None:
        if key == "kube-system/node-rotation":
            self.lease = lease
            self._changed(now)

    def _add_unready(self, now: float) -> None:
        if self.watching_since is not None:
            self.unready_pod_seconds += sum(self.missing.values()) * (now - self._unready_since)
            self._unready_since = now

    def _recount(self, budget: BudgetState, now: float) -> None:
        mine = (p for p in self.pods.values() if p["metadata"].get("namespace") == budget.namespace)
        budget.healthy = sum(1 for pod in mine if selects(budget.selector, pod) and stays_ready(pod))
        if self.watching_since is None or not budget.expected:
            return
        budget.history.append((now, budget.healthy))
        size = min(budget.size or budget.expected, budget.expected)
        self.min_available = min(self.min_available, budget.healthy / size)
        broken = budget.healthy < budget.desired
        if broken and not budget.broken:
            self.violations.append((now, f"{budget.namespace}/{budget.name}", budget.healthy, budget.desired))
        budget.broken = broken


def _words(found: Any) -> Iterator[str]:
    """Every text in a call's parameters."""
    if isinstance(found, str):
        yield found
    elif isinstance(found, dict):
        yield from (word for value in found.values() for word in _words(value))
    elif isinstance(found, list):
        yield from (word for value in found for word in _words(value))


def is_ready(found: Json) -> bool:
    """Whether a Node's or a pod's Ready condition is true."""
    conditions = found.get("status", {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def stays_ready(pod: Json) -> bool:
    """Whether a pod serves and is not on its way out."""
    return is_ready(pod) and not pod["metadata"].get("deletionTimestamp")


def selects(selector: Json, pod: Json) -> bool:
    """Whether a label selector's ``matchLabels`` match; the scenarios use no expressions."""
    labels = pod["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
