"""Fills the clusters: first the nodes, or all pods would crowd onto the first ones; then the workloads."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from kubernetes import client
from urllib3.exceptions import HTTPError

from proving_ground import workloads
from proving_ground.kube import TIMEOUT_S, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proving_ground.control_plane.cluster import ControlPlane
    from proving_ground.scenario import Cluster, Scenario

    Progress = Callable[[str], None]

NODES_WITHIN_S = 120.0
WORKLOADS_WITHIN_S = 180.0
POLL_S = 0.2


class SeedError(RuntimeError):
    """The fleet did not come up; the message says which part of it."""


def fill(scenario: Scenario, clusters: Mapping[str, ControlPlane], progress: Progress) -> None:
    """Wait for the scenario's nodes, create its workloads and wait until all are Ready.

    :param progress: takes one line for people at a time.
    :raises SeedError: nodes did not become Ready in time; names the cluster.
    :raises proving_ground.workloads.UnreadyError: workloads did not.
    """
    for one in scenario.clusters:
        api = connect(clusters[one.name])
        expected = _expected_nodes(scenario, one)
        _wait_for_nodes(api, one.name, expected)
        progress(f"{one.name}: {expected} nodes Ready")
        workloads.create(api, one.workloads)
    for one in scenario.clusters:
        workloads.wait_ready(connect(clusters[one.name]), one.workloads, WORKLOADS_WITHIN_S)
        progress(f"{one.name}: {len(one.workloads)} workloads Ready")


def _expected_nodes(scenario: Scenario, one: Cluster) -> int:
    joining = {image.name for image in scenario.images if image.behaviour in ("good", "fails-later")}
    return sum(group.desired for group in one.groups if group.image in joining)


def _wait_for_nodes(api: client.ApiClient, name: str, expected: int) -> None:
    deadline = time.monotonic() + NODES_WITHIN_S
    ready = -1
    while time.monotonic() < deadline:
        # The API server may have only just come up.
        with contextlib.suppress(client.ApiException, HTTPError):
            ready = _count_ready(api)
        if ready >= expected:
            return
        time.sleep(POLL_S)
    raise SeedError(f"{name}: {max(ready, 0)} of {expected} nodes Ready after {NODES_WITHIN_S:.0f} s")


def _count_ready(api: client.ApiClient) -> int:
    nodes = client.CoreV1Api(api).list_node(_request_timeout=TIMEOUT_S).items
    return sum(
        1
        for node in nodes
        for condition in node.status.conditions or []
        # A Node is created with its not-ready taint; the scheduler waits for that to go.
        if condition.type == "Ready" and condition.status == "True" and not _not_ready_taint(node)
    )


def _not_ready_taint(node: client.V1Node) -> bool:
    return any(taint.key == "node.kubernetes.io/not-ready" for taint in node.spec.taints or [])
