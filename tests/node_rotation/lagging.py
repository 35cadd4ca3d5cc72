"""An Auto Scaling that shows a group's sizes late: what it describes is eventually consistent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from node_rotation.testing.world import MemoryWorld
from node_rotation.world.aws import ScalingGroup


def sizes_lag(monkeypatch: pytest.MonkeyPatch, world: MemoryWorld, by_s: float) -> None:
    """From now on every size that is set shows so many seconds later, and the one before until then."""
    groups, set_sizes = world.cloud.groups, world.cloud.set_sizes
    before: dict[str, tuple[float, ScalingGroup]] = {}

    def sets(group: str, **sizes: Any) -> None:
        was = groups([group])[group]
        set_sizes(group, **sizes)
        before[group] = (world.clock.now() + by_s, was)

    def shows(names: Sequence[str]) -> Mapping[str, ScalingGroup]:
        return {name: late(found) for name, found in groups(names).items()}

    def late(found: ScalingGroup) -> ScalingGroup:
        until, was = before.get(found.name, (0.0, found))
        if world.clock.now() >= until:
            return found
        return replace(found, min=was.min, max=was.max, desired=was.desired)

    monkeypatch.setattr(world.cloud, "set_sizes", sets)
    monkeypatch.setattr(world.cloud, "groups", shows)
