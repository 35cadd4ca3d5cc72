"""SIGTERM and SIGHUP in place of Ctrl-C: sent to this process, and to one whose terminal goes away."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from tests.node_rotation.cli.conftest import Cli

from node_rotation.testing.world import MemoryWorld

ROOT = Path(__file__).parents[3]
NUMBERS = [signal.SIGTERM, signal.SIGHUP]
LONGEST_S = 60.0


@pytest.fixture(autouse=True)
def not_ignored() -> Iterator[None]:
    """As a process has them whom nobody gave other ones (``nohup make test``)."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send_after(world: MemoryWorld, number: signal.Signals, *delays_s: float) -> None:
    for delay_s in delays_s:
        world.clock.after(delay_s, lambda: signal.raise_signal(number))


@pytest.mark.parametrize("number", NUMBERS)
def test_a_rotation_heals_and_gives_everything_back(
    cli: Cli, name: str, world: MemoryWorld, number: signal.Signals
) -> None:
    send_after(world, number, 20.0)
    ran = cli("-o", "json", "rotate", name)
    assert ran.code == 3
    assert ran.document["blocked"]["reason"] == "the rotation was interrupted"
    assert ran.document["skipped"]
    assert (world.cluster.lease(), world.orphans(), world.residue()) == (None, (), ())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_what_stops_where_it_is_ends_with_the_signals_own_code(
    cli: Cli, world: MemoryWorld, number: signal.Signals, code: int
) -> None:
    node = world.cluster.nodes()[0]
    send_after(world, number, 1.0)
    ran = cli("-o", "json", "drain", node.name)
    assert (ran.code, ran.document["error"]["exit_code"]) == (code, code)
    assert f"node {node.name} is cordoned" in ran.document["error"]["message"]
    assert world.cluster.lease() is None


@pytest.mark.parametrize("number", NUMBERS)
def test_sent_again_it_does_not_insist(cli: Cli, name: str, world: MemoryWorld, number: signal.Signals) -> None:
    send_after(world, number, 20.0, 30.0, 31.0, 32.0)
    ran = cli("rotate", name)
    assert ran.code == 3
    assert "press Ctrl-C again" not in ran.out
    assert (world.cluster.lease(), world.orphans(), world.residue()) == (None, (), ())


def test_who_ignores_a_hang_up_goes_on_ignoring_it(cli: Cli, name: str, world: MemoryWorld) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    send_after(world, signal.SIGHUP, 20.0)
    assert cli("rotate", name).code == 0
    assert world.on_image("base-old") == ()


def test_afterwards_they_are_as_before(cli: Cli, name: str) -> None:
    cli("drift", name)
    assert [signal.getsignal(number) for number in NUMBERS] == [signal.SIG_DFL, signal.SIG_DFL]


ON_A_TERMINAL = """
import fcntl, sys, termios, time
from pathlib import Path
from node_rotation.cli import main, session
from node_rotation.testing.world import MemoryWorld

ready, left, after_s, *arguments = sys.argv[1:]
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
world = MemoryWorld.simple(machines=6, max_unavailable=3)
session.connect = lambda settings: (world.cloud, world.cluster)
session.account = lambda access: world.cloud
session.wall_clock = lambda: world.clock

def linger():
    Path(ready).touch()
    time.sleep(60)

world.clock.after(float(after_s), linger)
code = main([world.cluster.nodes()[0].name if word == "NODE" else word for word in arguments])
Path(left).write_text(f"{world.cluster.lease()} {world.orphans()} {world.residue()}")
sys.exit(code)
"""


def hung_up(tmp_path: Path, fleet: Path, after_s: float, *arguments: str, stdout: IO[str] | None = None) -> int:
    """Run a command on a terminal of its own, which goes away midway; its exit code."""
    ours, theirs = pty.openpty()
    ready = tmp_path / "ready"
    process = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, str(ready), str(tmp_path / "left"), str(after_s), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "include"), "NODE_ROTATION_FLEET": str(fleet), "TERM": "xterm"},
        stdin=theirs,
        stdout=stdout or theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    deadline = time.monotonic() + LONGEST_S
    while not ready.exists():
        assert time.monotonic() < deadline, "not in time"
        if select.select([ours], [], [], 0.05)[0]:
            os.read(ours, 65536)
    os.close(ours)
    try:
        return process.wait(LONGEST_S)
    finally:
        process.kill()


def test_a_rotation_whose_terminal_is_gone_gives_everything_back(tmp_path: Path, fleet_file: Path, name: str) -> None:
    assert hung_up(tmp_path, fleet_file, 20.0, "rotate", name) == 3
    assert (tmp_path / "left").read_text() == "None () ()"


def test_whoever_asked_for_json_gets_it_although_the_terminal_is_gone(tmp_path: Path, fleet_file: Path) -> None:
    with (tmp_path / "answer").open("w") as answer:
        assert hung_up(tmp_path, fleet_file, 1.0, "-o", "json", "drain", "NODE", stdout=answer) == 129
    assert json.loads((tmp_path / "answer").read_text())["error"]["exit_code"] == 129
