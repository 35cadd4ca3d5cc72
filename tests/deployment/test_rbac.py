"""docs/rbac.yaml on a real API server: enough for everything a rotation does, and not for more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.config import new_client_from_config
from tests.proving_ground.waiting import eventually

from node_rotation.clients.kubernetes import KubernetesCluster
from node_rotation.configuration.intake_policy import ObjectRef
from node_rotation.errors import BlockedError
from node_rotation.names import LEDGER, ROLLED_FOR
from node_rotation.world.answers import Evicted
from node_rotation.world.kubernetes import Node, Pod, Workload

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
def bind(kubeconfig: Path) -> Iterator[Callable[[str], None]]:
    """Bind one of the manifest's optional roles to the rotation's group, as an administrator does; undone then."""
    administrator = new_client_from_config(str(kubeconfig), persist_config=False)
    rbac, reviews = client.RbacAuthorizationV1Api(administrator), client.AuthorizationV1Api(administrator)
    undo: list[Callable[[], object]] = []

    def bound(role: str) -> None:
        roles = {r.metadata.name: r for r in rbac.list_namespaced_role("kube-system").items}
        in_namespace = role in roles
        api = "rbac.authorization.k8s.io"
        body: dict[str, Any] = {
            "metadata": {"name": role},
            "roleRef": {"apiGroup": api, "kind": "Role" if in_namespace else "ClusterRole", "name": role},
            "subjects": [{"apiGroup": api, "kind": "Group", "name": "node-rotation"}],
        }
        if in_namespace:
            rbac.create_namespaced_role_binding("kube-system", body)
            undo.append(lambda: rbac.delete_namespaced_role_binding(role, "kube-system"))
        else:
            rbac.create_cluster_role_binding(body)
            undo.append(lambda: rbac.delete_cluster_role_binding(role))
        (rule,) = (roles[role] if in_namespace else rbac.read_cluster_role(role)).rules
        asked = {"verb": rule.verbs[-1], "resource": rule.resources[0], "group": rule.api_groups[0]}
        asked |= {"namespace": "kube-system", "name": (rule.resource_names or [""])[0]}
        review = {"spec": {"user": "rotator", "groups": ["node-rotation"], "resourceAttributes": asked}}
        # A binding counts once the API server has seen it, a moment later.
        eventually(lambda: reviews.create_subject_access_review(review).status.allowed)

    yield bound
    for one in undo:
        one()


def deployment(name: str) -> dict[str, Any]:
    pod = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": name, "image": "none"}]}}
    return {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"app": name}}, "template": pod}}


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


def test_with_force_it_may_delete_pods_past_their_budgets(
    rotation: KubernetesCluster, pod: Pod, bind: Callable[[str], None]
) -> None:
    bind("node-rotation-force")
    rotation.delete_pod(pod)
    assert pod.uid not in {p.uid for p in rotation.pods() if p.terminating_since is None}


def test_with_roll_it_may_restart_single_replicas(
    rotation: KubernetesCluster, kubeconfig: Path, bind: Callable[[str], None]
) -> None:
    def web() -> Workload:
        return next(w for w in rotation.workloads() if w.name == "web")

    with pytest.raises(BlockedError, match="web"):
        rotation.roll(web(), "told")
    bind("node-rotation-roll")
    rotation.roll(web(), "told")
    apps = client.AppsV1Api(new_client_from_config(str(kubeconfig), persist_config=False))
    template = apps.read_namespaced_deployment("web", "default").spec.template
    assert template.metadata.annotations[ROLLED_FOR] == "told"


def test_with_autoscaler_it_may_pause_that_and_no_other_deployment(
    rotation: KubernetesCluster, kubeconfig: Path, bind: Callable[[str], None]
) -> None:
    apps = client.AppsV1Api(new_client_from_config(str(kubeconfig), persist_config=False))
    for name in ("cluster-autoscaler", "coredns"):
        apps.create_namespaced_deployment("kube-system", deployment(name))
    ref = ObjectRef(api_version="apps/v1", kind="Deployment", namespace="kube-system", name="cluster-autoscaler")
    paused = {"spec": {"replicas": 0}}
    with pytest.raises(BlockedError, match="cluster-autoscaler"):
        rotation.objects.patch(ref, paused)
    bind("node-rotation-autoscaler")
    assert rotation.objects.read(ref)["spec"]["replicas"] == 1
    rotation.objects.patch(ref, paused)
    assert rotation.objects.read(ref)["spec"]["replicas"] == 0
    with pytest.raises(BlockedError, match="coredns"):
        rotation.objects.patch(ref.model_copy(update={"name": "coredns"}), paused)


def test_the_lock_is_the_only_lease_it_may_touch(kubeconfig: Path) -> None:
    leases = client.CoordinationV1Api(as_group(kubeconfig, "node-rotation"))
    with pytest.raises(client.ApiException) as refused:
        leases.delete_namespaced_lease("kube-scheduler", "kube-system")
    assert refused.value.status == 403


def test_it_may_delete_a_node_whose_machine_is_gone(rotation: KubernetesCluster, node: Node) -> None:
    rotation.delete_node(node.name, node.uid)
