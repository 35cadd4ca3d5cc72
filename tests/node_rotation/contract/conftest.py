"""Two worlds, one contract: the world in memory, and the proving ground's control plane and AWS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import boto3
import pytest
from kubernetes import client
from kubernetes.config import new_client_from_config

from node_rotation.clients.aws import AwsCloud
from node_rotation.clients.aws_models import share
from node_rotation.clients.kubernetes import KubernetesCluster
from node_rotation.clients.wall import WallClock
from node_rotation.errors import GoneError
from node_rotation.model import TemplateVersion
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.aws import ScalingGroup
from node_rotation.world.clients import Clock, Cloud, Cluster
from node_rotation.world.kubernetes import Node, Pod
from proving_ground.ground import Ground, start
from proving_ground.scenario import Scenario

Result = TypeVar("Result")
WITHIN_S = 120.0  # a pod whose node has gone is collected after up to 60 s (podgc: 40 s of quarantine, every 20 s)
CALM_WITHIN_S = 120.0
CALM_LOOKS = 5
WORKERS, MIXED, CONFIGURED, ALIASED = "dev-workers", "dev-mixed", "dev-configured", "dev-aliased"
SERVED, VERSIONED = "dev-served", "dev-versioned"
RECOMMENDED = "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/standard/recommended"
OLD_IMAGE = "amazon-eks-node-al2023-x86_64-standard-1.36-v20261101"
NEW_IMAGE = "amazon-eks-node-al2023-x86_64-standard-1.36-v20261108"
OLD_RELEASE, NEW_RELEASE = "1.36.1-20261101", "1.36.2-20261108"
SCENARIO: dict[str, Any] = {
    "name": "contract",
    "account": "310987654321",
    "timing": {"boot": "300ms", "shutdown": "300ms", "node_removal": "300ms", "reconcile": "100ms"}
    | {"eks_pause": "300ms", "eks_look": "200ms", "eks_eviction": "60s", "eks_nodes": "60s"},
    "images": [
        {"name": "base-1", "created": "2026-11-01T06:00:00.000Z"},
        {"name": "base-2", "created": "2026-11-08T06:00:00.000Z"},
        {"name": "other-1", "created": "2026-11-05T06:00:00.000Z"},
        {"name": "arm-1", "created": "2026-11-05T06:00:00.000Z", "architecture": "arm64"},
        {"name": OLD_IMAGE, "created": "2026-11-01T06:00:00.000Z", "owner": "amazon", "release": OLD_RELEASE},
        {"name": NEW_IMAGE, "created": "2026-11-08T06:00:00.000Z", "owner": "amazon", "release": NEW_RELEASE},
        {"name": "base-0", "created": "2026-10-01T06:00:00.000Z", "deprecated": "2026-10-15T06:00:00.000Z"},
    ],
    "parameters": [
        {"name": "/images/base/current", "image": "base-2"},
        {"name": f"{RECOMMENDED}/image_id", "image": NEW_IMAGE},
        {"name": f"{RECOMMENDED}/release_version", "image": NEW_IMAGE},
    ],
    "target_groups": [{"name": "web", "deregistration_delay": "1s", "healthy_after": "500ms"}],
    "clusters": [
        {
            "name": "dev",
            "environment": "dev",
            "groups": [
                {"name": "workers", "image": "base-1", "min": 2, "max": 5, "desired": 3, "tags": {"pool": "main"}},
                {"name": "versioned", "image": "base-1", "min": 0, "max": 2, "desired": 1},
                {
                    "name": "mixed",
                    "image": "base-1",
                    "template": "mixed_instances",
                    "overrides": [{"instance_type": "m6i.large"}, {"instance_type": "m5.large"}],
                    "min": 0,
                    "max": 2,
                    "desired": 1,
                },
                {
                    "name": "weighted",
                    "image": "base-1",
                    "template": "mixed_instances",
                    "overrides": [
                        {"instance_type": "m6i.large", "weight": 1},
                        {"instance_type": "m6i.xlarge", "weight": 2},
                    ],
                    "min": 0,
                    "max": 0,
                    "desired": 0,
                },
                {
                    "name": "configured",
                    "image": "base-1",
                    "template": "launch_configuration",
                    "min": 0,
                    "max": 2,
                    "desired": 1,
                },
                {
                    "name": "served",
                    "image": "base-1",
                    "zones": ["a"],
                    "min": 0,
                    "max": 2,
                    "desired": 0,
                    "target_groups": ["web"],
                    "hooks": [
                        {"name": "hello", "transition": "launching", "heartbeat": "2s", "result": "CONTINUE"},
                        {"name": "bye", "transition": "terminating", "completes_after": "2s"},
                    ],
                },
                {
                    "name": "managed",
                    "kind": "eks-managed",
                    "image": OLD_IMAGE,
                    "zones": ["a"],
                    "min": 0,
                    "max": 2,
                    "desired": 1,
                    "max_unavailable_percentage": 50,
                },
                {
                    "name": "aliased",
                    "image": "base-1",
                    "resolve_ssm": "/images/base/current",
                    "min": 0,
                    "max": 2,
                    "desired": 1,
                },
            ],
            "workloads": [
                {
                    "name": "web",
                    "replicas": 3,
                    "ready_after": "300ms",
                    "stops_after": "1s",
                    "spread": "hostname",
                    "budget": {"max_unavailable": 1},
                },
                {"name": "queue", "kind": "StatefulSet", "ready_after": "300ms", "stops_after": "300ms"},
                {"name": "twice", "ready_after": "300ms", "stops_after": "300ms"},
                {"name": "agent", "kind": "DaemonSet", "namespace": "kube-system", "ready_after": "100ms"},
            ],
        }
    ],
}
SIZES = {f"dev-{group['name']}": group for group in SCENARIO["clusters"][0]["groups"]}


@dataclass(frozen=True)
class World:
    """What a story needs of a world; ``until`` lets its time pass."""

    cloud: Cloud
    cluster: Cluster
    clock: Clock
    until: Callable[[Callable[[], bool], float], bool]
    add_budget: Callable[[str, dict[str, str] | None], None]
    drop_budget: Callable[[str], None]
    config_map: Callable[[str, dict[str, str]], None]
    read_config_map: Callable[[str], dict[str, str]]

    def eventually(self, look: Callable[[], Result], within_s: float = WITHIN_S) -> Result:
        """What ``look`` answers once that is true, asked no more after; fails with its last answer when time is up."""
        seen: list[Result] = []

        def true() -> bool:
            seen.append(look())
            return bool(seen[-1])

        self.until(true, within_s)
        assert seen[-1], f"not within {within_s} s; last seen: {seen[-1]!r}"
        return seen[-1]

    def group(self, name: str = WORKERS) -> ScalingGroup:
        return self.cloud.groups([name])[name]

    def members(self, name: str = WORKERS) -> list[str]:
        return [m.instance_id for m in self.group(name).members if m.lifecycle == "InService"]

    def node(self, index: int = 0) -> Node:
        """A node of the workers."""
        members = self.members()
        return sorted((n for n in self.cluster.nodes() if n.instance_id in members), key=lambda n: n.name)[index]

    def again(self, node: Node) -> Node:
        return next(n for n in self.cluster.nodes() if n.name == node.name)

    def pods(self, app: str) -> list[Pod]:
        return [p for p in self.cluster.pods() if p.labels.get("app") == app and p.terminating_since is None]


@pytest.fixture(params=["memory", pytest.param("ground", marks=pytest.mark.proving_ground)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "memory":
        yield _in_memory()
    else:
        found = request.getfixturevalue("ground_world")
        _calm(replace(found, cloud=request.getfixturevalue("members_only")))
        yield found


def _in_memory() -> World:
    memory = MemoryWorld.from_scenario(SCENARIO)

    def add_budget(name: str, labels: dict[str, str] | None) -> None:
        if labels is not None:  # this world has what we see of budgets, and without a selector we see none
            memory.disruption.add(seeds.DisruptionBudget(max_unavailable=1, name=name, selector=labels))

    def drop_budget(name: str) -> None:
        """Nothing: this world is nobody's after this story."""

    found = memory.cluster.objects.found

    def config_map(name: str, data: dict[str, str]) -> None:
        found[f"ConfigMap default/{name}"] = {"data": data}

    def read_config_map(name: str) -> dict[str, str]:
        return dict(found[f"ConfigMap default/{name}"]["data"])

    until = memory.clock.run_until
    return World(
        memory.cloud, memory.cluster, memory.clock, until, add_budget, drop_budget, config_map, read_config_map
    )


@pytest.fixture(scope="package")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    directory: Path = tmp_path_factory.mktemp("contract")
    with start(Scenario.model_validate(SCENARIO), directory) as running:
        yield running


@pytest.fixture(scope="package")
def members_only(ground: Ground) -> AwsCloud:
    """Its AWS for whoever looks at nothing but members and sizes, again and again."""
    return _cloud(ground, details_s=3600.0)


@pytest.fixture(scope="package")
def ground_world(ground: Ground) -> World:
    cloud = _cloud(ground, details_s=0.0)
    api = new_client_from_config(str(ground.kubeconfig("dev")), persist_config=False)

    def add_budget(name: str, labels: dict[str, str] | None) -> None:
        selector = {} if labels is None else {"selector": {"matchLabels": labels}}
        client.PolicyV1Api(api).create_namespaced_pod_disruption_budget(
            "default",
            {"metadata": {"name": name}, "spec": {"maxUnavailable": 1, **selector}},
        )

    def drop_budget(name: str) -> None:
        client.PolicyV1Api(api).delete_namespaced_pod_disruption_budget(name, "default")

    core = client.CoreV1Api(api)

    def config_map(name: str, data: dict[str, str]) -> None:
        core.create_namespaced_config_map("default", {"metadata": {"name": name}, "data": data})

    def read_config_map(name: str) -> dict[str, str]:
        return dict(core.read_namespaced_config_map(name, "default").data)

    cluster = KubernetesCluster(api)
    return World(cloud, cluster, WallClock(), _poll, add_budget, drop_budget, config_map, read_config_map)


def _cloud(ground: Ground, details_s: float) -> AwsCloud:
    env = ground.env
    session = share(
        boto3.Session(
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
            region_name=env["AWS_REGION"],
        )
    )
    with pytest.MonkeyPatch.context() as patch:  # the clients are made lazily, so the endpoint is read now
        patch.setenv("AWS_ENDPOINT_URL", ground.endpoint)
        cloud = AwsCloud(session, details_s=details_s)
        _make_all_clients(cloud)
    return cloud


def _make_all_clients(cloud: AwsCloud) -> None:
    for service in ("autoscaling", "autoscaling_once", "ec2", "ec2_once", "ssm", "eks", "elasticloadbalancing"):
        getattr(cloud._calls, service)


def _poll(look: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if look():
            return True
        time.sleep(0.1)
    return False


def _calm(world: World) -> None:
    """Undo what the story before left, and wait until machines and pods are well."""
    cloud, cluster = world.cloud, world.cluster
    if lease := cluster.lease():
        cluster.delete_lease(lease)
    groups = cloud.groups(list(SIZES))
    for name, group in groups.items():
        if group.suspended:
            cloud.resume(name, list(group.suspended))
        template = group.template
        if not template.launch_configuration and template.version != "$Latest":
            cloud.use_template_version(name, TemplateVersion(name=template.name, id=template.id, version="$Latest"))
        seed = SIZES[name]
        if (group.min, group.max, group.desired) != (seed["min"], seed["max"], seed["desired"]):
            cloud.set_sizes(name, min=seed["min"], max=seed["max"], desired=seed["desired"])
    _end_outsiders(world)
    for node in cluster.nodes():
        _clean(cluster, node)
    looks = 0

    def calm() -> bool:
        """Between a pod's end and its successor everything looks well for a moment: one look is not enough."""
        nonlocal looks
        looks = 0 if _unsettled(world) else looks + 1
        return looks >= CALM_LOOKS

    assert world.until(calm, CALM_WITHIN_S), _unsettled(world)


def _end_ghosts(world: World) -> None:
    """Pods of a Node that is gone are collected after a minute or so; nobody has that long here."""
    nodes = {n.name for n in world.cluster.nodes()}
    for pod in world.cluster.pods():
        if pod.node and pod.node not in nodes:
            world.cluster.delete_pod(pod, grace_s=0)


def _end_outsiders(world: World) -> None:
    members = {m.instance_id for group in world.cloud.groups(list(SIZES)).values() for m in group.members}
    for instance in world.cloud.tagged_instances("kubernetes.io/cluster/dev").values():
        if instance.id not in members and instance.state in ("pending", "running"):
            world.cloud.terminate(instance.id)


def _clean(cluster: Cluster, node: Node) -> None:
    try:
        if node.unschedulable:
            cluster.uncordon(node.name, node.uid)
        for key, _, _ in node.taints:
            if not key.startswith("node.kubernetes.io/"):
                cluster.untaint(node.name, node.uid, key)
    except GoneError:  # its instance was terminated just now
        return


def _unsettled(world: World) -> list[str]:
    """What is still on its way."""
    _end_ghosts(world)
    groups = world.cloud.groups(list(SIZES)).values()
    members = {m.instance_id for g in groups for m in g.members if m.lifecycle == "InService"}
    nodes = {n.instance_id: n.ready for n in world.cluster.nodes()}
    return [
        *(f"{g.name} has {len(g.members)} of {g.desired}" for g in groups if len(g.members) != g.desired),
        *(f"{i} has no Node" for i in members - nodes.keys()),
        *(f"Node of {i} is left" for i in nodes.keys() - members),
        *(f"Node of {i} is not Ready" for i, ready in nodes.items() if not ready),
        *(
            f"{p.key} is {p.phase} on {p.node or 'no node'}"
            for p in world.cluster.pods()
            if not p.ready or p.terminating_since is not None
        ),
        *(f"{w.key} has {w.ready} of {w.desired}" for w in world.cluster.workloads() if w.desired != w.ready),
        *(f"{b.key} allows none" for b in world.cluster.budgets() if b.name == "web" and b.disruptions_allowed < 1),
    ]
