"""The command line against a world in memory: one fleet file, one seam."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from node_rotation.cli import main, session
from node_rotation.testing.world import MemoryWorld


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


Cli = Callable[..., Ran]


@pytest.fixture
def world() -> MemoryWorld:
    """Six machines on an older image than their template launches."""
    return MemoryWorld.simple(machines=6, max_unavailable=3)


@pytest.fixture
def fleet_file(world: MemoryWorld, tmp_path: Path) -> Path:
    """The fleet file of that world: one cluster, one group."""
    cluster = {
        "name": world.seed.cluster,
        "aws": {"region": world.seed.region},
        "groups": [{"name": "workers", "asg": world.asg("workers")}],
    }
    fleet = {
        "defaults": {"budget": {"max_surge": 2}, "gate": {"settle": "5s"}},
        "environments": [{"name": world.seed.environment, "clusters": [cluster]}],
    }
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump(fleet))
    return path


@pytest.fixture
def cli(
    world: MemoryWorld, fleet_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    """Run one command in this process, as the script's entry point does."""
    monkeypatch.setattr(session, "connect", lambda _settings: (world.cloud, world.cluster))
    monkeypatch.setattr(session, "account", lambda _access: world.cloud)
    monkeypatch.setattr(session, "wall_clock", lambda: world.clock)
    monkeypatch.setenv("NODE_ROTATION_FLEET", str(fleet_file))

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        code = main(arguments)
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run


@pytest.fixture
def name(world: MemoryWorld) -> str:
    """The cluster's name on the command line."""
    return world.seed.cluster
