"""The background process of `up`: holds AWS and the node agent, is the parent of the control planes."""

from __future__ import annotations

import logging
import os
import signal
import threading
from typing import TYPE_CHECKING

from proving_ground import ground, scenario, state
from proving_ground.control_plane.processes import Processes

if TYPE_CHECKING:
    from pathlib import Path

_log = logging.getLogger(__name__)


def run(source: str, directory: Path) -> int:
    """Start the ground, say so in its directory, hold it until TERM or INT.

    :param source: a scenario's name or file.
    :return: 0 when it was stopped, 1 when it did not come up; ``state`` says why.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Processes(directory / "processes.json").record(ground.DAEMON, os.getpid())
    state.write(directory, state.State("starting", source))
    try:
        running = ground.start(scenario.load(source), directory, _progress(directory))
    except Exception as error:
        # Whatever it was, `up` waits for an answer and shows this one; the log has the rest.
        _log.exception("the proving ground did not start")
        state.write(directory, state.State("failed", source, error=str(error)))
        return 1
    with running:
        state.write_environment(directory, running.env)
        addresses = {name: cluster.endpoint for name, cluster in running.clusters.items()}
        state.write(
            directory,
            state.State("ready", source, running.endpoint, clusters=addresses, environment=running.env),
        )
        stop.wait()
    return 0


def _progress(directory: Path) -> ground.Progress:
    path = directory / "progress.log"
    path.write_text("")

    def say(line: str) -> None:
        with path.open("a") as file:
            file.write(line + "\n")

    return say
