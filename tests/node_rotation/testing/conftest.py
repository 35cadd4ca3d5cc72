"""Small helpers for stories about the world in memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld
from node_rotation.world.kubernetes import Node, Pod

GROUP = "dev-workers"


@pytest.fixture
def build() -> Callable[..., MemoryWorld]:
    """A world of one group on ``old``, whose template says ``new`` by now, with the workloads that a story needs."""

    def make(*workloads: seeds.Workload, machines: int = 3, behaviour: str = "good", **more: object) -> MemoryWorld:
        group = seeds.Group("workers", image="old", next_image="new", desired=machines, max=machines + 3)
        images = (seeds.Image("old"), seeds.Image("new", behaviour=behaviour))
        return MemoryWorld.of(groups=(group,), images=images, workloads=workloads, **more)

    return make


@pytest.fixture
def pods() -> Callable[..., list[Pod]]:
    """The pods of a workload, all or on one node, in the order they were made."""

    def find(world: MemoryWorld, name: str, node: str | None = None) -> list[Pod]:
        found = [pod for pod in world.cluster.pods() if pod.labels["app"] == name]
        return [pod for pod in found if node in (None, pod.node)]

    return find


@pytest.fixture
def node_of() -> Callable[[MemoryWorld, str], Node]:
    """The node of an instance."""

    def find(world: MemoryWorld, instance_id: str) -> Node:
        return next(node for node in world.cluster.nodes() if node.instance_id == instance_id)

    return find
