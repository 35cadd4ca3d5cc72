from __future__ import annotations

import base64
from pathlib import Path

import pytest
import yaml
from airflow.models.connection import Connection
from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from airflow.providers.amazon.aws.hooks.eks import EksHook

from .support import REGION, Aws, refusal

AUTHORITY = base64.b64encode(b"-----BEGIN CERTIFICATE-----").decode()


@pytest.fixture
def connection(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> str:
    made = Connection(
        conn_id="aws_test",
        conn_type="aws",
        login="AKIATEST",
        password="any",
        extra={"endpoint_url": aws.server.endpoint, "region_name": REGION},
    )
    monkeypatch.setenv("AIRFLOW_CONN_AWS_TEST", made.as_json())
    return "aws_test"


def test_eks_describes_a_registered_cluster(aws: Aws) -> None:
    """Endpoint and certificate authority, as clients need them to reach a cluster.

    https://docs.aws.amazon.com/eks/latest/APIReference/API_DescribeCluster.html
    """
    aws.server.world.register_cluster("one", "https://127.0.0.1:6443", AUTHORITY, "1.36")
    eks = aws.client("eks")
    found = eks.describe_cluster(name="one")["cluster"]
    assert (found["endpoint"], found["status"], found["version"]) == ("https://127.0.0.1:6443", "ACTIVE", "1.36")
    assert found["certificateAuthority"]["data"] == AUTHORITY
    assert "one" in eks.list_clusters()["clusters"]
    assert refusal(eks.describe_cluster, name="none")[0] == "ResourceNotFoundException"


def test_airflows_aws_hook_works_unmodified(aws: Aws, connection: str) -> None:
    """https://airflow.apache.org/docs/apache-airflow-providers-amazon/stable/connections/aws.html"""
    group = aws.group(0)
    client = AwsBaseHook(aws_conn_id=connection, client_type="autoscaling").conn
    found = client.describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"]
    assert [entry["AutoScalingGroupName"] for entry in found] == [group]
    caller = AwsBaseHook(aws_conn_id=connection, client_type="sts").conn.get_caller_identity()
    assert caller["Account"] == aws.server.world.account


def test_airflows_eks_hook_writes_a_kubeconfig(aws: Aws, connection: str, tmp_path: Path) -> None:
    """The hook reads endpoint and authority from EKS and signs a token by STS.

    https://docs.aws.amazon.com/eks/latest/userguide/cluster-auth.html
    """
    aws.server.world.register_cluster("two", "https://127.0.0.1:6444", AUTHORITY)
    hook = EksHook(aws_conn_id=connection, region_name=REGION)
    with hook.generate_config_file_with_credentials("two", "default") as (path, _):
        cluster = yaml.safe_load(Path(path).read_text())["clusters"][0]["cluster"]
    assert cluster["server"] == "https://127.0.0.1:6444"
    assert cluster["certificate-authority-data"] == AUTHORITY
