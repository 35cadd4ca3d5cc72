"""``node-rotation check``: the fleet file by itself, where nobody can be asked, as in the CI of its repository."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from node_rotation import fleet
from node_rotation.cli import render, session
from node_rotation.cli.exits import ExitCode
from node_rotation.cli.options import Output
from node_rotation.fleet import Settings


def check(file: Path, output: Output) -> ExitCode:
    """Read a fleet file, and of each cluster what every other command reads of it first.

    :raises BadInputError: names the file, the path in it and the remedy.
    """
    known = fleet.load(file)
    with session.said_of(file):
        every = [known.settings(name) for name in known.names]
    if output is Output.JSON:
        clusters = [_document(settings) for settings in every]
        render.write_json({"schema_version": 1, "fleet": str(file), "clusters": clusters})
    else:
        said = _said(len(known.environments), every)
        render.console().print(f"{file}: {said}.", markup=False, soft_wrap=True)
    return ExitCode.OK


def _document(settings: Settings) -> dict[str, Any]:
    """``kops`` is whose tags name a cluster's groups: the file does not, and nobody was asked."""
    source = settings.cluster.kops
    groups = [{"name": g.name, "kind": g.kind, "role": g.role} for g in settings.cluster.groups]
    return {"name": settings.name, "kops": source.cluster if source else None, "groups": groups}


def _said(environments: int, clusters: Sequence[Settings]) -> str:
    groups = sum(len(settings.cluster.groups) for settings in clusters)
    counts = {"environment": environments, "cluster": len(clusters), "group": groups}
    said = ", ".join(f"{count} {what}{'' if count == 1 else 's'}" for what, count in counts.items())
    by_tags = ", ".join(settings.name for settings in clusters if settings.cluster.kops)
    return f"{said}; kops' tags name those of {by_tags}" if by_tags else said
