"""The command line as people type it: options of every command wherever they stand, mistakes with what to type."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Any

import typer

FLAGS = ("--debug",)
WITH_VALUE = ("--fleet", "--output", "-o")
_WAYS_OUT = {
    "--dry-run": "node-rotation plan CLUSTER shows what it would do.",
    "--cluster": "Name it as an argument: node-rotation {command} {value}.",
}
"""Options that people know from elsewhere."""


def in_front(given: Sequence[str], valued: Collection[str]) -> list[str]:
    """The same command line with what holds for every command before the command, where it is declared.

    :param given: what follows the program's name.
    :param valued: options of the commands that have a value: it is no option, whatever it looks like.
    """
    front: list[str] = []
    rest: list[str] = []
    words = list(given)
    while words:
        word = words.pop(0)
        if word == "--":
            rest += [word, *words]
            break
        if word in FLAGS or word.startswith(("--fleet=", "--output=")) or re.fullmatch(r"-o.+", word):
            front.append(word)
        elif word in WITH_VALUE and words:
            front += [word, words.pop(0)]
        else:
            rest.append(word)
            if word in valued and words:
                rest.append(words.pop(0))
    return front + rest


def valued(app: typer.Typer) -> frozenset[str]:
    """The options of all commands that have a value."""
    group: Any = typer.main.get_command(app)
    options = (option for command in group.commands.values() for option in command.params)
    return frozenset(name for option in options if not getattr(option, "is_flag", True) for name in option.opts)


def misused(error: typer.TyperException, given: Sequence[str]) -> tuple[str, str]:
    """What is wrong with the options, and what to do.

    :param given: the command line.
    """
    option = str(getattr(error, "option_name", ""))
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "node-rotation"
    if option in WITH_VALUE:
        return f"Option '{option}' requires an argument.", f"See: {path} --help"
    said = error.format_message().replace("Value error, ", "")
    if getattr(error, "possibilities", None) and "Possible options" in said:
        said = said.partition(" (Possible")[0]  # its guesses are by length, not by what is meant
    said = said if said.endswith((".", "?")) else f"{said}."
    if option in _WAYS_OUT:
        return said, _WAYS_OUT[option].format(command=path.split()[-1], value=_value(option, given))
    return said, f"See: {path} --help"


def version() -> str:
    """The version that is installed; a copy of the sources has none."""
    try:
        return installed("node-rotation")
    except PackageNotFoundError:
        return "(not installed)"


def _value(option: str, given: Sequence[str]) -> str:
    """What was given to an option, or what it would be."""
    following: Mapping[str, str] = dict(zip(given, [*given[1:], "CLUSTER"], strict=True)) if given else {}
    return following.get(option, "CLUSTER")
