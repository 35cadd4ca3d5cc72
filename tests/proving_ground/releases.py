"""Two releases of EKS' own image for scenarios with managed node groups: last week's, and the one AWS recommends."""

from __future__ import annotations

from typing import Any

from proving_ground.ground import Ground

RECOMMENDED = "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/standard/recommended"
OLD = "amazon-eks-node-al2023-x86_64-standard-1.36-v20261101"
NEW = "amazon-eks-node-al2023-x86_64-standard-1.36-v20261108"
IMAGES: list[dict[str, Any]] = [
    {"name": OLD, "created": "2026-11-01T06:00:00.000Z", "owner": "amazon", "release": "1.36.1-20261101"},
    {"name": NEW, "created": "2026-11-08T06:00:00.000Z", "owner": "amazon", "release": "1.36.2-20261108"},
]
PARAMETERS: list[dict[str, Any]] = [
    {"name": f"{RECOMMENDED}/image_id", "image": NEW},
    {"name": f"{RECOMMENDED}/release_version", "image": NEW},
]


def images(ground: Ground, asg: str) -> list[str]:
    """Names of the images that an Auto Scaling group's machines run, sorted."""
    world = ground.aws.world
    with world.lock:
        members = world.autoscaling.group(asg).live()
        return sorted(str(world.images.record(m.blueprint.image_id).name) for m in members)
