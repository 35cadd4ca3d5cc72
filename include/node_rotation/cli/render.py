"""What commands show: tables for people, one JSON document for programs."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import IO, Any

from rich import box
from rich.console import Console
from rich.table import Table

from node_rotation import prices
from node_rotation.cli.exits import say_blocker
from node_rotation.configuration.words import given
from node_rotation.engine import Result
from node_rotation.model import Blocker, GroupDrift, GroupPlan, ImageStep, Plan, Target
from node_rotation.report import took_up

PIPE_WIDTH = 200  # nobody's terminal: long names are not to be wrapped in a log


class Outliving(Console):
    """Goes on in silence once nobody reads any more: a rotation must not end because ``head`` has seen enough."""

    def _check_buffer(self) -> None:
        """Rich minds broken pipes alone; a terminal that is gone is EIO."""
        try:
            super()._check_buffer()
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Not rich's own way, which ends the process."""
        self.quiet = True
        into_nowhere(self.file)


def into_nowhere(stream: IO[str]) -> None:
    """What is still written to a stream that nobody reads any more is lost without a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def console(*, stderr: bool = False) -> Console:
    """A console that does not wrap what goes into a file or a pipe.

    :param stderr: write there instead.
    """
    made = Outliving(stderr=stderr, highlight=False, soft_wrap=False)
    return made if made.is_terminal else Outliving(stderr=stderr, highlight=False, width=PIPE_WIDTH)


def complain(message: str) -> None:
    """Write one line to stderr; whoever waits for stdout gets that, too, where nobody reads this.

    :param message: what went wrong.
    """
    try:
        print(f"node-rotation: {message}", file=sys.stderr)
    except OSError:
        into_nowhere(sys.stderr)


def write_json(document: Any) -> None:
    """Write one document to stdout.

    :param document: plain values; times and enums become text.
    """
    print(json.dumps(document, indent=2, default=str))


def table(*columns: str, rows: Iterable[Sequence[str]]) -> Table:
    """A table whose cells are never cut.

    :param columns: headings.
    :param rows: as many cells each.
    """
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(_plain(cell) for cell in row))
    return made


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def duration(seconds: float) -> str:
    """``1h 05m``, ``3m 20s`` or ``12s``.

    :param seconds: how long.
    """
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 60}m {whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def moment(epoch_s: float) -> str:
    """A time as log lines say it, in UTC.

    :param epoch_s: epoch seconds.
    """
    return f"{datetime.fromtimestamp(epoch_s, UTC):%Y-%m-%dT%H:%M:%SZ}"


def show_drift(out: Console, cluster: str, drifts: Sequence[GroupDrift], notes: Sequence[str] = ()) -> None:
    """Show what a drift check found in one cluster.

    :param cluster: ``environment.cluster``.
    :param notes: what was found outside its groups.
    """
    _show_notes(out, notes, ())
    for drift in drifts:
        out.print(
            f"{cluster} {drift.group}: {len(drift.drifted)} of {drift.machines} machines drifted "
            f"from {_target(drift.target)}",
            markup=False,
        )
        if drift.drifted:
            out.print(
                table(
                    *("machine", "node", "zone", "image", "age", "pods", "why"),
                    rows=(
                        (
                            m.instance_id,
                            m.node or "(no node)",
                            m.zone,
                            m.image_id,
                            f"{m.age_s / 86400:.0f}d",
                            str(m.pods),
                            ", ".join(m.reasons),
                        )
                        for m in drift.drifted
                    ),
                )
            )
        _show_notes(out, drift.notes, drift.blockers)


def show_plan(out: Console, plan: Plan, *, blockers: bool = True) -> None:
    """Show a plan: what it does, how long it takes, what blocks it.

    :param blockers: False if somebody else says what blocks it.
    """
    blocking = plan.blockers if blockers else ()
    name = f"{plan.environment}.{plan.cluster}"
    if not plan.batches:
        state = "nothing can be planned" if plan.blockers else "nothing to do"
        out.print(f"{name}: {state}.", markup=False)
        _show_notes(out, plan.notes, blocking)
        return
    out.print(
        f"{name}: plan {plan.id}, {plan.machines} machines in {len(plan.batches)} batches, "
        f"{plan.slots} at once, about {duration(plan.estimate.duration_s)}, "
        f"{prices.say_extra(plan.estimate)}.",
        markup=False,
    )
    for group in plan.groups:
        out.print(f"  {_say_group(group)}", markup=False)
    if plan.overrides:
        out.print(f"  with: {', '.join(given(plan.overrides))}", markup=False, soft_wrap=True)
    out.print(
        table(
            *("batch", "machine", "node", "zone", "why"),
            rows=(
                (
                    batch.name + (" (canary)" if batch.canary else ""),
                    m.instance_id,
                    m.node or "(no node)",
                    m.zone,
                    ", ".join(m.reasons),
                )
                for batch in plan.batches
                for m in batch.machines
            ),
        )
    )
    _show_notes(out, plan.notes, blocking)


def show_result(out: Console, cluster: str, result: Result) -> None:
    """Show how a rotation ended, every failure with its objects and remedy.

    :param cluster: ``environment.cluster``.
    """
    took = duration(result.ended_at - result.started_at)
    if result.not_begun:
        out.print(f"{cluster}: {result.not_begun}. Nothing was touched.", markup=False, soft_wrap=True)
        return
    state = "done" if result.ok else "not done"
    out.print(f"{cluster}: {state}, {len(result.passed)} batches passed in {took}.", markup=False)
    for line in _lines(result):
        out.print(f"  {line}", markup=False, soft_wrap=True)


def _lines(result: Result) -> Iterator[str]:
    if began := took_up(result.took_up):
        yield f"it went on with what {began['who']} began ({began['place']})"
    if result.blocked:
        yield f"blocked: {result.blocked}"
    yield from (f"{batch} failed: {blocked}" for batch, blocked in result.failed)
    yield from result.frozen
    if result.skipped:
        yield f"not begun: {', '.join(result.skipped)}"
    yield from (f"{batch} is left to a run to come: {why}" for batch, why in result.postponed)
    if result.verdict:
        for what, found in asdict(result.verdict).items():
            yield from (f"{what}: {line}" for line in found)


def result_document(run_id: str, plan: Plan, result: Result) -> Mapping[str, Any]:
    """How a rotation ended, for programs.

    :param run_id: the lock's holder.
    """
    return {
        "run": run_id,
        "environment": plan.environment,
        "cluster": plan.cluster,
        "plan": plan.id,
        "ok": result.ok,
        "started_at": moment(result.started_at),
        "ended_at": moment(result.ended_at),
        "passed": result.passed,
        "failed": [{"batch": batch, **asdict(blocked)} for batch, blocked in result.failed],
        "skipped": result.skipped,
        "postponed": [{"batch": batch, "reason": why} for batch, why in result.postponed],
        "blocked": asdict(result.blocked) if result.blocked else None,
        "not_begun": result.not_begun or None,
        "frozen": result.frozen,
        "took_up": took_up(result.took_up),
        "verdict": asdict(result.verdict) if result.verdict else None,
    }


def _show_notes(out: Console, notes: Iterable[str], blockers: Iterable[Blocker]) -> None:
    for note in notes:
        out.print(f"  note: {note}", markup=False, soft_wrap=True)
    for blocker in blockers:
        out.print(f"  blocked: {say_blocker(blocker)}", markup=False, soft_wrap=True)


_IMAGE_STEPS = {
    ImageStep.LAUNCH_TEMPLATE: "writes it into the template",
    ImageStep.COMMAND: "a command puts it into the template",
    ImageStep.POD: "a pod puts it into the template",
    ImageStep.EXTERNAL: "somebody else puts it into the template",
}


def _say_group(group: GroupPlan) -> str:
    step = f", {_IMAGE_STEPS[group.image_step]} first" if group.needs_image_step else ""
    return f"{group.name} ({group.asg}): {group.strategy}, {group.slots} at once, to {_target(group.target)}{step}"


def _target(target: Target | None) -> str:
    return f"{target.image.name} {target.image.id} ({target.source})" if target else "an unknown target"
