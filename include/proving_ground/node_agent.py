"""Joins EC2 and Kubernetes: what happens to a machine happens to its Node, as its kubelet would see to it."""

from __future__ import annotations

import datetime as dt
import heapq
import itertools
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from kubernetes import client
from urllib3.exceptions import HTTPError

from proving_ground import nodes
from proving_ground.control_plane.cluster import KUBELET_LABEL, lease_s
from proving_ground.kube import TIMEOUT_S, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from proving_ground.control_plane.cluster import ControlPlane
    from proving_ground.scenario import NodeGroup, Scenario

CLUSTER_TAG = "kubernetes.io/cluster/"
RETRY_S = 0.5
_log = logging.getLogger(__name__)
_MERGE_PATCH = "application/merge-patch+json"


class Instance(Protocol):
    """What the agent has to know of a machine; the AWS side's InstanceEvent has it."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def instance_id(self) -> str: ...  # noqa: D102
    @property
    def image_id(self) -> str: ...  # noqa: D102
    @property
    def image_behaviour(self) -> str: ...  # noqa: D102
    @property
    def fails_after(self) -> float: ...  # noqa: D102
    @property
    def instance_type(self) -> str: ...  # noqa: D102
    @property
    def zone(self) -> str: ...  # noqa: D102
    @property
    def private_dns_name(self) -> str: ...  # noqa: D102
    @property
    def region(self) -> str: ...  # noqa: D102
    @property
    def tags(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def group(self) -> str | None: ...  # noqa: D102


class World(Protocol):
    """The AWS side as the agent sees it."""

    def subscribe(self, callback: Callable[[Any], None]) -> object:
        """Call back for everything that happens to an instance from now on."""

    def instances(self) -> Iterable[Any]:
        """The latest event of each instance that there is already."""


class NodeAgent:
    """One thread for all clusters; does what is due, in order, and repeats what an API server refused.

    A Node that somebody deletes while its instance runs does not come back until the instance is started
    again: a kubelet registers once per start (kubelet_node_status.go, ``registrationCompleted``).
    """

    def __init__(self, scenario: Scenario, clusters: Mapping[str, ControlPlane]) -> None:
        self._timing = scenario.timing
        self._groups = {f"{c.name}-{g.name}": g for c in scenario.clusters for g in c.groups}
        self._kubelets = {
            name: _Kubelets(cluster, self._timing.heartbeat_grace, self._schedule) for name, cluster in clusters.items()
        }
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="node-agent", daemon=True)
        self._thread.start()

    def follow(self, world: World) -> None:
        """Take over the machines that run already, and all that come later."""
        world.subscribe(self.handle)
        for instance in world.instances():
            self.handle(instance)

    def handle(self, event: Instance) -> None:
        """Note what happened to a machine; returns at once, safe from any thread."""
        kubelets = self._of_cluster(event)
        if kubelets is None:
            return
        if event.kind == "running":
            group = self._groups.get(event.group or "")
            self._schedule(self._timing.join, lambda: kubelets.boot(event, group))
        elif event.kind in ("stopping", "stopped", "shutting-down"):
            self._schedule(0.0, lambda: kubelets.silence(event))
        elif event.kind == "terminated":
            self._schedule(0.0, lambda: kubelets.silence(event))
            if self._timing.node_removal is not None:
                self._schedule(self._timing.node_removal, lambda: kubelets.remove(event))

    def stop(self) -> None:
        """End the thread; what is still due is dropped."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout=TIMEOUT_S + 5)

    def _of_cluster(self, event: Instance) -> _Kubelets | None:
        for key in event.tags:
            if key.startswith(CLUSTER_TAG):
                return self._kubelets.get(key.removeprefix(CLUSTER_TAG))
        return None

    def _schedule(self, after_s: float, action: Callable[[], None]) -> None:
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + after_s, next(self._order), action))
            self._changed.notify()

    def _run(self) -> None:
        while (action := self._next()) is not None:
            try:
                action()
            except (client.ApiException, HTTPError, OSError) as error:
                _log.warning("node agent: will try again: %s", error)
                self._schedule(RETRY_S, action)

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._stopping:
                wait_s = self._due[0][0] - time.monotonic() if self._due else None
                if wait_s is not None and wait_s <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait_s)
        return None


class _Kubelets:
    """The kubelets of one cluster. kwok plays the healthy ones; the broken ones' leases are renewed here."""

    def __init__(
        self, cluster: ControlPlane, grace_s: float, schedule: Callable[[float, Callable[[], None]], None]
    ) -> None:
        self._cluster = cluster
        self._core = client.CoreV1Api(connect(cluster))
        self._leases = client.CoordinationV1Api(self._core.api_client)
        self._lease_s = lease_s(grace_s)
        self._renew_s = grace_s / 5
        self._schedule = schedule
        self._alive: set[str] = set()

    def boot(self, machine: Instance, group: NodeGroup | None) -> None:
        if machine.instance_id in self._alive or machine.image_behaviour == "never-joins":
            return
        ready = machine.image_behaviour != "joins-not-ready"
        if ready:
            self._give_to_kwok(machine.private_dns_name)
        self._register(machine, group, ready=ready)
        self._alive.add(machine.instance_id)
        if not ready:
            self._renew(machine)
        if machine.image_behaviour == "fails-later":
            self._schedule(machine.fails_after, lambda: self._fail(machine))

    def _give_to_kwok(self, name: str) -> None:
        """Make kwok the Lease's holder before there is a Node that pods can be bound to.

        Left to make the Lease itself, kwok 0.8 looks for the Node's pods once it has written it, and leaves every
        pod alone until its own watch tells of it: a pod bound in between stays Pending for minutes, until that
        watch starts anew (node_lease_controller.go, ``sync`` and ``Held``).
        """
        self._write_lease(name, holder=self._cluster.kwok_identity)

    def _register(self, machine: Instance, group: NodeGroup | None, *, ready: bool) -> None:
        name = machine.private_dns_name
        node = nodes.manifest(
            name=name,
            instance_id=machine.instance_id,
            image_id=machine.image_id,
            instance_type=machine.instance_type,
            zone=machine.zone,
            region=machine.region,
            group=group,
            ready=ready,
        )
        present = self._read(name)
        if present and present.spec.provider_id != node["spec"]["providerID"]:
            # A name that an earlier machine had; its Node is nobody's now.
            self._core.delete_node(name, _request_timeout=TIMEOUT_S)
            present = None
        if present:
            labels = {KUBELET_LABEL: "alive" if ready else None}
            self._patch(name, {"metadata": {"labels": labels}})
            self._patch_status(name, ready=ready)
        else:
            self._core.create_node(node, _request_timeout=TIMEOUT_S)

    def _fail(self, machine: Instance) -> None:
        if machine.instance_id not in self._alive or not self._is_of(machine):
            return
        self._patch(machine.private_dns_name, {"metadata": {"labels": {KUBELET_LABEL: None}}})
        self._patch_status(machine.private_dns_name, ready=False)
        self._renew(machine)

    def silence(self, machine: Instance) -> None:
        """Without its label the Node is left alone by kwok: its Lease is renewed no more."""
        self._alive.discard(machine.instance_id)
        if self._is_of(machine):
            self._patch(machine.private_dns_name, {"metadata": {"labels": {KUBELET_LABEL: None}}})

    def remove(self, machine: Instance) -> None:
        """What the cloud controller's node lifecycle does when the instance exists no more."""
        if self._is_of(machine):
            self._core.delete_node(machine.private_dns_name, _request_timeout=TIMEOUT_S)

    def _renew(self, machine: Instance) -> None:
        if machine.instance_id not in self._alive or not self._is_of(machine):
            return
        name = machine.private_dns_name
        self._write_lease(name, holder=name)
        self._schedule(self._renew_s, lambda: self._renew(machine))

    def _write_lease(self, name: str, *, holder: str) -> None:
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": holder, "leaseDurationSeconds": self._lease_s, "renewTime": now}
        try:
            self._leases.patch_namespaced_lease(
                name, "kube-node-lease", {"spec": spec}, _request_timeout=TIMEOUT_S, _content_type=_MERGE_PATCH
            )
        except client.ApiException as error:
            if error.status != 404:
                raise
            lease = {"metadata": {"name": name}, "spec": spec}
            self._leases.create_namespaced_lease("kube-node-lease", lease, _request_timeout=TIMEOUT_S)

    def _is_of(self, machine: Instance) -> bool:
        node = self._read(machine.private_dns_name)
        return node is not None and node.spec.provider_id == nodes.provider_id(machine.zone, machine.instance_id)

    def _read(self, name: str) -> client.V1Node | None:
        try:
            return self._core.read_node(name, _request_timeout=TIMEOUT_S)
        except client.ApiException as error:
            if error.status == 404:
                return None
            raise

    def _patch(self, name: str, body: dict[str, Any]) -> None:
        self._core.patch_node(name, body, _request_timeout=TIMEOUT_S, _content_type=_MERGE_PATCH)

    def _patch_status(self, name: str, *, ready: bool) -> None:
        body = {"status": {"conditions": nodes.conditions(ready=ready)}}
        self._core.patch_node_status(name, body, _request_timeout=TIMEOUT_S, _content_type=_MERGE_PATCH)
