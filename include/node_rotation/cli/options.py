"""The options that several commands share, and how they become a run's policy."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from node_rotation.cli.arguments import version
from node_rotation.configuration import document
from node_rotation.errors import BadInputError
from node_rotation.model import Role, Strategy
from node_rotation.policy import Mode


class Output(StrEnum):
    """How a command speaks."""

    TEXT = "text"
    JSON = "json"


_POLICY = "Policy, on top of the fleet file's"
_WHAT = "What to look at"


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"node-rotation {version()}")
        raise typer.Exit


FleetFile = Annotated[
    Path, typer.Option("--fleet", envvar="NODE_ROTATION_FLEET", metavar="PATH", help="The fleet file.")
]
OutputAs = Annotated[Output, typer.Option("--output", "-o", help="json writes one document to stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Version = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Show the version and exit.")
]
ClusterName = Annotated[str, typer.Argument(metavar="CLUSTER", help="A cluster's name, or ENVIRONMENT.CLUSTER.")]
ClusterNames = Annotated[
    list[str] | None, typer.Argument(metavar="CLUSTER", help="Clusters; without one, the whole fleet.")
]
Groups = Annotated[
    list[str] | None,
    typer.Option("--group", "-g", metavar="NAME", help="Only this node group; repeatable.", rich_help_panel=_WHAT),
]
OnlyRole = Annotated[Role | None, typer.Option("--role", help="Only groups of this role.", rich_help_panel=_WHAT)]
PinnedImage = Annotated[
    str | None,
    typer.Option("--image", metavar="AMI", help="Rotate to this image.", rich_help_panel=_POLICY),
]
ImageId = Annotated[str, typer.Argument(metavar="IMAGE", help="An image's id (ami-...).")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it goes on record.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Approve the plan, where its policy asks for approval.")]
WithStrategy = Annotated[Strategy | None, typer.Option("--strategy", rich_help_panel=_POLICY)]
MaxSurge = Annotated[
    str | None,
    typer.Option(metavar="N|N%", help="Machines on top at once, per group.", rich_help_panel=_POLICY),
]
InMode = Annotated[
    Mode | None, typer.Option("--mode", help="plan stops once the plan is made.", rich_help_panel=_POLICY)
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any other setting, e.g. --set drain.timeout=20m; repeatable.",
        rich_help_panel=_POLICY,
    ),
]


def overrides(
    *,
    image: str | None = None,
    strategy: Strategy | None = None,
    max_surge: str | None = None,
    mode: Mode | None = None,
    sets: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The run's layer of the policy: only what was said.

    :param image: an image id that takes the place of the policy's source.
    :param max_surge: machines or a percentage, as typed.
    :param sets: ``key.key=value`` each, values read as YAML.
    :raises BadInputError: names the option that can't be right.
    """
    layer: dict[str, Any] = {}
    for item in sets or ():
        _put(layer, item)
    if image is not None:
        layer["image"] = {"id": image}
    if strategy is not None:
        layer["strategy"] = strategy
    if max_surge is not None:
        budget = layer.setdefault("budget", {})
        if isinstance(budget, dict):  # else validation says what has to stand there
            budget["max_surge"] = max_surge
    if mode is not None:
        layer["mode"] = mode
    return layer


def _put(layer: dict[str, Any], item: str) -> None:
    path, separator, text = item.partition("=")
    keys = path.split(".")
    if not separator or not all(keys):
        raise BadInputError("--set", f"{item!r} is not KEY=VALUE.", "Write e.g. --set drain.timeout=20m.")
    for key in keys[:-1]:
        layer = layer.setdefault(key, {})
        if not isinstance(layer, dict):
            problem = f"{item!r} lies below a setting that has a value already."
            raise BadInputError("--set", problem, "Leave out one of the two; docs/fleet.schema.json has every setting.")
    try:
        layer[keys[-1]] = document.read(text)
    except yaml.YAMLError as error:
        problem = f"the value of {item!r} is not YAML."
        raise BadInputError("--set", problem, "Put it in quotes, e.g. --set 'gate.checks=[]'.") from error
