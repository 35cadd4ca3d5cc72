"""What the commands do, apart from reading their options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from node_rotation import detect, engine, lock
from node_rotation.cli import exits, plan_file, render
from node_rotation.cli.exits import ExitCode
from node_rotation.cli.options import Output
from node_rotation.cli.progress import progress
from node_rotation.cli.session import Session, cluster_names, open_session
from node_rotation.ledger import parse
from node_rotation.model import Plan, Role
from node_rotation.names import LEDGER
from node_rotation.policy import Mode
from node_rotation.sweep import sweep as sweep_cluster

Layer = Mapping[str, Any]


def drift(
    file: Path,
    output: Output,
    clusters: Sequence[str] | None,
    policy: Layer,
    groups: Sequence[str] | None,
    role: Role | None,
) -> ExitCode:
    """Check clusters for drift."""
    found = {}
    for name in cluster_names(file, clusters):
        session = open_session(file, name, policy, groups, role)
        found[session.settings.name] = session.drift(session.observe())
    if output is Output.JSON:
        render.write_json(
            {
                "schema_version": 1,
                "clusters": [
                    {"name": name, "groups": [d.model_dump(mode="json") for d in drifts]}
                    for name, drifts in found.items()
                ],
            }
        )
    else:
        for name, drifts in found.items():
            render.show_drift(render.console(), name, drifts)
    return exits.of_drift(d for drifts in found.values() for d in drifts)


def plan(
    file: Path, output: Output, cluster: str, policy: Layer, groups: Sequence[str] | None, role: Role | None
) -> ExitCode:
    """Make a plan and show it."""
    made = open_session(file, cluster, policy, groups, role).plan()
    _show_plan(output, made)
    return exits.of_plan(made)


def rotate(
    file: Path, output: Output, cluster: str, policy: Layer, groups: Sequence[str] | None, role: Role | None
) -> ExitCode:
    """Make a plan and carry it out, unless the policy says plan only."""
    session = open_session(file, cluster, policy, groups, role)
    made = session.plan()
    if session.settings.policy.mode is Mode.PLAN or made.blockers or not made.batches:
        _show_plan(output, made)
        return exits.of_plan(made)
    return _carry_out(session, made, output)


def rotate_plan(file: Path, output: Output, cluster: str, policy: Layer, source: Path) -> ExitCode:
    """Carry out exactly a plan that was made earlier."""
    given = plan_file.read(source)
    session = open_session(file, cluster, policy)
    groups = plan_file.groups_of(given, session.settings)
    session = Session(session.settings, groups, session.cloud, session.cluster, session.clock)
    left = plan_file.accept(given, session.settings, session.drift(session.observe()))
    if left.blockers or not left.batches:
        _show_plan(output, left)
        return exits.of_plan(left)
    return _carry_out(session, left, output)


def _carry_out(session: Session, made: Plan, output: Output) -> ExitCode:
    run_id = session.run_id()
    run = detect.make_run(run_id, made, session.settings, session.cloud, session.cluster, session.clock)
    out = render.console(stderr=output is Output.JSON)
    render.show_plan(out, made)
    with progress(made, session.clock, out) as on_event:
        result = engine.rotate(run, on_event)
    if output is Output.JSON:
        render.write_json(render.result_document(run_id, made, result))
    else:
        render.show_result(out, session.settings.name, result)
    return exits.of_result(result)


def _show_plan(output: Output, made: Plan) -> None:
    if output is Output.JSON:
        render.write_json(made.model_dump(mode="json"))
    else:
        render.show_plan(render.console(), made)


def status(file: Path, output: Output, clusters: Sequence[str] | None) -> ExitCode:
    """Show the lock and the ledger of clusters."""
    found = [_status_of(open_session(file, name)) for name in cluster_names(file, clusters)]
    if output is Output.JSON:
        render.write_json({"schema_version": 1, "clusters": found})
        return ExitCode.OK
    for one in found:
        _show_status(one)
    return ExitCode.OK


def _status_of(session: Session) -> dict[str, Any]:
    lease = session.cluster.lease()
    if lease is None or not lease.holder:
        return {"name": session.settings.name, "held_by": None}
    now = session.clock.now()
    return {
        "name": session.settings.name,
        "held_by": lease.holder,
        "silent_s": round(now - lease.renewed_at, 1),
        "expired": lock.expired(lease, now),
        "ledger": parse(lease.annotations.get(LEDGER, "")).model_dump(mode="json"),
    }


def _show_status(one: Mapping[str, Any]) -> None:
    out = render.console()
    if one["held_by"] is None:
        out.print(f"{one['name']}: nobody rotates it.", markup=False)
        return
    state = "has expired: node-rotation sweep puts it back" if one["expired"] else "is alive"
    out.print(
        f"{one['name']}: held by {one['held_by']}, last heard of {render.duration(one['silent_s'])} ago; it {state}.",
        markup=False,
    )
    claims = one["ledger"]["claims"]
    out.print(
        render.table(
            *("batch", "state", "since", "machines", "replacements", "why"),
            rows=(
                (
                    claim["batch"],
                    claim["state"],
                    render.moment(claim["since"]),
                    ", ".join(claim["machines"]),
                    ", ".join(claim["replacements"].values()),
                    claim["why"],
                )
                for claim in claims
            ),
        )
    )


def sweep(file: Path, output: Output, clusters: Sequence[str] | None) -> ExitCode:
    """Sweep clusters; what can't be cleaned up blocks, a live run does not."""
    found = {}
    for name in cluster_names(file, clusters):
        session = open_session(file, name)
        found[session.settings.name] = sweep_cluster(
            session.settings, session.cloud, session.cluster, session.clock, session.run_id()
        )
    if output is Output.JSON:
        render.write_json(
            {
                "schema_version": 1,
                "clusters": [
                    {"name": name, "did": s.did, "left": s.left, "held_by": s.held_by or None}
                    for name, s in found.items()
                ],
            }
        )
    else:
        out = render.console()
        for name, swept in found.items():
            for line in swept.did:
                out.print(f"{name}: {line}", markup=False)
            for line in swept.left:
                out.print(f"{name}: left: {line}", markup=False)
            if swept.held_by:
                out.print(f"{name}: {swept.held_by} is at work there; nothing touched.", markup=False)
            elif not swept.did and not swept.left:
                out.print(f"{name}: nothing to sweep.", markup=False)
    return ExitCode.BLOCKED if any(s.left for s in found.values()) else ExitCode.OK
