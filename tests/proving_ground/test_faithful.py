"""Third-party clients, unmodified, and the refusals a rotation has to understand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kubernetes import client
from tests.proving_ground.waiting import eventually

from proving_ground import workloads
from proving_ground.aws import request_log
from proving_ground.control_plane import build
from proving_ground.scenario import Workload

pytestmark = pytest.mark.proving_ground


@pytest.fixture(autouse=True)
def airflow_of_its_own(monkeypatch, tmp_path_factory):
    """Whoever runs these tests may have an Airflow; its home is left alone."""
    if "AIRFLOW_HOME" not in os.environ:
        monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))


def pods(core, app):
    return core.list_namespaced_pod("default", label_selector=f"app={app}").items


def kubectl():
    return str(build.binaries(wanted=build.CLIENT) / "kubectl")


def test_an_eviction_that_a_budget_forbids_is_429_with_its_cause(core):
    # https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/#how-api-initiated-eviction-works
    pod = pods(core, "guarded")[0]
    eviction = {"metadata": {"name": pod.metadata.name, "namespace": "default"}}
    with pytest.raises(client.ApiException) as refused:
        core.create_namespaced_pod_eviction(pod.metadata.name, "default", eviction)
    assert refused.value.status == 429
    causes = json.loads(refused.value.body)["details"]["causes"]
    assert [cause["reason"] for cause in causes] == ["DisruptionBudget"]


def test_kubectl_drain_empties_a_node_and_respects_its_daemon_set(ground, core, api, launch):
    machine = launch("base-1")
    name = machine["PrivateDnsName"]
    movable = Workload(name="movable", replicas=6, ready_after="0s", stops_after="500ms", spread="hostname")
    eventually(lambda: [n for n in core.list_node().items if n.metadata.name == name])
    workloads.create(api, [movable])
    workloads.wait_ready(api, [movable], 30)
    eventually(lambda: any(pod.spec.node_name == name for pod in pods(core, "movable")))
    command = [kubectl(), "drain", name, "--ignore-daemonsets", "--timeout=60s"]
    environment = os.environ | {"KUBECONFIG": str(ground.kubeconfig("test"))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    assert core.read_node(name).spec.unschedulable
    left = core.list_pod_for_all_namespaces(field_selector=f"spec.nodeName={name}").items
    assert {pod.metadata.owner_references[0].kind for pod in left} == {"DaemonSet"}
    client.AppsV1Api(api).delete_namespaced_deployment("movable", "default")


def test_the_kubernetes_provider_s_hook_reads_the_cluster(ground, monkeypatch):
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook

    kubeconfig = json.dumps({"kube_config_path": str(ground.kubeconfig("test"))})
    monkeypatch.setenv("AIRFLOW_CONN_PG_KUBERNETES", json.dumps({"conn_type": "kubernetes", "extra": kubeconfig}))
    hook = KubernetesHook(conn_id="pg_kubernetes")
    names = {node.metadata.name for node in hook.core_v1_client.list_node().items}
    assert {event.private_dns_name for event in ground.aws.world.instances() if event.group} <= names


def test_the_amazon_provider_s_eks_hook_makes_a_kubeconfig_that_works(ground, monkeypatch):
    from airflow.providers.amazon.aws.hooks.eks import EksHook

    # The kubeconfig it writes runs plain `python`, as in an activated environment.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for name, value in (ground.env | {"PATH": path}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_PG", json.dumps({"conn_type": "aws"}))
    hook = EksHook(aws_conn_id="aws_pg", region_name=ground.scenario.region)
    session = hook.get_session()
    credentials = session.get_credentials().get_frozen_credentials()
    with (
        hook._secure_credential_context(credentials.access_key, credentials.secret_key, credentials.token) as file,
        hook.generate_config_file("test", pod_namespace="default", credentials_file=file) as kubeconfig,
    ):
        command = [kubectl(), f"--kubeconfig={kubeconfig}", "auth", "whoami", "-o", "json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    user = json.loads(done.stdout)["status"]["userInfo"]
    assert user["username"].startswith("arn:aws:iam::210987654321:user/")


def test_the_audit_log_tells_a_user_from_the_ground_s_own_parts(ground, core):
    core.list_namespaced_service_account("default", label_selector="who=asks")

    def asked():
        entries = [json.loads(line) for line in ground.audit_log("test").read_text().splitlines()]
        return [entry for entry in entries if "who%3Dasks" in entry["requestURI"]]

    (entry,) = eventually(asked)
    assert entry["user"]["username"] == "admin"
    assert entry["verb"] == "list"
    users = {json.loads(line)["user"]["username"] for line in ground.audit_log("test").read_text().splitlines()}
    assert {"proving-ground", "kwok", "kube-scheduler", "kube-controller-manager"} <= users


def test_the_request_log_names_the_calls(ground, ec2):
    ec2.describe_vpcs()
    assert "DescribeVpcs" in [one.action for one in request_log.read(ground.request_log)]
