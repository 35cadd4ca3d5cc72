"""Kubernetes' JSON as values of ours."""

from __future__ import annotations

from typing import Any

import pytest

from node_rotation.clients import kubernetes_values as values


def deployment(**spec: Any) -> dict[str, Any]:
    meta = {"namespace": "shop", "name": "api", "uid": "uid-api"}
    return {"metadata": meta, "spec": {"replicas": 1, **spec}, "status": {"readyReplicas": 1}}


def rolling(**said: Any) -> dict[str, Any]:
    return {"strategy": {"type": "RollingUpdate", "rollingUpdate": said}}


@pytest.mark.parametrize(
    ("spec", "surges"),
    [
        ({}, True),
        (rolling(maxSurge="25%", maxUnavailable="25%"), True),
        (rolling(maxSurge=1, maxUnavailable=0), True),
        (rolling(maxSurge=0, maxUnavailable=1), False),
        (rolling(maxSurge=1, maxUnavailable=1), False),
        (rolling(maxSurge="25%", maxUnavailable="100%"), False),
        ({"strategy": {"type": "Recreate"}}, False),
        ({"paused": True}, False),
    ],
)
def test_a_deployment_says_whether_a_rollout_starts_the_new_pod_first(spec, surges):
    assert values.workload("Deployment", deployment(**spec)).surges is surges
    assert not values.workload("StatefulSet", deployment(**spec)).surges


def test_what_a_deployment_was_rolled_for_is_in_its_template():
    template = {"metadata": {"annotations": {"node-rotation/rolled-for": "uid-1"}}}
    assert values.workload("Deployment", deployment(template=template)).rolled_for == "uid-1"
    assert values.workload("Deployment", deployment()).rolled_for == ""
