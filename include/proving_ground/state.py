"""What a running proving ground says about itself: one file that `up`, `status` and `down` read."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DIRECTORY = ".proving-ground"


@dataclass(frozen=True)
class State:
    """Where a ground stands.

    :param scenario: its name, or the file it was started from.
    :param error: why it failed, for people.
    :param clusters: API server URL by cluster.
    """

    phase: Literal["starting", "ready", "failed"]
    scenario: str
    endpoint: str = ""
    error: str = ""
    clusters: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


def write(directory: Path, state: State) -> None:
    """Replace the file at once, so that no reader sees half of it."""
    part = directory / "ground.part"
    part.write_text(json.dumps(asdict(state), indent=1))
    part.replace(directory / "ground.json")


def read(directory: Path) -> State | None:
    """The last state written, None where no ground was ever started."""
    try:
        return State(**json.loads((directory / "ground.json").read_text()))
    except FileNotFoundError:
        return None


def write_environment(directory: Path, variables: Mapping[str, str]) -> Path:
    """Write exports that a shell can source."""
    path = directory / "env"
    path.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()))
    return path
