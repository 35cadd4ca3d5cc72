"""A cluster's API server as something that its masters' machines take with them and bring back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proving_ground.control_plane.cluster import APISERVER, SMALL

if TYPE_CHECKING:
    from proving_ground.control_plane.cluster import ControlPlane
    from proving_ground.control_plane.processes import Processes


class ApiServer:
    """The process of one cluster's API server; it comes back at its old address."""

    def __init__(self, processes: Processes, plane: ControlPlane) -> None:
        self._processes, self._plane = processes, plane
        self._name = f"{plane.name}/{APISERVER}"

    def up(self) -> None:
        """Have it run; nothing if it does. It is ready some seconds later."""
        if not self.running():
            log = self._plane.directory / f"{APISERVER}.log"
            self._processes.start(self._name, self._plane.command, log, SMALL)

    def down(self) -> None:
        """Have it end: from now on nobody is reached at its address."""
        self._processes.stop([self._name])

    def running(self) -> bool:
        """Whether its process is there."""
        return any(one.process() for one in self._processes.recorded() if one.name == self._name)
