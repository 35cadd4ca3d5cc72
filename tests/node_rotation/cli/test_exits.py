"""Exit codes: what makes them, and that the documented table is the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from node_rotation.cli.exits import ExitCode, of_drift, of_error, of_result, say_blocker
from node_rotation.engine import Result
from node_rotation.errors import BadInputError, BlockedError, PermanentError, RotationError, TransientError
from node_rotation.model import Blocker, DriftedMachine, DriftReason, GroupDrift
from node_rotation.outcome import Blocked
from node_rotation.steps.verify import Verdict

DOCUMENT = Path(__file__).parents[3] / "docs" / "cli.md"
LATE = (("workers/2", "the maintenance window is closed"),)
LOCKED = Blocked("another run holds the cluster", ("lease kube-system/node-rotation",), "Wait for it.")


def drift(group: str = "workers", *, drifted: int = 0, blocked: bool = False, soaks: bool = False) -> GroupDrift:
    machine = DriftedMachine(
        instance_id="i-1",
        node="n1",
        zone="a",
        image_id="ami-1",
        age_s=1.0,
        ready=True,
        pods=0,
        reasons=(DriftReason.IMAGE,),
    )
    gone = (Blocker(reason="the image is gone"),) if blocked else ()
    held_back = (Blocker(reason="the image soaks", held_back=True),) if soaks else ()
    return GroupDrift(
        group=group,
        asg=f"dev-{group}",
        target=None,
        machines=3,
        drifted=(machine,) * drifted,
        blockers=(*gone, *held_back),
    )


def test_the_documented_table_is_what_the_code_says() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert [(int(code), meaning) for code, meaning in rows] == [(code.value, code.meaning) for code in ExitCode]


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ([[]], ExitCode.OK),
        ([[drift()]], ExitCode.OK),
        ([[drift("batch"), drift(drifted=1)]], ExitCode.FOUND),
        ([[drift(drifted=1), drift("batch", blocked=True)]], ExitCode.BLOCKED),
        ([[drift(drifted=1), drift("batch", soaks=True)]], ExitCode.FOUND),
        ([[drift(), drift("batch", soaks=True)]], ExitCode.BLOCKED),
        ([[drift(drifted=1)], [drift("batch", soaks=True)]], ExitCode.BLOCKED),
    ],
    ids=["none", "right", "drift", "broken", "left out", "held back", "held back in another cluster"],
)
def test_drift(found: list[list[GroupDrift]], code: ExitCode) -> None:
    assert of_drift(found) is code


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (Result(0.0, 1.0, passed=("workers/1",), verdict=Verdict()), ExitCode.OK),
        (Result(0.0, 1.0, not_begun="superseded: run run-2 is newer and does the same"), ExitCode.OK),
        (Result(0.0, 1.0, blocked=LOCKED), ExitCode.BLOCKED),
        (Result(0.0, 1.0, failed=(("workers/1", LOCKED),)), ExitCode.BLOCKED),
        (Result(0.0, 1.0, postponed=LATE, verdict=Verdict(drift=("i-1",))), ExitCode.FOUND),
        (Result(0.0, 1.0, postponed=LATE, verdict=Verdict(residue=("taint on node n1",))), ExitCode.ERROR),
        (Result(0.0, 1.0, verdict=Verdict(residue=("taint on node n1",))), ExitCode.ERROR),
    ],
)
def test_the_end_of_a_rotation(result: Result, code: ExitCode) -> None:
    assert of_result(result) is code


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (BlockedError(LOCKED), ExitCode.BLOCKED, "Remedy: Wait for it."),
        (BadInputError("fleet.yaml", "is empty."), ExitCode.ERROR, "fleet.yaml: is empty."),
        (PermanentError("the call was wrong."), ExitCode.ERROR, "the call was wrong."),
        (TransientError("the API server is away."), ExitCode.ERROR, "try again in a moment"),
    ],
)
def test_errors(error: RotationError, code: ExitCode, said: str) -> None:
    ended, message = of_error(error)
    assert ended is code
    assert said in message


def test_a_blocker_is_said_with_object_and_remedy() -> None:
    blocker = Blocker(reason="No surge is possible.", objects=("group dev-workers",), remedy="Raise max.")
    assert say_blocker(blocker) == "No surge is possible (group dev-workers). Remedy: Raise max."
