"""What the commands do, apart from reading their options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from node_rotation import engine, machine
from node_rotation.cli import exits, failures, interrupted, plan_file, render
from node_rotation.cli.approving import approve
from node_rotation.cli.exits import ExitCode
from node_rotation.cli.notices import Notices
from node_rotation.cli.options import Output
from node_rotation.cli.progress import progress, told
from node_rotation.cli.session import Session, cluster_names, open_session
from node_rotation.drift import cluster_notes
from node_rotation.errors import BadInputError, RotationError
from node_rotation.model import GroupDrift, Plan, Role
from node_rotation.policy import Mode
from node_rotation.run import Run
from node_rotation.sweep import SweepInterruptedError, Swept, until_done

Layer = Mapping[str, Any]
Answer = TypeVar("Answer")


def drift(
    file: Path,
    output: Output,
    clusters: Sequence[str] | None,
    policy: Layer,
    groups: Sequence[str] | None,
    role: Role | None,
) -> ExitCode:
    """Check clusters for drift."""

    def look(name: str) -> tuple[tuple[GroupDrift, ...], tuple[str, ...]]:
        session = open_session(file, name, policy, groups, role)
        snapshot = session.observe()
        return session.drift(snapshot), tuple(cluster_notes(snapshot))

    found, failed = _each(cluster_names(file, clusters, policy), look)
    if output is Output.JSON:
        documents: list[dict[str, Any]] = [
            {"name": name, "groups": [d.model_dump(mode="json") for d in drifts], "notes": notes}
            for name, (drifts, notes) in found.items()
        ]
        render.write_json({"schema_version": 1, "clusters": [*documents, *_errors(failed)]})
    else:
        for name, (drifts, notes) in found.items():
            render.show_drift(render.console(), name, drifts, notes)
        _show_errors(failed)
    return ExitCode.ERROR if failed else exits.of_drift(drifts for drifts, _ in found.values())


def _each(names: Sequence[str], ask: Callable[[str], Answer]) -> tuple[dict[str, Answer], dict[str, RotationError]]:
    """Ask cluster after cluster: one that fails does not keep the others from their turn, or hide what they said.

    :returns: cluster → its answer, and cluster → why it has none.
    :raises RotationError: if it was only one, and failed; or somebody pressed Ctrl-C.
    """
    found: dict[str, Answer] = {}
    failed: dict[str, RotationError] = {}
    for name in names:
        try:
            found[name] = ask(name)
        except interrupted.MidwayError:  # Ctrl-C stops all of it, not this one's turn
            raise
        except RotationError as error:
            if len(names) == 1:
                raise
            failed[name] = error
    return found, failed


def _errors(failed: Mapping[str, RotationError]) -> list[dict[str, Any]]:
    return [{"name": name, "error": failures.of(why)} for name, why in failed.items()]


def _show_errors(failed: Mapping[str, RotationError]) -> None:
    for name, why in failed.items():
        render.console(stderr=True).print(f"{name}: {why}", markup=False, soft_wrap=True)


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
    return _carry_out(session, made, output, yes=yes)


def rotate_plan(
    file: Path,
    output: Output,
    cluster: str,
    policy: Layer,
    source: Path,
    beside: Sequence[str] = (),
    *,
    yes: bool = False,
) -> ExitCode:
    """Carry out exactly a plan that was made earlier, with the settings it was made with, unless it is to be shown.

    :param policy: what a run may say on top of it: ``mode``, and what a plan of schema 1 does not say itself.
    :param beside: the options that say more than ``mode``.
    :param yes: it is approved already.
    :raises BadInputError: if the plan says itself what they say.
    """
    own = {key: value for key, value in policy.items() if key != "mode"}  # that is whether, not how
    given = plan_file.completed(plan_file.read(source), own, beside)
    session = open_session(file, cluster, {**given.overrides, **policy})
    groups = plan_file.groups_of(given, session.settings)
    session = replace(session, groups=groups)
    snapshot = session.observe()
    left = plan_file.accept(given, session.settings, session.drift(snapshot), snapshot)
    return _carry_out(session, left, output, yes=yes)


def _carry_out(session: Session, made: Plan, output: Output, *, yes: bool) -> ExitCode:
    plan_only = session.settings.policy.mode is Mode.PLAN
    if made.batches and not made.blockers and not plan_only:
        return _rotate(session, made, output, yes=yes)
    if plan_only:
        _show_plan(output, made, refused=True)
        return exits.of_plan(made)
    run = session.run(session.run_id(), made)
    with interrupted.rotating(run):
        result = Notices.of(run).rotated() if made.blockers else engine.rotate(run)  # cleans up after a dead run
    _show_plan(output, made, refused=True)  # last: what goes wrong before it is a document of its own
    if made.blockers:
        return exits.of_plan(made)
    if result.took_up:
        render.show_result(render.console(stderr=output is Output.JSON), session.settings.name, result)
    return exits.of_result(result)


def _rotate(session: Session, made: Plan, output: Output, *, yes: bool) -> ExitCode:
    run_id = session.run_id()
    run = session.run(run_id, made)
    out = render.console(stderr=output is Output.JSON)
    render.show_plan(out, made)
    approved_by = approve(made, session.settings.policy.approval, session.clock, out, yes=yes)
    notices = Notices.of(run)
    with interrupted.rotating(run), progress(made, session.clock, out) as on_event, told(session.clock, on_event):
        result = notices.rotated(on_event)
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
            render.complain(exits.say_blocker(blocker))


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
    session = open_session(file, names[0], policy, to_plan=False)
    out = render.console(stderr=output is Output.JSON)

    def tell(line: str) -> None:
        out.print(f"{render.moment(session.clock.now())} {wanted.node} {line}", markup=False, soft_wrap=True)

    run_id = session.run_id()
    found = machine.find(session.settings, session.observe(), wanted.node)
    with machine.holding(session.settings, session.cloud, session.cluster, session.clock, run_id) as run:
        done: list[str] = []
        try:
            _take_out(run, found, wanted, tell, done)
        except KeyboardInterrupt as error:
            out_of_it = "detached" in done
            raise interrupted.drain(run, found, detached=out_of_it, for_good=wanted.terminate) from error
    if output is Output.JSON:
        render.write_json({"run": run_id, "cluster": session.settings.name, "machine": found.instance_id, "did": done})
    return ExitCode.OK


def _take_out(run: Run, found: machine.Machine, wanted: Drain, tell: machine.Tell, done: list[str]) -> None:
    """One machine, step by step; what is done goes into ``done`` as it is."""
    if wanted.detach:
        machine.detach(run, found, for_good=wanted.terminate)
        done.append("detached")
        tell(f"is out of group {found.asg}")
    machine.drain(run, found, tell, for_good=wanted.terminate)
    done.append("drained")
    tell("is drained")
    if wanted.terminate:
        machine.terminate(run, found, tell)
        machine.delete_node(run, found)
        done.append("terminated")
        tell("is terminated")


def _swept(session: Session, before: list[str]) -> Swept:
    """Sweep one cluster.

    :param before: one line per thing done in those before it; this one's are added.
    """
    name = session.settings.name
    try:
        swept = until_done(session.settings, session.cloud, session.cluster, session.clock, session.run_id())
    except SweepInterruptedError as error:
        did = (*before, *(f"{name}: {line}" for line in error.did))
        raise interrupted.sweep(name, did, session.settings.policy.lock_duration) from error
    before += [f"{name}: {line}" for line in swept.did]
    return swept


def sweep(file: Path, output: Output, clusters: Sequence[str] | None) -> ExitCode:
    """Sweep clusters; what can't be cleaned up blocks, a live run does not."""
    did: list[str] = []
    names = cluster_names(file, clusters)
    found, failed = _each(names, lambda name: _swept(open_session(file, name, to_plan=False), did))
    if output is Output.JSON:
        documents: list[dict[str, Any]] = [
            {"name": name, "did": s.did, "left": s.left, "held_by": s.held_by or None} for name, s in found.items()
        ]
        render.write_json({"schema_version": 1, "clusters": [*documents, *_errors(failed)]})
    else:
        out = render.console()
        _show_errors(failed)
        for name, swept in found.items():
            for line in swept.did:
                out.print(f"{name}: {line}", markup=False)
            for line in swept.left:
                out.print(f"{name}: left: {line}", markup=False)
            if swept.held_by:
                out.print(f"{name}: {swept.held_by} is at work there; nothing touched.", markup=False)
            elif not swept.did and not swept.left:
                out.print(f"{name}: nothing to sweep.", markup=False)
    if failed:
        return ExitCode.ERROR
    return ExitCode.BLOCKED if any(s.left for s in found.values()) else ExitCode.OK
