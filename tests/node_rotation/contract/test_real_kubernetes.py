"""What only a real API server shows: paging, refusals, races, and the tokens of EKS."""

from __future__ import annotations

import socket
from dataclasses import replace
from functools import partial
from typing import Any

import boto3
import pytest
from kubernetes import client
from kubernetes.config import new_client_from_config
from tests.proving_ground.waiting import eventually

from node_rotation.clients import connect, eks, kubernetes_api
from node_rotation.clients.kubernetes import KubernetesCluster
from node_rotation.errors import BadInputError, BlockedError, TransientError
from node_rotation.fleet import AwsAccess, Cluster, KubernetesAccess, NodeGroup, Settings
from node_rotation.policy import Policy
from node_rotation.workloads.volume import Volume

pytestmark = pytest.mark.proving_ground
SECRET_TOKEN = "never-to-be-seen"


@pytest.fixture
def api(ground) -> client.ApiClient:
    return new_client_from_config(str(ground.kubeconfig("dev")), persist_config=False)


@pytest.fixture
def session(ground, monkeypatch) -> boto3.Session:
    monkeypatch.setenv("AWS_ENDPOINT_URL", ground.endpoint)
    return boto3.Session(
        aws_access_key_id="rotation", aws_secret_access_key="unused", region_name=ground.env["AWS_REGION"]
    )


def with_token(ground, token: str) -> client.ApiClient:
    """A client with the cluster's address and authority, and somebody else's token."""
    known = new_client_from_config(str(ground.kubeconfig("dev")), persist_config=False).configuration
    configuration = client.Configuration(host=known.host)
    configuration.ssl_ca_cert = known.ssl_ca_cert
    configuration.api_key["BearerToken"] = f"Bearer {token}"
    return client.ApiClient(configuration)


def settings(kubernetes: KubernetesAccess, profile: str | None = None) -> Settings:
    group = NodeGroup(name="workers", asg="dev-workers")
    access = AwsAccess(region="eu-central-1", profile=profile)
    cluster = Cluster(name="dev", aws=access, kubernetes=kubernetes, groups=(group,))
    return Settings(environment="dev", cluster=cluster, policy=Policy(), groups={"workers": Policy()})


def test_long_lists_are_read_page_by_page(api, monkeypatch):
    everything = {p.uid for p in KubernetesCluster(api).pods()}
    monkeypatch.setattr(kubernetes_api, "PAGE", 2)

    assert {p.uid for p in KubernetesCluster(api).pods()} == everything
    assert len(everything) > 4


def test_a_volume_says_its_zone_and_where_it_is_attached_until_it_is_detached(api):
    cluster = KubernetesCluster(api)
    node = cluster.nodes()[0].name
    expression = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["eu-central-1a"]}
    core, storage = client.CoreV1Api(api), client.StorageV1Api(api)
    core.create_persistent_volume(
        {
            "metadata": {"name": "pv-contract"},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": "vol-1"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
            },
        }
    )
    source = {"persistentVolumeName": "pv-contract"}
    spec = {"attacher": "ebs.csi.aws.com", "nodeName": node, "source": source}
    storage.create_volume_attachment({"metadata": {"name": "csi-contract"}, "spec": spec})

    attached = Volume("pv-contract", zones=("eu-central-1a",), attached=(node,))
    assert attached in cluster.volumes()
    storage.delete_volume_attachment("csi-contract")
    eventually(lambda: replace(attached, attached=()) in cluster.volumes())  # the attacher takes some seconds
    core.delete_persistent_volume("pv-contract")


def test_a_token_nobody_issued_is_blocked(ground):
    with pytest.raises(BlockedError) as refused:
        KubernetesCluster(with_token(ground, SECRET_TOKEN)).nodes()

    assert "Renew the token" in refused.value.blocked.remedy
    assert SECRET_TOKEN not in str(refused.value)


def test_a_forbidden_verb_is_blocked_and_named(ground, api):
    core = client.CoreV1Api(api)
    core.create_namespaced_service_account("default", {"metadata": {"generateName": "nobody-"}})
    name = next(
        a.metadata.name
        for a in core.list_namespaced_service_account("default").items
        if a.metadata.name.startswith("nobody-")
    )
    token = core.create_namespaced_service_account_token(name, "default", {"spec": {"audiences": []}}).status.token
    cluster = KubernetesCluster(with_token(ground, token))

    with pytest.raises(BlockedError) as refused:
        cluster.cordon("ip-10-0-0-1", "some-uid")

    assert name in refused.value.blocked.reason
    assert "'patch'" in refused.value.blocked.remedy
    with pytest.raises(BlockedError, match="list nodes"):
        cluster.nodes()


def test_an_api_server_that_is_away_is_transient():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        host = f"https://127.0.0.1:{nobody.getsockname()[1]}"
        away = KubernetesCluster(client.ApiClient(client.Configuration(host=host)))

        with pytest.raises(TransientError, match=host):
            away.nodes()
        with pytest.raises(TransientError, match=host):
            away.create_lease("run-1", 60.0, {})


def test_a_certificate_nobody_trusts_is_blocked(ground):
    host = ground.clusters["dev"].endpoint
    with pytest.raises(BlockedError, match="certificate is not trusted"):
        KubernetesCluster(client.ApiClient(client.Configuration(host=host))).nodes()


def test_taints_of_others_written_at_the_same_moment_are_kept(api):
    cluster = KubernetesCluster(api)
    node = cluster.nodes()[0]
    other = KubernetesCluster(api)
    merge, others = cluster._api.merge, iter(["first", "second"])

    def beaten(path: str, what: str, patch: Any) -> Any:
        if key := next(others, None):  # somebody else writes between our reading and our writing
            other.taint(node.name, node.uid, (key, "", "PreferNoSchedule"))
        return merge(path, what, patch)

    cluster._api.merge = beaten  # type: ignore[method-assign]
    cluster.taint(node.name, node.uid, ("ours", "", "PreferNoSchedule"))

    (now,) = (n for n in cluster.nodes() if n.name == node.name)
    assert {t[0] for t in now.taints} == {"first", "second", "ours"}


def test_an_eks_cluster_is_reached_with_a_token_that_is_renewed_in_time(session, monkeypatch):
    now, signed = [0.0], []
    monkeypatch.setattr(eks, "EksToken", partial(eks.EksToken, monotonic=lambda: now[0]))
    session.events.register("before-sign.sts.GetCallerIdentity", lambda **_: signed.append(now[0]))
    api = eks.api_client(session, "dev")
    cluster = KubernetesCluster(api)

    for moment in (0.0, 599.0, 601.0, 1200.0, 1201.0):
        now[0] = moment
        assert cluster.minor_version() >= 30

    assert signed == [0.0, 601.0, 1201.0]
    assert api.configuration.api_key["BearerToken"].startswith("Bearer k8s-aws-v1.")


def test_an_eks_cluster_nobody_made_is_named(session):
    with pytest.raises(BadInputError, match="no EKS cluster 'nobody' in eu-central-1. Correct it"):
        eks.api_client(session, "nobody")


def test_the_command_line_connects_by_a_kubeconfig_from_the_environment(ground, monkeypatch):
    for name, value in ground.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DEV_KUBECONFIG", str(ground.kubeconfig("dev")))

    cloud, cluster = connect.connect(settings(KubernetesAccess(kubeconfig="$DEV_KUBECONFIG")))

    assert cloud.groups(["dev-workers"])
    assert cluster.nodes()


def test_the_command_line_connects_to_eks_by_the_clusters_name(ground, monkeypatch):
    for name, value in ground.env.items():
        monkeypatch.setenv(name, value)

    _, cluster = connect.connect(settings(KubernetesAccess(eks_cluster="dev")))

    assert cluster.nodes()


def test_a_kubeconfig_that_can_t_be_used_is_named(ground, tmp_path):
    for access, problem in (
        (KubernetesAccess(kubeconfig=str(tmp_path / "none")), "there is no file"),
        (KubernetesAccess(kubeconfig="$NEVER_SET/config"), "environment variable that is not set"),
        (KubernetesAccess(kubeconfig=str(ground.kubeconfig("dev")), context="nobody"), "nobody"),
    ):
        with pytest.raises(BadInputError, match=problem) as refused:
            connect.connect(settings(access))
        assert "dev.dev" in refused.value.where


def test_a_profile_nobody_wrote_is_blocked():
    with pytest.raises(BlockedError, match="never-written"):
        connect.connect(settings(KubernetesAccess(eks_cluster="dev"), profile="never-written"))
