"""What the commands do, apart from reading their options."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from node_rotation import engine, fleet, lock, machine
from node_rotation.cli import exits, freezing, plan_file, render
from node_rotation.cli.approving import approve
from node_rotation.cli.exits import ExitCode
from node_rotation.cli.options import Output
from node_rotation.cli.progress import progress
from node_rotation.cli.session import Session, cluster_names, open_session
from node_rotation.drift import cluster_notes
from node_rotation.errors import BadInputError
from node_rotation.ledger import parse
from node_rotation.model import Plan, Role
from node_rotation.names import LEDGER
from node_rotation.policy import Mode
from node_rotation.run import Run
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
    found, notes = {}, {}
    for name in cluster_names(file, clusters):
        session = open_session(file, name, policy, groups, role)
        snapshot = session.observe()
        found[session.settings.name] = session.drift(snapshot)
        notes[session.settings.name] = cluster_notes(snapshot)
    if output is Output.JSON:
        render.write_json(
            {
                "schema_version": 1,
                "clusters": [
                    {"name": name, "groups": [d.model_dump(mode="json") for d in drifts], "notes": notes[name]}
                    for name, drifts in found.items()
                ],
            }
        )
    else:
        for name, drifts in found.items():
            render.show_drift(render.console(), name, drifts, notes[name])
    return exits.of_drift(d for drifts in found.values() for d in drifts)


def plan(
    file: Path, output: Output, cluster: str, policy: Layer, groups: Sequence[str] | None, role: Role | None
) -> ExitCode:
    """Make a plan and show it."""
    made = open_session(file, cluster, policy, groups, role).plan()
    _show_plan(output, made)
    return exits.of_plan(made)


def rotate(
    file: Path,
    output: Output,
    cluster: str,
    policy: Layer,
    groups: Sequence[str] | None,
    role: Role | None,
    *,
    yes: bool = False,
) -> ExitCode:
    """Make a plan and carry it out, unless the policy says plan only.

    :param yes: the plan is approved already.
    """
    session = open_session(file, cluster, policy, groups, role)
    made = session.plan()
    if session.settings.policy.mode is Mode.PLAN or made.blockers or not made.batches:
        _show_plan(output, made, refused=True)
        return exits.of_plan(made)
    return _carry_out(session, made, output, yes=yes)


def rotate_plan(
    file: Path, output: Output, cluster: str, policy: Layer, source: Path, *, yes: bool = False
) -> ExitCode:
    """Carry out exactly a plan that was made earlier.

    :param yes: it is approved already.
    """
    given = plan_file.read(source)
    session = open_session(file, cluster, policy)
    groups = plan_file.groups_of(given, session.settings)
    session = replace(session, groups=groups)
    left = plan_file.accept(given, session.settings, session.drift(session.observe()))
    if left.blockers or not left.batches:
        _show_plan(output, left, refused=True)
        return exits.of_plan(left)
    return _carry_out(session, left, output, yes=yes)


def _carry_out(session: Session, made: Plan, output: Output, *, yes: bool) -> ExitCode:
    run_id = session.run_id()
    run = session.run(run_id, made)
    out = render.console(stderr=output is Output.JSON)
    render.show_plan(out, made)
    approved_by = approve(made, session.settings.policy.approval, out, yes=yes)
    with progress(made, session.clock, out) as on_event:
        result = engine.rotate(run, on_event)
    if output is Output.JSON:
        render.write_json({**render.result_document(run_id, made, result), "approved_by": approved_by})
    else:
        render.show_result(out, session.settings.name, result)
    return exits.of_result(result)


def _show_plan(output: Output, made: Plan, *, refused: bool = False) -> None:
    """To a rotation that was asked for, what blocks it is an error; to a plan it is a part of the answer."""
    if output is Output.JSON:
        render.write_json(made.model_dump(mode="json"))
    else:
        render.show_plan(render.console(), made, blockers=not refused)
    if refused:
        for blocker in made.blockers:
            print(f"node-rotation: {exits.say_blocker(blocker)}", file=sys.stderr)


@dataclass(frozen=True, slots=True)
class Drain:
    """What is to be done with one machine.

    :param node: the name of its Node, or its instance id.
    """

    node: str
    detach: bool = False
    terminate: bool = False


def drain(file: Path, output: Output, cluster: str | None, policy: Layer, wanted: Drain) -> ExitCode:
    """Take one machine out of use."""
    names = cluster_names(file, (cluster,) if cluster else None)
    if len(names) > 1:
        raise BadInputError("--cluster", "the fleet has more than one cluster.", f"Name one: {', '.join(names)}.")
    session = open_session(file, names[0], policy)
    out = render.console(stderr=output is Output.JSON)

    def tell(line: str) -> None:
        out.print(f"{render.moment(session.clock.now())} {wanted.node} {line}", markup=False, soft_wrap=True)

    run_id = session.run_id()
    found = machine.find(session.settings, session.observe(), wanted.node)
    with machine.holding(session.settings, session.cloud, session.cluster, session.clock, run_id) as run:
        done = _take_out(run, found, wanted, tell)
    if output is Output.JSON:
        render.write_json({"run": run_id, "cluster": session.settings.name, "machine": found.instance_id, "did": done})
    return ExitCode.OK


def _take_out(run: Run, found: machine.Machine, wanted: Drain, tell: machine.Tell) -> list[str]:
    done = []
    if wanted.detach:
        machine.detach(run, found, for_good=wanted.terminate)
        done.append("detached")
        tell(f"is out of group {found.asg}")
    machine.drain(run, found, tell)
    done.append("drained")
    tell("is drained")
    if wanted.terminate:
        machine.terminate(run, found, tell)
        machine.delete_node(run, found)
        done.append("terminated")
        tell("is terminated")
    return done


def status(file: Path, output: Output, clusters: Sequence[str] | None) -> ExitCode:
    """Show the lock and the ledger of clusters."""
    found = [_status_of(open_session(file, name)) for name in cluster_names(file, clusters)]
    frozen = freezing.freezes(fleet.load(file))()
    if output is Output.JSON:
        records = [record.model_dump(mode="json") for record in frozen]
        render.write_json({"schema_version": 1, "clusters": found, "frozen": records})
        return ExitCode.OK
    for record in frozen:
        render.console().print(str(record), markup=False, soft_wrap=True)
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
