"""Programs of this machine: what they are told, what is seen of them, and how they are ended."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from node_rotation.clients.commands import LocalCommands
from node_rotation.configuration.image_policy import ImageCommand
from node_rotation.errors import BlockedError
from node_rotation.outside import CommandState

KEY = "dev.dev/run-1/workers"


def python(code: str, **more: Any) -> ImageCommand:
    return ImageCommand(argv=(sys.executable, "-c", code), **more)


@pytest.fixture
def commands() -> Iterator[LocalCommands]:
    local = LocalCommands()
    yield local
    local.end(KEY)


def until(true: Callable[[], bool], within_s: float = 30.0) -> None:
    pause, began = threading.Event(), time.monotonic()
    while not true():
        assert time.monotonic() - began < within_s
        pause.wait(0.02)


def ended(commands: LocalCommands) -> CommandState:
    until(lambda: commands.state(KEY).code is not None)  # type: ignore[union-attr]
    state = commands.state(KEY)
    assert state is not None
    return state


def test_output_goes_to_the_log_and_its_end_is_kept(commands: LocalCommands, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="node_rotation.clients.commands")
    commands.begin(KEY, python("import sys; [print('line', i) for i in range(20)]; sys.exit('no end')"), {})
    state = ended(commands)
    assert state == CommandState(1, (*(f"line {i}" for i in range(11, 20)), "no end"))
    assert [line for line in caplog.messages if line.startswith("line")] == [f"line {i}" for i in range(20)]


def test_it_is_told_the_image_in_its_directory_and_nothing_of_airflows_secrets(
    commands: LocalCommands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "hidden-value")
    monkeypatch.setenv("KOPS_HOME", str(tmp_path))
    code = "import os; print(os.getcwd(), os.environ['IMAGE'], os.environ['STATE'], 'hidden-value' in str(os.environ))"
    commands.begin(KEY, python(code, directory="$KOPS_HOME", environment={"STATE": "s3"}), {"IMAGE": "ami-1"})
    assert ended(commands).tail == (f"{tmp_path} ami-1 s3 False",)


def test_arguments_are_never_read_by_a_shell(commands: LocalCommands) -> None:
    code = "import sys; print(sys.argv[1:])"
    commands.begin(KEY, ImageCommand(argv=(sys.executable, "-c", code, "$HOME; exit 1")), {})
    assert ended(commands) == CommandState(0, ("['$HOME; exit 1']",))


def test_one_that_hangs_is_ended_with_its_children(commands: LocalCommands, tmp_path: Path) -> None:
    child = tmp_path / "child"
    code = (
        "import subprocess, sys, time;"
        "one = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"open({str(child)!r}, 'w').write(str(one.pid)); time.sleep(600)"
    )
    commands.begin(KEY, python(code), {})
    until(lambda: child.exists() and child.read_text() != "")
    assert commands.state(KEY) == CommandState(None)
    commands.end(KEY)
    assert commands.state(KEY) is None
    until(lambda: _gone(int(child.read_text())))


def _gone(pid: int) -> bool:
    """No such process, or one that only waits for its parent to hear of it."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (ImageCommand(argv=("no-such-program-at-all",)), "there is no program no-such-program-at-all"),
        (ImageCommand(argv=("./image.sh",), directory="/"), "there is no program ./image.sh"),
        (ImageCommand(argv=("true",), directory="/no/such/place"), "there is no directory /no/such/place"),
    ],
)
def test_what_can_not_be_started_is_found_before(commands: LocalCommands, command: ImageCommand, said: str) -> None:
    with pytest.raises(BlockedError, match=said):
        commands.check(command)


def test_a_program_beside_its_directory_is_found(commands: LocalCommands, tmp_path: Path) -> None:
    script = tmp_path / "image.sh"
    script.write_text("#!/bin/sh\necho done\n")
    script.chmod(0o700)
    command = ImageCommand(argv=("./image.sh",), directory=str(tmp_path))
    commands.begin(KEY, command, {})
    assert ended(commands) == CommandState(0, ("done",))


def test_another_processes_command_is_not_known(commands: LocalCommands) -> None:
    assert commands.state("somebody/else") is None
    commands.end("somebody/else")


BEGINS = """
import sys, time
from node_rotation.clients.commands import LocalCommands
from node_rotation.configuration.image_policy import ImageCommand

LocalCommands().begin("key", ImageCommand(argv=(sys.executable, "-c", sys.argv[1])), {})
print("begun", flush=True)
time.sleep(600)
"""
WORKS = """
import os, signal, subprocess, sys, time
asked = {asked!r}
signal.signal(signal.SIGTERM, lambda *of: open(asked, 'w').close() or sys.exit())
deaf = 'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)'
child = subprocess.Popen([sys.executable, '-c', deaf])
with open({pids!r} + '.new', 'w') as file:
    file.write(f'{{os.getpid()}} {{child.pid}}')
os.rename({pids!r} + '.new', {pids!r})
time.sleep(600)
"""


def test_one_whose_worker_is_killed_is_ended_with_its_children_and_asked_first(tmp_path: Path) -> None:
    pids, asked = tmp_path / "pids", tmp_path / "asked"
    code = WORKS.format(pids=str(pids), asked=str(asked))
    worker = subprocess.Popen([sys.executable, "-c", BEGINS, code], env={**os.environ, "PYTHONPATH": "include"})
    try:
        until(pids.exists)
    finally:
        worker.kill()
        worker.wait(timeout=30)
    for pid in pids.read_text().split():
        until(lambda pid=pid: _gone(int(pid)))  # type: ignore[misc]
    assert asked.exists()


def test_a_file_that_is_no_program_is_said_when_it_is_begun(commands: LocalCommands, tmp_path: Path) -> None:
    script = tmp_path / "image"
    script.write_bytes(b"\x00\x01")
    script.chmod(0o700)
    commands.begin(KEY, ImageCommand(argv=(str(script),)), {})
    state = ended(commands)
    assert (state.code, state.tail) == (126, (f"{script} can't be started: Exec format error",))


def test_one_whose_end_was_interrupted_is_ended_by_the_next_call(
    commands: LocalCommands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = tmp_path / "pid"
    commands.begin(
        KEY, python(f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"), {}
    )
    until(lambda: pid.exists() and pid.read_text() != "")

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as pressed:
        pressed.setattr(os, "killpg", interrupt)
        with pytest.raises(KeyboardInterrupt):
            commands.end(KEY)
    commands.end(KEY)

    until(lambda: _gone(int(pid.read_text())))
    assert commands.state(KEY) is None


def test_a_signal_is_a_code_as_shells_have_it(commands: LocalCommands) -> None:
    commands.begin(KEY, python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"), {})
    assert ended(commands).code == 137
