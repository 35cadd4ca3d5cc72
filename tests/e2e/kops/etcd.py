"""Where a kops ground's etcd answers, and how many of its members are up at the least."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from node_rotation.control_plane.values import EtcdAccess
from proving_ground.control_plane.members import Members
from proving_ground.ground import Ground

LOOK_S = 0.2


def access(kops: Ground, cluster: str = "prod") -> dict[str, EtcdAccess]:
    """What the ground wrote down of its etcd, as a user reads it."""
    written = json.loads((kops.directory / cluster / "etcd.json").read_text())
    return {name: EtcdAccess(endpoints=tuple(endpoints)) for name, endpoints in written.items()}


class Watch:
    """Looks from outside at the processes of etcd's members; ``fewest`` masters had all of theirs up.

    A master that is away for a moment only may come and go between two looks; ``restarted`` names all whose members
    are other processes at the end. Not at ``/health``: while the others elect a leader for one that went, all of them
    say no for a moment.
    """

    def __init__(self, etcd: Members, volumes: tuple[str, ...]) -> None:
        self._etcd, self._volumes, self._over = etcd, volumes, threading.Event()
        self.fewest = len(volumes)
        self.restarted: set[str] = set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run, daemon=True)
        before = {volume: self._etcd.processes(volume) for volume in self._volumes}
        thread.start()
        yield
        assert thread.is_alive(), "nobody has watched to the end"
        self._over.set()
        thread.join(timeout=30)
        self.restarted = {volume for volume, ids in before.items() if not ids & self._etcd.processes(volume)}

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            self.fewest = min(self.fewest, sum(self._etcd.running(volume) for volume in self._volumes))
