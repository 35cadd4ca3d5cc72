"""One small proving ground per module that asks for it: a cluster `test`, two machines, and machines on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from proving_ground.ground import Ground, start
from proving_ground.scenario import Scenario

SCENARIO = {
    "name": "tests",
    # Each AWS of a process has an account of its own; the AWS tests use others.
    "account": "210987654321",
    "timing": {
        "boot": "300ms",
        "shutdown": "300ms",
        "stop": "200ms",
        "node_removal": "500ms",
        "heartbeat_grace": "4s",
    },
    "images": [
        {"name": "base-1", "created": "2026-11-01T06:00:00.000Z"},
        {"name": "never", "created": "2026-11-02T06:00:00.000Z", "behaviour": "never-joins"},
        {"name": "not-ready", "created": "2026-11-03T06:00:00.000Z", "behaviour": "joins-not-ready"},
        {"name": "later", "created": "2026-11-04T06:00:00.000Z", "behaviour": "fails-later", "fails_after": "2s"},
    ],
    "clusters": [
        {
            "name": "test",
            "environment": "dev",
            "groups": [
                {
                    "name": "workers",
                    "image": "base-1",
                    "min": 2,
                    "max": 4,
                    "desired": 2,
                    "labels": {"pool": "workers"},
                    "zones": ["a", "b"],
                }
            ],
            "workloads": [
                {"name": "guarded", "replicas": 2, "ready_after": "500ms", "budget": {"min_available": 2}},
                {"name": "agent", "kind": "DaemonSet", "namespace": "kube-system"},
                {"name": "migration", "kind": "Job", "annotations": {"proving-ground/completes-after": "0.5s"}},
            ],
        }
    ],
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    directory: Path = tmp_path_factory.mktemp("ground")
    with start(Scenario.model_validate(SCENARIO), directory) as running:
        yield running


@pytest.fixture(scope="module")
def api(ground: Ground) -> client.ApiClient:
    """A client as a user has it: the administrator's kubeconfig."""
    configuration = client.Configuration()
    config.load_kube_config(str(ground.kubeconfig("test")), client_configuration=configuration)
    return client.ApiClient(configuration)


@pytest.fixture(scope="module")
def core(api: client.ApiClient) -> client.CoreV1Api:
    return client.CoreV1Api(api)


@pytest.fixture(scope="module")
def ec2(ground: Ground) -> Any:
    return ground.aws.client("ec2", access_key="tests")


@pytest.fixture
def launch(ground: Ground, ec2: Any) -> Iterator[Callable[[str], Any]]:
    """Launch a machine of cluster `test` on one of the scenario's images; it is terminated afterwards."""
    launched: list[str] = []
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "kubernetes.io/cluster/test", "Value": "owned"}]}]

    def run(image_name: str) -> Any:
        (image,) = ec2.describe_images(Filters=[{"Name": "name", "Values": [image_name]}])["Images"]
        (instance,) = ec2.run_instances(
            ImageId=image["ImageId"],
            InstanceType="m6i.large",
            MinCount=1,
            MaxCount=1,
            TagSpecifications=tags,
        )["Instances"]
        launched.append(instance["InstanceId"])
        return instance

    yield run
    if launched:
        ec2.terminate_instances(InstanceIds=launched)
