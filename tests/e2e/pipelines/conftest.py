"""An EKS cluster and two kops clusters on one proving ground with a real Airflow, for all stories here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.e2e.land import ROTATE, Land
from tests.e2e.landing import landed
from tests.e2e.pipelines import eks, kops
from tests.e2e.watching import following

SCENARIO: dict[str, Any] = {
    "name": "pipelines",
    "account": "610987654321",
    "timing": {"boot": "1s", "shutdown": "500ms", "node_removal": "500ms", "heartbeat_grace": "20s"}
    | {"eks_pause": "1s", "eks_look": "300ms"},
    "images": [{"name": "base-1", "created": "2026-01-02T06:00:00.000Z"}],
    "parameters": [{"name": "/images/base/current", "image": "base-1"}],
    "clusters": [eks.CLUSTER, *kops.CLUSTERS],
}
DEFAULTS: dict[str, Any] = {
    "image": {"owner": "self", "name": "base-*"},
    "budget": {"max_surge": 2},
    "canary": False,
    "gate": {"settle": "0.5s"},
    "poll": "1.5s",
}


@pytest.fixture(scope="package")
def land(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Land]:
    directory = tmp_path_factory.mktemp("pipelines")
    eks.install(directory)
    kops.install(directory)
    with (
        landed(
            directory,
            SCENARIO,
            lambda world: yaml.safe_dump(
                {
                    "defaults": DEFAULTS,
                    "environments": [eks.environment(world, directory), kops.environment(world, directory)],
                }
            ),
            env=lambda world: {
                **world.env,
                "AIRFLOW_CONN_INSTALLER": json.dumps({"conn_type": "http", "host": world.endpoint}),
            },
            active=(ROTATE,),
        ) as running,
        following(
            running.core.list_namespaced_pod,
            "default",
            eks.image_pod,
            label_selector="app.kubernetes.io/component=image-step",
        ),
    ):
        yield running
