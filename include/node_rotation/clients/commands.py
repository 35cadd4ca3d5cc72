"""Programs of this machine: started without a shell, watched without a thread, ended with all their children.

Each has a keeper (``keeper.py``) that ends it when this process dies, however it dies.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from node_rotation.clients import keeper
from node_rotation.clients.text import short
from node_rotation.configuration.image_policy import ImageCommand
from node_rotation.errors import BlockedError
from node_rotation.outcome import Blocked
from node_rotation.outside import CommandState

log = logging.getLogger(__name__)
TAIL = 10
LINE = 500
KEEPER = str(Path(__file__).with_name("keeper.py"))


@dataclass(slots=True)
class _Begun:
    """A program's keeper, what it writes, and the pipe that breaks when this process dies."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]
    pipe: int
    read: int = 0
    rest: bytes = b""
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))


class LocalCommands:
    """Commands that this process began."""

    def __init__(self) -> None:
        self._begun: dict[str, _Begun] = {}

    def check(self, command: ImageCommand) -> None:
        """See that program and directory are there; starts nothing.

        :raises BlockedError: if not.
        """
        directory = _directory(command)
        if directory is not None and not os.path.isdir(directory):
            raise BlockedError(Blocked(f"there is no directory {directory}", ("image_command.directory",), _REMEDY))
        program = command.argv[0]
        at = program if directory is None or os.sep not in program else os.path.join(directory, program)
        if shutil.which(at) is None:
            raise BlockedError(Blocked(f"there is no program {program}", ("image_command.argv",), _REMEDY))

    def begin(self, key: str, command: ImageCommand, variables: Mapping[str, str]) -> None:
        """Start it, in a session of its own.

        :param variables: win over the command's own environment.
        :raises BlockedError: if it can't be started.
        """
        self.check(command)
        output = tempfile.TemporaryFile()  # noqa: SIM115 - closed once the process has ended
        broken, pipe = os.pipe()
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", KEEPER, str(broken), *command.argv],
                cwd=_directory(command),
                env={**_environment(), **command.environment, **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(broken,),
            )
        except OSError as error:
            output.close()
            os.close(pipe)
            what = f"{command.argv[0]} can't be started: {short(error)}"
            raise BlockedError(Blocked(what, ("image_command",), _REMEDY)) from error
        finally:
            os.close(broken)
        log.info("%s: started as process %d", command.argv[0], process.pid)
        self._begun[key] = _Begun(process, output, pipe)

    def state(self, key: str) -> CommandState | None:
        """How it goes; its new output goes to the log. None if this process did not begin it."""
        begun = self._begun.get(key)
        if begun is None:
            return None
        code = begun.process.poll()
        _read(begun, last=code is not None)
        return CommandState(code, tuple(begun.tail))

    def end(self, key: str) -> None:
        """End it, with everything that it started: asked first, then killed. Nothing if it is not ours."""
        begun = self._begun.get(key)
        if begun is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL) if begun.process.poll() is None else ():
            with suppress(ProcessLookupError):  # the group is gone once its last process is
                os.killpg(begun.process.pid, sign)
            with suppress(subprocess.TimeoutExpired):
                begun.process.wait(keeper.GRACE_S)
        _read(begun, last=True)
        self._begun.pop(key, None)  # not before: whoever is interrupted while it ends calls again
        begun.output.close()
        os.close(begun.pipe)


_REMEDY = "Correct it in the fleet file, or install it where rotations run: on Airflow's workers, or here."


def _directory(command: ImageCommand) -> str | None:
    return os.path.expanduser(os.path.expandvars(command.directory)) if command.directory else None


def _environment() -> dict[str, str]:
    """Our own environment without Airflow's settings: they hold its keys."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW_", "_AIRFLOW_"))}


def _read(begun: _Begun, *, last: bool) -> None:
    """Pass on what it has written since; a line that is not finished waits for its end."""
    size = os.fstat(begun.output.fileno()).st_size
    text = begun.rest + os.pread(begun.output.fileno(), size - begun.read, begun.read)
    begun.read = size
    *lines, begun.rest = text.split(b"\n")
    if last and begun.rest:
        lines, begun.rest = [*lines, begun.rest], b""
    for line in lines:
        said = short(line.decode(errors="replace"), LINE)
        log.info("%s", said)
        if said:
            begun.tail.append(said)
