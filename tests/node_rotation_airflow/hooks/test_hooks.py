"""Airflow connections become clients: keys, region, endpoint; kubeconfig and context, one apart from another."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.node_rotation.web import site

from node_rotation.clients.aws import AwsCloud
from node_rotation.clients.kubernetes import KubernetesCluster
from node_rotation.errors import BadInputError, BlockedError
from node_rotation.fleet import AwsAccess, KubernetesAccess
from node_rotation.testing.world import MemoryWorld
from node_rotation_airflow import runs
from node_rotation_airflow.hooks.aws import AwsCloudHook
from node_rotation_airflow.hooks.cluster import ClusterHook
from node_rotation_airflow.triggers.comms import in_thread


@pytest.fixture
def aws_connection(monkeypatch: pytest.MonkeyPatch) -> Any:
    def say(**extra: Any) -> None:
        connection = {"conn_type": "aws", "login": "AKIDEXAMPLE", "password": "secret", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEV", json.dumps(connection))

    return say


def kubeconfig(folder: Path, **servers: str) -> Path:
    """A kubeconfig with a context per server."""
    file = folder / "kubeconfig"
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": n, "cluster": {"server": s}} for n, s in servers.items()],
                "users": [{"name": "someone", "user": {"token": "t"}}],
                "contexts": [{"name": n, "context": {"cluster": n, "user": "someone"}} for n in servers],
                "current-context": next(iter(servers)),
            }
        )
    )
    return file


def test_an_aws_connection_brings_its_keys_region_and_endpoint(aws_connection: Any) -> None:
    aws_connection(endpoint_url="http://127.0.0.1:1")
    hook = AwsCloudHook(aws_conn_id="aws_dev", region_name="eu-north-1")
    client = hook.session().client("autoscaling")

    assert isinstance(hook.cloud(), AwsCloud)
    assert client.meta.endpoint_url == "http://127.0.0.1:1"
    assert client.meta.region_name == "eu-north-1"
    assert client._request_signer._credentials.access_key == "AKIDEXAMPLE"


def test_an_endpoint_of_one_service_is_that_service_s_alone(aws_connection: Any) -> None:
    aws_connection(service_config={"ec2": {"endpoint_url": "http://127.0.0.1:2"}})
    session = AwsCloudHook(aws_conn_id="aws_dev", region_name="eu-north-1").session()

    assert session.client("ec2").meta.endpoint_url == "http://127.0.0.1:2"
    assert "amazonaws.com" in session.client("autoscaling").meta.endpoint_url


NO_SUCH_CONNECTION = (
    "connection aws_prdo: does not exist. Add it to Airflow, or correct aws.connection in the fleet file."
)


@pytest.fixture
def own_identity(monkeypatch: pytest.MonkeyPatch) -> str:
    """The access key of the worker itself, whoever else's the connections have."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDWORKER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return "AKIDWORKER"


def test_an_aws_connection_that_does_not_exist_is_named_and_nobody_acts_as_the_worker(own_identity: str) -> None:
    with pytest.raises(BadInputError) as refused:
        runs.account(AwsAccess(region="eu-north-1", connection="aws_prdo"))
    assert str(refused.value) == NO_SUCH_CONNECTION


def test_nor_in_the_triggerer(own_identity: str) -> None:
    access = AwsAccess(region="eu-north-1", connection="aws_prdo")
    with pytest.raises(BadInputError) as refused:
        asyncio.run(in_thread("dev", runs.account, access))
    assert str(refused.value) == NO_SUCH_CONNECTION


def test_nor_on_the_way_to_an_eks_cluster(own_identity: str) -> None:
    settings = MemoryWorld.simple(machines=1).settings()
    update = {
        "aws": AwsAccess(region="eu-north-1", connection="aws_prdo"),
        "kubernetes": KubernetesAccess(eks_cluster="dev"),
    }
    hook = ClusterHook.of(settings.model_copy(update={"cluster": settings.cluster.model_copy(update=update)}))
    with pytest.raises(BadInputError) as refused:
        hook.cluster()
    assert str(refused.value) == NO_SUCH_CONNECTION


def test_a_fleet_file_that_names_no_aws_connection_may_mean_the_worker_s_own_identity(own_identity: str) -> None:
    access = AwsAccess(region="eu-north-1")
    client = AwsCloudHook(aws_conn_id=access.connection, region_name=access.region).session().client("ec2")

    assert client._request_signer._credentials.access_key == own_identity


def test_a_kubernetes_connection_brings_its_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = kubeconfig(tmp_path, one="https://127.0.0.1:1", two="https://127.0.0.1:2")
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(file)}}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEV", json.dumps(connection))

    first = ClusterHook("kubernetes_dev")
    second = ClusterHook("kubernetes_dev", cluster_context="two")
    clients = [first.get_conn(), second.get_conn()]

    assert [client.configuration.host for client in clients] == ["https://127.0.0.1:1", "https://127.0.0.1:2"]
    assert isinstance(first.cluster(), KubernetesCluster)


def test_an_eks_cluster_that_does_not_exist_is_named_with_its_region(aws_connection: Any) -> None:
    with site() as eks:
        eks.status, eks.body = (
            404,
            b'{"__type": "ResourceNotFoundException", "message": "No cluster found for name: nowhere."}',
        )
        aws_connection(endpoint_url=eks.address)
        aws = AwsCloudHook(aws_conn_id="aws_dev", region_name="eu-north-1")
        with pytest.raises(BadInputError, match="there is no EKS cluster 'nowhere' in eu-north-1"):
            ClusterHook(kubernetes_conn_id=None, eks_cluster="nowhere", aws=aws).cluster()


def test_an_eks_cluster_that_the_policy_does_not_name_may_be_misspelt(aws_connection: Any) -> None:
    """IAM denies what the policy does not name before EKS says whether there is any."""
    with site() as eks:
        eks.status, eks.body = 403, b'{"__type": "AccessDeniedException", "message": "not authorized"}'
        aws_connection(endpoint_url=eks.address)
        aws = AwsCloudHook(aws_conn_id="aws_dev", region_name="eu-north-1")
        with pytest.raises(BlockedError, match="not allowed: eks:DescribeCluster of EKS cluster nowhere") as refused:
            ClusterHook(kubernetes_conn_id=None, eks_cluster="nowhere", aws=aws).cluster()
    assert refused.value.blocked.remedy == (
        "Allow eks:DescribeCluster in the IAM policy of this identity, or correct the cluster's name in the fleet file "
        "(kubernetes.eks_cluster): the policy is for one cluster."
    )


def test_the_settings_say_which_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = MemoryWorld.simple(machines=1).settings()
    aws = AwsAccess(region="eu-north-1", connection="aws_dev")

    def of(access: KubernetesAccess) -> ClusterHook:
        cluster = settings.cluster.model_copy(update={"aws": aws, "kubernetes": access})
        return ClusterHook.of(settings.model_copy(update={"cluster": cluster}))

    plain = of(KubernetesAccess(connection="kubernetes_dev", context="two"))
    managed = of(KubernetesAccess(eks_cluster="dev"))

    assert (plain.conn_id, plain.cluster_context) == ("kubernetes_dev", "two")
    assert (managed._eks_cluster, managed._aws and managed._aws.aws_conn_id) == ("dev", "aws_dev")
