"""The commands: each reads its options, asks the library, shows the answer and ends with an exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Annotated, Any

import typer

from node_rotation.cli import arguments as spelling
from node_rotation.cli import checking, checkups, commands, failures, freezing, options, render, signals, statuses
from node_rotation.cli.exits import ExitCode, of_error, of_signals
from node_rotation.cli.options import Output
from node_rotation.errors import RotationError

app = typer.Typer(
    name="node-rotation",
    help="Replaces the nodes of Kubernetes clusters on AWS when a new machine image comes out.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: " + "; ".join(f"{code.value} {code.meaning}" for code in ExitCode) + ".",
)


@dataclass(frozen=True, slots=True)
class Globals:
    """What was said before the command."""

    fleet: Path
    output: Output


def _globals(context: typer.Context) -> Globals:
    assert isinstance(context.obj, Globals)
    return context.obj


@app.callback()
def common(
    context: typer.Context,
    fleet: options.FleetFile = Path("config/fleet.yaml"),
    output: options.OutputAs = Output.TEXT,
    debug: options.Debug = False,
    version: options.Version = False,
) -> None:
    """Replaces the nodes of Kubernetes clusters on AWS when a new machine image comes out."""
    context.obj = Globals(fleet, output)


@app.command()
def check(context: typer.Context) -> None:
    """Reads the fleet file with all that is checked of it. Asks nobody: no AWS, no cluster."""
    said = _globals(context)
    raise typer.Exit(checking.check(said.fleet, said.output))


@app.command()
def drift(
    context: typer.Context,
    clusters: options.ClusterNames = None,
    groups: options.Groups = None,
    role: options.OnlyRole = None,
    image: options.PinnedImage = None,
    sets: options.Sets = None,
) -> None:
    """Says which machines are not what they should be, and why. Reads only."""
    said = _globals(context)
    policy = options.overrides(image=image, sets=sets)
    raise typer.Exit(commands.drift(said.fleet, said.output, clusters, policy, groups, role))


@app.command()
def plan(
    context: typer.Context,
    cluster: options.ClusterName,
    groups: options.Groups = None,
    role: options.OnlyRole = None,
    image: options.PinnedImage = None,
    strategy: options.WithStrategy = None,
    max_surge: options.MaxSurge = None,
    sets: options.Sets = None,
) -> None:
    """Makes the plan of a rotation: batches, order, budget, time and cost, what blocks it. Reads only."""
    said = _globals(context)
    policy = options.overrides(image=image, strategy=strategy, max_surge=max_surge, sets=sets)
    raise typer.Exit(commands.plan(said.fleet, said.output, cluster, policy, groups, role))


@app.command()
def rotate(
    context: typer.Context,
    cluster: options.ClusterName,
    plan_file: Annotated[
        Path | None, typer.Option("--plan", metavar="FILE", help="Carry out exactly this plan; - is stdin.")
    ] = None,
    groups: options.Groups = None,
    role: options.OnlyRole = None,
    image: options.PinnedImage = None,
    strategy: options.WithStrategy = None,
    max_surge: options.MaxSurge = None,
    mode: options.InMode = None,
    sets: options.Sets = None,
    yes: options.Yes = False,
) -> None:
    """Replaces every drifted machine of a cluster, batch after batch, within its budget."""
    said = _globals(context)
    policy = options.overrides(image=image, strategy=strategy, max_surge=max_surge, mode=mode, sets=sets)
    if plan_file is None:
        raise typer.Exit(commands.rotate(said.fleet, said.output, cluster, policy, groups, role, yes=yes))
    if groups or role:
        raise typer.BadParameter("a plan says which groups: leave --group and --role out", param_hint="--plan")
    own = {"--image": image, "--strategy": strategy, "--max-surge": max_surge, "--set": sets}
    beside = [option for option, value in own.items() if value]
    raise typer.Exit(commands.rotate_plan(said.fleet, said.output, cluster, policy, plan_file, beside, yes=yes))


@app.command()
def drain(
    context: typer.Context,
    node: Annotated[str, typer.Argument(metavar="NODE", help="A Node's name, or an instance id.")],
    cluster: Annotated[
        str | None, typer.Option(metavar="CLUSTER", help="Needed if the fleet has more than one cluster.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Take it out of its group first; the group launches another one.")
    ] = False,
    terminate: Annotated[bool, typer.Option("--terminate", help="Terminate it once it is drained.")] = False,
    sets: options.Sets = None,
) -> None:
    """Takes one machine out of use: cordons it and lets every pod leave through the eviction API."""
    said = _globals(context)
    policy = options.overrides(sets=sets)
    wanted = commands.Drain(node, detach=detach, terminate=terminate)
    raise typer.Exit(commands.drain(said.fleet, said.output, cluster, policy, wanted))


@app.command()
def doctor(context: typer.Context, clusters: options.ClusterNames = None) -> None:
    """Finds before the night what would stop a rotation: rights, groups, budgets, addresses, quotas. Reads only."""
    said = _globals(context)
    raise typer.Exit(checkups.doctor(said.fleet, said.output, clusters))


@app.command()
def status(context: typer.Context, clusters: options.ClusterNames = None) -> None:
    """Shows who rotates a cluster now, wherever that run was started, and how far it is. Reads only."""
    said = _globals(context)
    raise typer.Exit(statuses.status(said.fleet, said.output, clusters))


@app.command()
def freeze(context: typer.Context, image: options.ImageId, reason: options.Reason) -> None:
    """Has every run of the fleet refuse an image."""
    said = _globals(context)
    raise typer.Exit(freezing.freeze(said.fleet, said.output, image, reason))


@app.command()
def unfreeze(context: typer.Context, image: options.ImageId, reason: options.Reason) -> None:
    """Lets an image be rolled out again."""
    said = _globals(context)
    raise typer.Exit(freezing.unfreeze(said.fleet, said.output, image, reason))


@app.command()
def sweep(context: typer.Context, clusters: options.ClusterNames = None) -> None:
    """Puts back what a dead run left behind; touches nothing where a run is alive."""
    said = _globals(context)
    raise typer.Exit(commands.sweep(said.fleet, said.output, clusters))


def run(arguments: Sequence[str] | None) -> int:
    """Run one command and turn every end of it into an exit code and at most one message.

    :param arguments: what follows the program's name; None takes this process' own.
    """
    try:
        with signals.as_interrupts() as heard:
            code = _ran(arguments, heard)
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has heard enough; what is left of it goes nowhere
        render.into_nowhere(sys.stdout)
        return ExitCode.ERROR
    return code


def _ran(arguments: Sequence[str] | None, heard: Sequence[Signals]) -> int:
    typed = sys.argv[1:] if arguments is None else list(arguments)
    given = spelling.in_front(typed, spelling.valued(app))
    try:
        ended = typer.main.get_command(app).main(args=given, prog_name="node-rotation", standalone_mode=False)
    except RotationError as error:
        return _fail(*of_error(error, heard), failures.of(error), given)
    except typer.TyperException as error:  # the wrong options; 2 would be taken for drift
        problem, remedy = spelling.misused(error, given)
        return _fail(ExitCode.ERROR, f"{problem} {remedy}", failures.said(problem, remedy=remedy), given)
    except BrokenPipeError:
        raise
    except typer.Abort:  # interrupted, or the end of stdin, where somebody was asked
        said = "interrupted before the plan was approved: nothing was touched."
        return _fail(of_signals(heard), said, failures.said(said), given)
    except Exception as error:  # the last line of defence: whatever it is, it is a defect of ours
        problem, remedy = f"unexpected {type(error).__name__}: {error}.", "Please report it, with what --debug shows."
        return _fail(ExitCode.ERROR, f"{problem} {remedy}", failures.said(problem, remedy=remedy), given)
    if ended == ExitCode.INTERRUPTED:  # typer's, for Ctrl-C
        return _fail(of_signals(heard), "interrupted.", failures.said("interrupted."), given)
    return int(ended or ExitCode.OK)


def _fail(code: ExitCode, message: str, error: Mapping[str, Any], given: Sequence[str]) -> int:
    """Tell a person on stderr, and a program that asked for JSON on stdout."""
    if "--debug" in given:
        traceback.print_exc()
    render.complain(message)
    if failures.as_json(given):
        render.write_json({"schema_version": 1, "error": {**error, "exit_code": int(code)}})
    return code
