"""What the rotation keeps from happening: two masters at once, and the API server is gone until one is back."""

from __future__ import annotations

import pytest
from kubernetes.config import new_client_from_config
from tests.e2e.kops.etcd import access
from tests.proving_ground.waiting import eventually

from node_rotation.clients.etcd import probe
from node_rotation.clients.kubernetes import KubernetesCluster
from node_rotation.errors import TransientError
from proving_ground.ground import Ground

pytestmark = [pytest.mark.proving_ground, pytest.mark.timeout(1500)]
WITHIN_S = 90.0


def test_taking_two_masters_kills_the_api_server_and_their_volumes_bring_it_back(kops: Ground) -> None:
    etcd = access(kops)
    client = new_client_from_config(str(kops.kubeconfig("prod")), persist_config=False)
    cluster = KubernetesCluster(client)
    ec2 = kops.aws.client("ec2", access_key="tests")
    autoscaling = kops.aws.client("autoscaling", access_key="tests")
    names = ["prod-control-plane-a", "prod-control-plane-b"]
    groups = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=names)["AutoScalingGroups"]
    nodes = {node.name for node in cluster.nodes()}

    for name in names:  # no replacement before everybody has seen what is lost
        autoscaling.suspend_processes(AutoScalingGroupName=name, ScalingProcesses=["Launch"])
    ec2.terminate_instances(InstanceIds=[i["InstanceId"] for group in groups for i in group["Instances"]])

    eventually(lambda: not any(m.healthy for c in probe(etcd) for m in c.members), WITHIN_S)
    with pytest.raises(TransientError):
        cluster.lease()
    for name in names:
        autoscaling.resume_processes(AutoScalingGroupName=name, ScalingProcesses=["Launch"])

    eventually(lambda: all(m.healthy for c in probe(etcd) for m in c.members), WITHIN_S)
    eventually(lambda: _answers(cluster), WITHIN_S)
    assert {c.voters for c in probe(etcd)} == {("etcd-a0", "etcd-b1", "etcd-c2")}
    assert nodes & {node.name for node in cluster.nodes()}, "the data did not outlive the machines"


def _answers(cluster: KubernetesCluster) -> bool:
    try:
        return cluster.control_plane({}).ready
    except TransientError:
        return False
