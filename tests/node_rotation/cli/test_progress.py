"""A rotation as it goes: lines without a terminal, a table with one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from node_rotation.cli.progress import Board, Lines, progress, say
from node_rotation.cli.session import Session
from node_rotation.engine import BatchMoved, BatchWaits, Event, Note
from node_rotation.model import Plan, StepName
from node_rotation.outcome import Blocked
from node_rotation.testing.clock import VirtualClock
from node_rotation.testing.world import MemoryWorld

NIGHT = 1_794_268_800.0  # 2026-11-10T00:00:00Z
STUCK = Blocked("the budget never allows a disruption", ("pdb shop/api",), "Allow one.")
STORY: list[Event] = [
    Note(NIGHT, "prepared workers"),
    BatchMoved(NIGHT, "workers/1", StepName.DRAIN),
    BatchWaits(NIGHT + 70, "workers/1", StepName.DRAIN, ("pod shop/api-1: pdb shop/api",), NIGHT + 5),
    BatchMoved(NIGHT + 80, "workers/1", None),
    BatchMoved(NIGHT + 80, "workers/2", StepName.DRAIN, STUCK),
]


@pytest.fixture(scope="module")
def plan() -> Plan:
    world = MemoryWorld.simple(machines=2)
    return Session(world.settings(), ("workers",), world.cloud, world.cluster, world.clock).plan()


@pytest.mark.parametrize(
    ("event", "line"),
    list(
        zip(
            STORY,
            [
                "prepared workers",
                "workers/1 drain",
                "workers/1 drain waits: pod shop/api-1: pdb shop/api",
                "workers/1 passed",
                "workers/2 failed in drain: the budget never allows a disruption (pdb shop/api). Remedy: Allow one.",
            ],
            strict=True,
        )
    ),
)
def test_every_event_is_one_line(event: Event, line: str) -> None:
    assert say(event) == line


def test_lines_carry_their_time_and_no_control_characters() -> None:
    out = io.StringIO()
    lines = Lines(Console(file=out, width=40))
    for event in STORY:
        lines(event)
    written = out.getvalue().splitlines()
    assert len(written) == len(STORY)
    assert written[1] == "2026-11-10T00:00:00Z workers/1 drain"
    assert "\x1b" not in out.getvalue()


def shown(board: Board) -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(board)
    return out.getvalue()


def test_the_board_shows_who_is_on_the_way_and_what_they_wait_for(plan: Plan) -> None:
    board = Board(plan, VirtualClock(NIGHT + 75))
    assert [board.note(event) for event in STORY[:3]] == ["prepared workers", None, None]
    text = shown(board)
    assert "workers/1" in text
    assert "pod shop/api-1: pdb shop/api" in text
    assert "1m 15s" in text
    assert "0 of 2 batches passed" in text


def test_what_ended_leaves_the_board_and_is_kept_as_a_line(plan: Plan) -> None:
    board = Board(plan, VirtualClock(NIGHT + 90))
    kept = [board.note(event) for event in STORY]
    assert kept[3:] == [say(event) for event in STORY[3:]]
    assert "1 of 2 batches passed, 1 failed" in shown(board)
    assert "workers/1" not in shown(board)


def test_a_terminal_gets_the_live_board(plan: Plan) -> None:
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=100)
    with progress(plan, VirtualClock(NIGHT), terminal) as on_event:
        for event in STORY:
            on_event(event)
    assert "prepared workers" in out.getvalue()
    assert "1 of 2 batches passed, 1 failed" in out.getvalue()


def test_anything_else_gets_lines(plan: Plan) -> None:
    out = io.StringIO()
    with progress(plan, VirtualClock(NIGHT), Console(file=out, width=200)) as on_event:
        assert isinstance(on_event, Lines)
