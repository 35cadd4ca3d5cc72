"""The command line ``node-rotation``: check, drift, plan, rotate, drain, doctor, status, sweep ... (docs/cli.md)."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the entry point of the ``node-rotation`` script.

    :param arguments: what follows the program's name; None takes this process' own.
    :returns: the exit code, see :class:`node_rotation.cli.exits.ExitCode`.
    """
    from node_rotation.cli import app  # typer and rich are dear: only a run of the command pays for them

    return app.run(arguments)
