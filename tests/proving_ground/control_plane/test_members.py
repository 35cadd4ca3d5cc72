"""etcd's members start though somebody else takes one of their ports first."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from proving_ground.control_plane import build, members
from proving_ground.control_plane.cluster import Tools
from proving_ground.control_plane.processes import Processes

pytestmark = [pytest.mark.proving_ground, pytest.mark.timeout(120)]


def test_a_start_whose_port_was_taken_leaves_nothing_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither data, which belong to another etcd cluster by then, nor processes to wait for."""
    processes, real = Processes(tmp_path / "processes.json"), members.free_ports
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        answers = iter([[*real(11), somebody.getsockname()[1]], real(12)])
        monkeypatch.setattr(members, "free_ports", lambda count: next(answers))
        etcd = members.Members(
            Tools(build.binaries(print), processes, 10.0), "blue", tmp_path / "blue", ("a", "b", "c")
        )
        try:
            etcd.start()
            assert all(etcd.running(volume) for volume in ("a", "b", "c"))
        finally:
            processes.stop()
