"""Kubernetes' JSON as values of ours."""

from __future__ import annotations

from typing import Any

import pytest

from node_rotation.clients import kubernetes_values as values
from node_rotation.workloads.volume import Volume


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


def claimed(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"claimRef": {"namespace": "shop", "name": f"data-{name}"}, **spec}}


def zonal(key: str, *zones: str) -> dict[str, Any]:
    expression = {"key": key, "operator": "In", "values": list(zones)}
    return {"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}


def attachment(name: str, node: str, volume: str | None) -> dict[str, Any]:
    source = {"persistentVolumeName": volume} if volume else {"inlineVolumeSpec": {}}
    return {"metadata": {"name": name}, "spec": {"nodeName": node, "source": source}}


def test_volumes_say_their_claim_their_zones_and_where_they_are_attached():
    found = [
        claimed("pv-1", **zonal("topology.ebs.csi.aws.com/zone", "eu-1a")),
        claimed("pv-2", **zonal("topology.kubernetes.io/zone", "eu-1a", "eu-1b")),
        claimed("pv-3", **zonal("kubernetes.io/hostname", "node-1")),
        {"metadata": {"name": "pv-free"}, "spec": {}},
    ]
    attachments = [attachment("csi-1", "node-1", "pv-1"), attachment("csi-2", "node-2", None)]
    assert values.volumes(found, attachments) == (
        Volume("pv-1", "shop/data-pv-1", ("eu-1a",), ("node-1",)),
        Volume("pv-2", "shop/data-pv-2", ("eu-1a", "eu-1b")),
        Volume("pv-3", "shop/data-pv-3"),
        Volume("pv-free"),
        Volume("csi-2", attached=("node-2",)),
    )


def disruption_budget(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": name}, "spec": {"minAvailable": 1, **spec}}


def test_a_disruption_budget_without_a_selector_is_nobodys_and_an_empty_one_is_its_namespaces():
    found = [
        disruption_budget("none"),
        disruption_budget("null", selector=None),
        disruption_budget("all", selector={}),
        disruption_budget("api", selector={"matchLabels": {"app": "api"}}),
    ]

    assert [(budget.name, budget.selector) for budget in values.budgets(found)] == [
        ("all", {}),
        ("api", {"app": "api"}),
    ]


def test_what_a_deployment_was_rolled_for_is_in_its_template():
    template = {"metadata": {"annotations": {"node-rotation/rolled-for": "uid-1"}}}
    assert values.workload("Deployment", deployment(template=template)).rolled_for == "uid-1"
    assert values.workload("Deployment", deployment()).rolled_for == ""


@pytest.mark.parametrize(
    ("addresses", "found"),
    [
        ([{"type": "InternalIP", "address": "10.0.0.5"}, {"type": "InternalIP", "address": "fd00::5"}], "10.0.0.5"),
        ([{"type": "ExternalIP", "address": "1.2.3.4"}, {"type": "InternalIP", "address": "10.0.0.5"}], "10.0.0.5"),
        ([{"type": "Hostname", "address": "i-0a"}], ""),
        (None, ""),
    ],
)
def test_a_node_is_reached_at_its_first_internal_address(addresses, found):
    status = {} if addresses is None else {"addresses": addresses}
    assert values.node({"metadata": {"name": "i-0a", "uid": "u"}, "status": status}).address == found


@pytest.mark.parametrize(
    ("said", "reason", "text"),
    [
        (
            {"status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."},
            "NodeStatusUnknown",
            "NodeStatusUnknown: Kubelet stopped posting node status.",
        ),
        ({"status": "False", "reason": "KubeletNotReady"}, "KubeletNotReady", "KubeletNotReady"),
        ({"status": "False", "message": "asleep"}, "", "asleep"),
        ({"status": "False"}, "", "no reason given"),
        ({"status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}, "", ""),
        ({}, "no Ready condition yet", "no Ready condition yet"),
    ],
)
def test_a_node_that_is_not_ready_says_why_in_a_word_and_in_a_text(said, reason, text):
    conditions = [{"type": "Ready", **said}] if said else []
    found = values.node({"metadata": {"name": "i-0a", "uid": "u"}, "status": {"conditions": conditions}})
    assert (found.ready_reason, found.why_not_ready) == (reason, text)


def test_a_pod_says_what_it_tolerates_for_good():
    tolerations = [
        {"key": "dedicated", "value": "infra", "effect": "NoSchedule"},
        {"operator": "Exists"},
        {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
    ]
    meta = {"namespace": "shop", "name": "queue-0", "uid": "u"}
    found = values.pod({"metadata": meta, "spec": {"tolerations": tolerations}})
    assert found.tolerations == (("dedicated", "", "infra", "NoSchedule"), ("", "Exists", "", ""))


def test_a_paused_deployment_says_what_it_had():
    found = deployment()
    assert values.workload("Deployment", found).before_pause == ""
    found["metadata"]["annotations"] = {"node-rotation/replicas": "2"}
    assert values.workload("Deployment", found).before_pause == "2"


@pytest.mark.parametrize(("status", "lacking"), [((3, 2), 1), ((3, 3), 0), ((2, 3), 0)])
def test_a_daemon_set_says_on_how_many_of_its_nodes_a_pod_is_still_lacking(status, lacking):
    found = {
        "metadata": {"namespace": "shop", "name": "log", "uid": "uid-log"},
        "status": dict(zip(("desiredNumberScheduled", "currentNumberScheduled"), status, strict=True)),
    }
    assert values.workload("DaemonSet", found).lacking == lacking
