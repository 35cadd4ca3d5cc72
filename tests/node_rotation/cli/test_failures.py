"""What went wrong, for programs: in a process of its own, as a pipeline runs it and reads its stdout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.node_rotation.cli.conftest import Cli
from tests.node_rotation.crashes import dies_at_the_last, run_for

from node_rotation.cli import failures
from node_rotation.errors import PermanentError, TransientError
from node_rotation.testing.world import MemoryWorld

ROOT = Path(__file__).parents[3]
CLUSTER: dict[str, Any] = {
    "name": "one",
    "aws": {"region": "eu-central-1", "profile": "gone"},
    "groups": [{"name": "workers", "asg": "one-workers"}],
}


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """One cluster, whose AWS profile nobody wrote."""
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump({"environments": [{"name": "dev", "clusters": [CLUSTER]}]}))
    return path


def script(fleet: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.defpath, "PYTHONPATH": str(ROOT / "include"), "HOME": str(fleet.parent)}
    command = [sys.executable, "-m", "node_rotation.cli", *arguments]
    env["NODE_ROTATION_FLEET"] = str(fleet)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_what_blocks_is_an_object_on_stdout_and_a_line_on_stderr(fleet: Path) -> None:
    ran = script(fleet, "-o", "json", "rotate", "one")
    assert ran.returncode == 3
    document = json.loads(ran.stdout)
    error = document.pop("error")
    assert document == {"schema_version": 1}
    assert error.keys() == {"message", "objects", "remedy", "exit_code"}
    assert "The config profile (gone) could not be found" in error["message"]
    assert (error["objects"], error["exit_code"]) == (["cluster dev.one"], 3)
    assert error["remedy"].startswith("Correct aws.profile")
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"node-rotation: {error['message']} (cluster dev.one). Remedy: {error['remedy']}")


def unread(*command: str, fleet: Path) -> subprocess.CompletedProcess[str]:
    """Run something whose stdout nobody reads."""
    reads, writes = os.pipe()
    os.close(reads)
    env = {"PATH": os.defpath, "PYTHONPATH": str(ROOT / "include"), "NODE_ROTATION_FLEET": str(fleet)}
    try:
        return subprocess.run(
            [sys.executable, *command],
            env=env,
            stdout=writes,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        os.close(writes)


def test_a_reader_that_leaves_early_gets_no_traceback(fleet: Path) -> None:
    ran = unread("-m", "node_rotation.cli", "-o", "json", "plan", "nope", fleet=fleet)
    assert ran.returncode == 1
    (line,) = ran.stderr.splitlines()
    assert "there is no cluster 'nope'" in line


def test_nor_does_it_end_what_is_going_on(fleet: Path) -> None:
    lines = "c = render.console(); [c.print('workers/1 drain') for _ in range(9)]"
    ran = unread("-c", f"import sys; from node_rotation.cli import render; {lines}; sys.exit(7)", fleet=fleet)
    assert (ran.returncode, ran.stderr) == (7, "")


def test_progress_that_nobody_reads_leaves_the_answer_alone(fleet: Path) -> None:
    lines = "c = render.console(stderr=True); [c.print('workers/1 drain') for _ in range(9)]; print('the answer')"
    reads, writes = os.pipe()
    os.close(reads)
    env = {"PATH": os.defpath, "PYTHONPATH": str(ROOT / "include")}
    command = [sys.executable, "-c", f"from node_rotation.cli import render; {lines}"]
    ran = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=writes, text=True, timeout=120, check=False)
    os.close(writes)
    assert ran.stdout == "the answer\n"


def test_what_can_not_be_right_names_where_it_stands(fleet: Path) -> None:
    ran = script(fleet, "--output=json", "plan", "two")
    error = json.loads(ran.stdout)["error"]
    assert (ran.returncode, error["exit_code"]) == (1, 1)
    assert error["objects"] == [f"{fleet}: cluster"]
    assert error["remedy"] == "Known: dev.one."
    assert error["message"] == f"{fleet}: cluster: there is no cluster 'two' in the fleet."


@pytest.mark.parametrize(
    ("arguments", "message", "remedy"),
    [
        (["-o", "json", "plan"], "Missing argument 'CLUSTER'.", "See: node-rotation plan --help"),
        (["plan", "one", "--no-such", "-ojson"], "No such option: --no-such.", "See: node-rotation plan --help"),
        (["--fleet", "json", "-o", "json", "plna", "one"], "No such command 'plna'", "See: node-rotation --help"),
    ],
)
def test_wrong_options_are_said_the_same_way(fleet: Path, arguments: list[str], message: str, remedy: str) -> None:
    ran = script(fleet, *arguments)
    error = json.loads(ran.stdout)["error"]
    assert (ran.returncode, error["remedy"]) == (1, remedy)
    assert message in error["message"]


def test_without_json_stdout_stays_empty(fleet: Path) -> None:
    ran = script(fleet, "rotate", "two")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "there is no cluster 'two'" in ran.stderr


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("-o json drift", True),
        ("--fleet x --debug --output json drift", True),
        ("-o text -o json drift", True),
        ("-o json -o text drift", False),
        ("--fleet json drift", False),
        ("drift -o json", False),
        ("-o", False),
        ("", False),
    ],
)
def test_json_is_asked_for_before_the_command(given: str, found: bool) -> None:
    assert failures.as_json(given.split()) is found


def test_what_may_pass_says_so() -> None:
    assert failures.of(TransientError("the API server is away")) == {
        "message": "the API server is away",
        "objects": [],
        "remedy": "This may pass: try again in a moment.",
    }


def test_an_interrupted_command_is_told_too(
    cli: Cli, name: str, world: MemoryWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(world.cluster, "nodes", interrupted)
    heeded = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        ran = cli("-o", "json", "drift", name)
    finally:
        signal.signal(signal.SIGINT, heeded)
    assert (ran.code, ran.document["error"]["exit_code"]) == (130, 130)
    assert "interrupted" in ran.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PermanentError("leases is forbidden"), 1),
        (TransientError("the API server is away"), 1),
        (KeyboardInterrupt, 130),
    ],
    ids=["forbidden", "away", "interrupted"],
)
def test_where_nothing_is_to_be_rotated_and_cleaning_up_fails_there_is_one_document(
    cli: Cli, name: str, world: MemoryWorld, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    dies_at_the_last(run_for(world, "cli-20261109T020000-4f2a-alice@laptop", strategy="surge"), world)
    world.clock.wait(1000.0)

    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(world.cluster, "update_lease", fails)
    ran = cli("-o", "json", "rotate", name)

    assert (ran.code, ran.document["error"]["exit_code"]) == (code, code)
    assert ran.document["error"]["message"] in ran.err
