"""Where a kops ground's etcd answers."""

from __future__ import annotations

import json

from node_rotation.control_plane.values import EtcdAccess
from proving_ground.ground import Ground


def access(kops: Ground) -> dict[str, EtcdAccess]:
    """What the ground wrote down of its etcd, as a user reads it."""
    written = json.loads((kops.directory / "prod" / "etcd.json").read_text())
    return {name: EtcdAccess(endpoints=tuple(endpoints)) for name, endpoints in written.items()}
