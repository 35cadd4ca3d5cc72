from __future__ import annotations

import json
import subprocess
import sys

import psutil
import pytest
from tests.proving_ground.waiting import eventually

from proving_ground.control_plane.processes import Processes

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)",
]


@pytest.fixture
def processes(tmp_path):
    books = Processes(tmp_path / "processes.json")
    yield books
    books.stop()


def test_what_was_started_is_on_disk_and_stopped(processes, tmp_path):
    started = processes.start("sleeper", SLEEP, tmp_path / "log", {})
    assert processes.running() == [started]
    assert processes.stop() == [started]
    assert processes.running() == []
    assert not psutil.pid_exists(started.pid)


def test_another_reader_of_the_file_stops_them_too(processes, tmp_path):
    started = processes.start("sleeper", SLEEP, tmp_path / "log", {})
    assert Processes(tmp_path / "processes.json").stop() == [started]
    eventually(lambda: started.process() is None)


def test_one_that_ignores_term_is_killed(processes, tmp_path):
    started = processes.start("deaf", DEAF, tmp_path / "log", {})
    eventually(lambda: "deaf" in (tmp_path / "log").read_text())
    assert processes.stop() == [started]
    assert started.process() is None


def test_only_the_named_ones_are_stopped(processes, tmp_path):
    one = processes.start("one", SLEEP, tmp_path / "log", {})
    other = processes.start("other", SLEEP, tmp_path / "log", {})
    processes.stop(["one"])
    assert one.process() is None
    assert processes.running() == [other]


def test_a_stranger_that_has_inherited_the_id_is_left_alone(tmp_path):
    with subprocess.Popen(SLEEP) as stranger:
        entry = {"name": "ours", "pid": stranger.pid, "created": 1.0}
        (tmp_path / "processes.json").write_text(json.dumps([entry]))
        try:
            assert Processes(tmp_path / "processes.json").stop() == []
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_where_nothing_was_ever_started_there_is_nothing_to_stop_and_nothing_is_written(tmp_path):
    assert Processes(tmp_path / "new" / "processes.json").stop() == []
    assert not (tmp_path / "new").exists()
