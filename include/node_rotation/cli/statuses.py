"""``node-rotation status``: who works on which cluster, wherever that run was started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node_rotation import fleet
from node_rotation.clearance.freeze import Frozen
from node_rotation.cli import failures, freezing, render, session
from node_rotation.cli.exits import ExitCode
from node_rotation.cli.options import Output
from node_rotation.errors import RotationError
from node_rotation.fleet import Settings
from node_rotation.ledger import Ledger, parse
from node_rotation.names import LEDGER
from node_rotation.status import Place, Status
from node_rotation.status import status as read_status

_PLACES = {Place.LAPTOP: "the command line", Place.AIRFLOW: "Airflow", Place.LIBRARY: "a library call"}


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one cluster says of itself: nobody (both None), a run with its ledger, or why it can't be asked."""

    cluster: str
    found: tuple[Status, Ledger] | None = None
    error: RotationError | None = None


def status(file: Path, output: Output, clusters: Sequence[str] | None) -> ExitCode:
    """Show the lock and the ledger of clusters; one that can't be asked does not hide the others."""
    known = fleet.load(file)
    answers = [_ask(file, known.settings(name)) for name in session.cluster_names(file, clusters)]
    frozen, failed = freezing.recorded(known)
    if output is Output.JSON:
        _write(answers, frozen, failed)
    else:
        for answer in answers:
            _show(answer)
        _show_frozen(frozen, failed)
    return ExitCode.ERROR if failed or any(answer.error for answer in answers) else ExitCode.OK


def _write(answers: Sequence[_Answer], frozen: Sequence[Frozen], failed: Sequence[RotationError]) -> None:
    document = {
        "schema_version": 1,
        "clusters": [_document(answer) for answer in answers],
        "frozen": [record.model_dump(mode="json") for record in frozen],
        "frozen_errors": [failures.of(error) for error in failed],
    }
    render.write_json(document)


def _show_frozen(frozen: Sequence[Frozen], failed: Sequence[RotationError]) -> None:
    for line in (*map(str, frozen), *(f"frozen images can't be read everywhere: {error}" for error in failed)):
        render.console().print(line, markup=False, soft_wrap=True)


def _ask(file: Path, settings: Settings) -> _Answer:
    """Only the Lease is asked for: whatever became of a cluster's groups, it tells who is at work."""
    name = settings.name
    try:
        with session.said_of(file):
            _, cluster = session.connect(settings)
        lease = cluster.lease()
        if lease is None or not lease.holder:
            return _Answer(name)
        ledger = parse(lease.annotations.get(LEDGER, ""))
    except RotationError as error:
        return _Answer(name, error=error)
    return _Answer(name, (read_status(name, lease, ledger, session.wall_clock().now()), ledger))


def _document(answer: _Answer) -> dict[str, Any]:
    if answer.error:
        return {"name": answer.cluster, "error": failures.of(answer.error)}
    if answer.found is None:
        return {"name": answer.cluster, "held_by": None}
    status, ledger = answer.found
    return {
        "name": answer.cluster,
        "held_by": status.holder,
        "expired": status.dead,
        **status.model_dump(mode="json", exclude={"cluster", "holder"}),
        "since": render.moment(status.since) if status.since else None,
        "ledger": ledger.model_dump(mode="json"),
    }


def _show(answer: _Answer) -> None:
    out = render.console()
    if answer.error:
        out.print(f"{answer.cluster}: can't be asked: {answer.error}", markup=False, soft_wrap=True)
        return
    if answer.found is None:
        out.print(f"{answer.cluster}: nobody rotates it.", markup=False)
        return
    status, ledger = answer.found
    since = f" since {render.moment(status.since)}" if status.since else ""
    out.print(
        f"{answer.cluster}: held by {status.holder}{since}, last heard of {render.duration(status.silent_s)} ago.",
        markup=False,
        soft_wrap=True,
    )
    began = f"started from {_PLACES[status.began.place]} ({status.began.who})"
    batches = ", ".join(f"{count} {state}" for state, count in status.batches.items()) or "none yet"
    out.print(f"  plan {status.plan}, {began}; batches: {batches}", markup=False, soft_wrap=True)
    if status.shut:
        out.print(f"  {status.shut}", markup=False, soft_wrap=True)
    out.print(f"  {status.advice}", markup=False, soft_wrap=True)
    if ledger.claims:
        out.print(_claims(ledger))


def _claims(ledger: Ledger) -> Any:
    return render.table(
        *("batch", "state", "since", "machines", "replacements", "why"),
        rows=(
            (
                claim.batch,
                claim.state,
                render.moment(claim.since),
                ", ".join(claim.machines),
                ", ".join(claim.replacements.values()),
                claim.why,
            )
            for claim in ledger.claims
        ),
    )
