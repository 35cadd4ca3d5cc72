"""up, down and status: from outside, over what the daemon left on disk."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from proving_ground import scenario, state
from proving_ground.control_plane import build
from proving_ground.control_plane.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proving_ground.control_plane.processes import Started

    Progress = Callable[[str], None]

READY_WITHIN_S = 300.0
STOP_WITHIN_S = 20.0
POLL_S = 0.2
DAEMON = "daemon"


class LifecycleError(RuntimeError):
    """The ground could not be started or stopped; the message says what to do."""


def up(source: str, directory: Path, progress: Progress) -> state.State:
    """Start a ground in the background, or find the one that runs.

    :param source: a scenario's name or file.
    :param progress: takes one line for people at a time.
    :raises LifecycleError: it did not come up, or another scenario runs there.
    :raises ValueError: the scenario is wrong; names the file and the paths in it.
    """
    scenario.load(source)
    build.binaries(progress)
    directory.mkdir(parents=True, exist_ok=True)
    with _alone(directory, progress):
        if running := _running(directory):
            _same(running, source, directory)
            progress(f"already running in {directory}: using it")
            return running
        if left := _stop(directory):
            progress(f"stopped what an earlier run left: {', '.join(one.name for one in left)}")
        return _start(source, directory, progress)


def down(directory: Path) -> list[Started]:
    """Stop what was started in this directory, also after a crash.

    :return: what still ran.
    :raises RuntimeError: a process survived KILL.
    """
    if not directory.exists():
        return []
    with _alone(directory, lambda line: None):
        stopped = _stop(directory)
        (directory / "ground.json").unlink(missing_ok=True)
        (directory / "env").unlink(missing_ok=True)
    return stopped


def status(directory: Path) -> tuple[state.State | None, list[Started]]:
    """The last state written there and the processes that run."""
    return state.read(directory), Processes(directory / "processes.json").running()


def summary(directory: Path, running: state.State) -> str:
    """What runs where, for people."""
    lines = [f"proving ground '{running.scenario}' is up", f"  AWS       {running.endpoint}"]
    for name, address in running.clusters.items():
        lines.append(f"  {name:<9} {address}  (export KUBECONFIG={directory / name / 'kubeconfig'})")
    lines.append(f"  shell     source {directory / 'env'}")
    kubectl = build.cache_directory() / "kubectl"
    lines += [f"  kubectl   {kubectl}"] if kubectl.exists() else []
    return "\n".join(lines)


@contextlib.contextmanager
def _alone(directory: Path, progress: Progress) -> Iterator[None]:
    with (directory / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"another start or stop is under way in {directory}, waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _running(directory: Path) -> state.State | None:
    names = {one.name for one in Processes(directory / "processes.json").running()}
    found = state.read(directory)
    return found if found and found.phase == "ready" and DAEMON in names else None


def _same(running: state.State, source: str, directory: Path) -> None:
    if running.scenario != source:
        raise LifecycleError(
            f"{directory}: the scenario {running.scenario!r} runs there, not {source!r}; stop it first: make down"
            f" (or python -m proving_ground down --directory {directory})"
        )


def _stop(directory: Path) -> list[Started]:
    processes = Processes(directory / "processes.json")
    before = processes.running()
    # The daemon stops its children in order; whoever is left after that is stopped one by one.
    if daemon := next((one.process() for one in before if one.name == DAEMON), None):
        daemon.terminate()
        deadline = time.monotonic() + STOP_WITHIN_S
        while processes.running() and time.monotonic() < deadline:
            time.sleep(POLL_S)
    processes.stop()
    return before


def _start(source: str, directory: Path, progress: Progress) -> state.State:
    (directory / "ground.json").unlink(missing_ok=True)
    (directory / "progress.log").write_text("")
    log = directory / "daemon.log"
    packages = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, [packages, os.environ.get("PYTHONPATH")]))
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "proving_ground", "daemon", source, "--directory", str(directory)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,
        )
    return _wait(child, directory, log, progress)


def _wait(child: subprocess.Popen[bytes], directory: Path, log: Path, progress: Progress) -> state.State:
    deadline = time.monotonic() + READY_WITHIN_S
    shown = 0
    while time.monotonic() < deadline:
        ended = child.poll() is not None
        found = state.read(directory)
        lines = (directory / "progress.log").read_text().splitlines()
        for line in lines[shown:]:
            progress(line)
        shown = len(lines)
        if found and found.phase == "ready":
            return found
        if ended or (found and found.phase == "failed"):
            reason = found.error if found and found.error else f"its process ended with {child.returncode}"
            _stop(directory)
            raise LifecycleError(f"the proving ground did not start: {reason}\nMore in {log}.")
        time.sleep(POLL_S)
    _stop(directory)
    raise LifecycleError(f"the proving ground was not ready within {READY_WITHIN_S:.0f} s; see {log}")
