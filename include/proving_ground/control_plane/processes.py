"""Processes the proving ground started: on disk by id and birth, so that exactly those are stopped."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

# An API server with open watches takes its time; nothing of this world is worth waiting for.
TERMINATE_WAIT_S = 2.0
KILL_WAIT_S = 10.0

_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}
"""What this process started, whichever list it stands in: only a parent can collect how a process ended."""


@dataclass(frozen=True)
class Started:
    """One process; ``created`` (seconds since the epoch) tells it from a later one with the same id."""

    name: str
    pid: int
    created: float

    def process(self) -> psutil.Process | None:
        """The process if it still is the one that was started, else None."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < 0.05
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


class Processes:
    """The list of started processes, kept in one file that outlives a crash."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()

    def start(self, name: str, argv: Sequence[str], log: Path, environment: Mapping[str, str]) -> Started:
        """Start a process in a session of its own and write it down.

        :param name: for people, unique within the ground.
        :param log: takes its output, appended.
        :param environment: added to this process' own.
        """
        with log.open("ab") as output:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | dict(environment),
                start_new_session=True,
            )
        _CHILDREN[child.pid] = child
        return self.record(name, child.pid)

    def record(self, name: str, pid: int) -> Started:
        """Write down a process that runs already (the daemon itself).

        :raises RuntimeError: it ended before it could be written down.
        """
        try:
            started = Started(name, pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            raise RuntimeError(f"{name} (process {pid}) ended at once; see its log beside {self._file}") from None
        with self._lock:
            self._save([*self.recorded(), started])
        return started

    def recorded(self) -> list[Started]:
        """Everything written down, running or not."""
        try:
            return [Started(**entry) for entry in json.loads(self._file.read_text())]
        except FileNotFoundError:
            return []

    def running(self) -> list[Started]:
        """What is written down and still runs."""
        return [started for started in self.recorded() if started.process()]

    def stop(self, names: Iterable[str] | None = None) -> list[Started]:
        """Stop what is written down (or only these names): TERM, then KILL, both waits bounded.

        :return: what still ran and was stopped.
        :raises RuntimeError: a process survived KILL.
        """
        wanted = None if names is None else set(names)
        with self._lock:
            chosen = [one for one in self.recorded() if wanted is None or one.name in wanted]
            alive = {one: process for one in chosen if (process := one.process())}
            _end(list(alive.values()))
            survivors = [one for one in alive if one.process()]
            if survivors:
                listed = ", ".join(f"{one.name} ({one.pid})" for one in survivors)
                raise RuntimeError(f"still running after KILL: {listed}")
            self._reap(chosen)
            if chosen:
                self._save([one for one in self.recorded() if one not in chosen])
        return list(alive)

    def _reap(self, ended: Iterable[Started]) -> None:
        """Collect the ends of our own children, or they stay zombies for as long as we live."""
        for one in ended:
            if child := _CHILDREN.pop(one.pid, None):
                # Killed already: this only waits for the last of its threads to go.
                child.wait(timeout=KILL_WAIT_S)
        # Somebody else may have stopped others.
        for pid, child in list(_CHILDREN.items()):
            if child.poll() is not None:
                _CHILDREN.pop(pid, None)

    def _save(self, entries: Sequence[Started]) -> None:
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps([asdict(entry) for entry in entries], indent=1))
        part.replace(self._file)


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        _signal(process, kill=False)
    _, alive = psutil.wait_procs(processes, timeout=TERMINATE_WAIT_S)
    for process in alive:
        _signal(process, kill=True)
    psutil.wait_procs([process for process in alive if _lives(process)], timeout=KILL_WAIT_S)


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        if kill:
            process.kill()
        else:
            process.terminate()
    except psutil.NoSuchProcess:
        return


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
