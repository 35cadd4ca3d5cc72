"""Whoever only plans can't change anything: no mutation of a protocol is left out."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from node_rotation.clients.read_only import ReadOnlyCloud, ReadOnlyCluster, read_only
from node_rotation.errors import PermanentError
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.clients import Cloud, Cluster

CLOUD_READS = {
    "groups", "find_groups", "instances", "tagged_instances", "activities", "image", "images", "parameter",
    "parameters", "template", "managed_group", "warm_members", "targets",
}  # fmt: skip
CLUSTER_READS = {"nodes", "pods", "budgets", "workloads", "volumes", "minor_version", "control_plane", "lease"}


def methods(protocol: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(protocol, inspect.isfunction) if not name.startswith("_")}


def arguments(function: Any) -> dict[str, Any]:
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return {p.name: None for p in parameters if p.kind is p.KEYWORD_ONLY or p.default is p.empty}


@pytest.mark.parametrize(
    ("protocol", "reads"), [(Cloud, CLOUD_READS), (Cluster, CLUSTER_READS)], ids=["cloud", "cluster"]
)
def test_every_mutation_is_refused_and_nothing_happens(protocol, reads):
    world = MemoryWorld.simple(machines=1)
    cloud, cluster = read_only(world.cloud, world.cluster)
    client = cloud if protocol is Cloud else cluster

    for name in methods(protocol) - reads:
        with pytest.raises(PermanentError, match="read-only"):
            getattr(client, name)(**arguments(getattr(protocol, name)))

    assert world.mutations == []


def test_every_question_is_answered_by_the_client_behind():
    world = MemoryWorld.simple(machines=1)

    for client, behind, reads in (
        (ReadOnlyCloud(world.cloud), world.cloud, CLOUD_READS),
        (ReadOnlyCluster(world.cluster), world.cluster, CLUSTER_READS),
    ):
        for name in reads:
            assert getattr(client, name) == getattr(behind, name)
