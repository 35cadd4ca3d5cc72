"""docs/rbac.yaml on a real API server: enough for everything a rotation does, and not for more."""

from __future__ import annotations

from pathlib import Path

import pytest
from kubernetes import client, config

from node_rotation.clients.kubernetes import KubernetesCluster
from node_rotation.errors import BlockedError
from node_rotation.names import LEDGER
from node_rotation.world.answers import Evicted
from node_rotation.world.kubernetes import Node, Pod

pytestmark = pytest.mark.proving_ground


def as_group(kubeconfig: Path, group: str) -> client.ApiClient:
    configuration = client.Configuration()
    config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    api = client.ApiClient(configuration)
    api.set_default_header("Impersonate-User", "rotator")
    api.set_default_header("Impersonate-Group", group)
    return api


@pytest.fixture(scope="module")
def rotation(kubeconfig: Path) -> KubernetesCluster:
    return KubernetesCluster(as_group(kubeconfig, "node-rotation"))


@pytest.fixture
def node(rotation: KubernetesCluster) -> Node:
    return rotation.nodes()[0]


@pytest.fixture
def pod(rotation: KubernetesCluster) -> Pod:
    return next(pod for pod in rotation.pods() if pod.name.startswith("web-"))


def test_somebody_without_the_role_may_nothing(kubeconfig: Path) -> None:
    stranger = KubernetesCluster(as_group(kubeconfig, "strangers"))
    with pytest.raises(BlockedError, match="nodes"):
        stranger.nodes()


def test_it_may_read_all_that_decisions_are_made_of(rotation: KubernetesCluster) -> None:
    assert rotation.nodes()
    assert rotation.pods()
    assert rotation.workloads()
    assert rotation.minor_version() >= 30
    rotation.budgets()
    rotation.volumes()


def test_it_may_mark_nodes(rotation: KubernetesCluster, node: Node) -> None:
    rotation.cordon(node.name, node.uid)
    rotation.uncordon(node.name, node.uid)
    rotation.taint(node.name, node.uid, ("node-rotation/old", "", "PreferNoSchedule"))
    rotation.untaint(node.name, node.uid, "node-rotation/old")
    rotation.annotate(node.name, node.uid, {"node-rotation/cordoned-by": "test"})
    rotation.label(node.name, node.uid, {"node.kubernetes.io/exclude-from-external-load-balancers": "true"})
    rotation.annotate(node.name, node.uid, {"node-rotation/cordoned-by": None})
    rotation.label(node.name, node.uid, {"node.kubernetes.io/exclude-from-external-load-balancers": None})


def test_it_may_take_keep_and_give_back_the_lock(rotation: KubernetesCluster) -> None:
    lease = rotation.create_lease("run-1", 60.0, {LEDGER: "{}"})
    held = rotation.update_lease(
        lease, holder="run-1", duration_s=60.0, annotations={LEDGER: "{}"}, renewed_at=lease.renewed_at + 1
    )
    assert rotation.lease() is not None
    rotation.delete_lease(held)
    assert rotation.lease() is None


def test_it_may_evict(rotation: KubernetesCluster, pod: Pod) -> None:
    assert isinstance(rotation.evict(pod), Evicted)


def test_it_may_not_delete_pods_past_their_budgets(rotation: KubernetesCluster, pod: Pod) -> None:
    with pytest.raises(BlockedError, match=pod.name):
        rotation.delete_pod(pod)


def test_the_lock_is_the_only_lease_it_may_touch(kubeconfig: Path) -> None:
    leases = client.CoordinationV1Api(as_group(kubeconfig, "node-rotation"))
    with pytest.raises(client.ApiException) as refused:
        leases.delete_namespaced_lease("kube-scheduler", "kube-system")
    assert refused.value.status == 403


def test_it_may_delete_a_node_whose_machine_is_gone(rotation: KubernetesCluster, node: Node) -> None:
    rotation.delete_node(node.name, node.uid)
