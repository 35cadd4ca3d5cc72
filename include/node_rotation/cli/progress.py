"""A rotation as it goes: a live table on a terminal, plain timestamped lines anywhere else."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from node_rotation.cli.render import duration, moment, table
from node_rotation.engine import BatchWaits, Event, Note
from node_rotation.model import Plan, StepName
from node_rotation.world.clients import Clock


class Progress(Protocol):
    """Told what happens."""

    def __call__(self, event: Event) -> None:
        """Show one event."""
        ...


def say(event: Event) -> str:
    """One line for an event, without its time.

    :param event: what happened.
    """
    if isinstance(event, Note):
        return event.text
    if isinstance(event, BatchWaits):
        return f"{event.batch} {event.step} waits: {'; '.join(event.reasons)}"
    if event.failed:
        return f"{event.batch} failed{f' in {event.step}' if event.step else ''}: {event.failed}"
    return f"{event.batch} {event.step}" if event.step else f"{event.batch} passed"


class Lines:
    """One line per event, with its time: for logs and pipes.

    :param out: where they go.
    """

    def __init__(self, out: Console) -> None:
        self._out = out

    def __call__(self, event: Event) -> None:
        """Write one event."""
        self._out.print(f"{moment(event.at)} {say(event)}", markup=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class _Row:
    step: StepName
    since: float
    waits_for: str = ""


class Board:
    """The batches on their way; what has ended scrolls by above them.

    :param plan: how many batches there are to come.
    """

    def __init__(self, plan: Plan, clock: Clock) -> None:
        self._total, self._clock = len(plan.batches), clock
        self._rows: dict[str, _Row] = {}
        self.passed = self.failed = 0

    def note(self, event: Event) -> str | None:
        """Take an event in.

        :returns: a line to keep for good, if it is worth one.
        """
        if isinstance(event, Note):
            return say(event)
        if isinstance(event, BatchWaits):
            row = self._rows.get(event.batch) or _Row(event.step, event.since)
            self._rows[event.batch] = replace(row, waits_for="; ".join(event.reasons))
            return None
        if event.failed is None and event.step is not None:
            self._rows[event.batch] = _Row(event.step, event.at)
            return None
        self._rows.pop(event.batch, None)
        self.failed += event.failed is not None
        self.passed += event.failed is None
        return say(event)

    def __rich__(self) -> RenderableType:
        """The table as it stands."""
        now = self._clock.now()
        moving = table(
            *("batch", "step", "for", "waits for"),
            rows=((name, row.step, duration(now - row.since), row.waits_for) for name, row in self._rows.items()),
        )
        failed = f", {self.failed} failed" if self.failed else ""
        return Group(moving, Text(f"{self.passed} of {self._total} batches passed{failed}", style="bold"))


@contextmanager
def progress(plan: Plan, clock: Clock, out: Console) -> Iterator[Progress]:
    """A display for one rotation.

    :param plan: what is being carried out.
    :param out: a terminal, or not.
    """
    if not out.is_terminal:
        yield Lines(out)
        return
    board = Board(plan, clock)
    with Live(board, console=out, refresh_per_second=2) as live:

        def on_event(event: Event) -> None:
            if line := board.note(event):
                live.console.print(f"{moment(event.at)} {line}", markup=False)

        yield on_event


class _Told(logging.Handler):
    """Log lines as events."""

    def __init__(self, clock: Clock, on_event: Progress) -> None:
        super().__init__(logging.INFO)
        self._clock, self._on_event = clock, on_event

    def emit(self, record: logging.LogRecord) -> None:
        """Show one line."""
        self._on_event(Note(self._clock.now(), record.getMessage()))


@contextmanager
def told(clock: Clock, on_event: Progress) -> Iterator[None]:
    """Show what a rotation logs, such as the output of an image command, among its events.

    :param on_event: the display.
    """
    logger, handler = logging.getLogger("node_rotation"), _Told(clock, on_event)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
