"""A cluster of which group ``workers`` drifted, while the image of group ``gpu`` only soaks."""

from __future__ import annotations

from typing import Any

from node_rotation.fleet import Settings
from node_rotation.policy import merge
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld

SOURCES: dict[str, dict[str, Any]] = {
    "workers": {"owner": "self", "name": "base-*", "soak": "3d"},
    "gpu": {"owner": "self", "name": "gpu-new", "soak": "3d"},
}
IMAGES = (
    seeds.Image("base-old", created="2026-10-01T06:00:00.000Z"),
    seeds.Image("base-new", created="2026-10-30T06:00:00.000Z"),
    seeds.Image("gpu-old", created="2026-10-01T06:00:00.000Z"),
    seeds.Image("gpu-new", created="2026-11-08T06:00:00.000Z"),
)
LEFT_OUT = "group gpu is left out: image ami-"


def soaking(workers: str = "base-old", gpus: int = 1) -> MemoryWorld:
    """Both groups, behind by one image.

    :param workers: the image that ``workers`` run; on ``base-new`` nothing has drifted.
    :param gpus: machines of ``gpu``.
    """
    groups = (
        seeds.Group("workers", image=workers, next_image="base-new", desired=2, max=9),
        seeds.Group("gpu", image="gpu-old", next_image="gpu-new", desired=gpus),
    )
    return MemoryWorld.of(groups=groups, images=IMAGES, workloads=())


def told(world: MemoryWorld, *, ripe: bool = False, **policy: Any) -> Settings:
    """What a fleet file says of it, each group with an image source of its own.

    :param ripe: nothing has to soak.
    """
    settings = world.settings(**policy)
    sources = {name: {**source, **({"soak": "0s"} if ripe else {})} for name, source in SOURCES.items()}
    groups = {name: merge(own, {"image": sources[name]}) for name, own in settings.groups.items()}
    return settings.model_copy(update={"groups": groups})
