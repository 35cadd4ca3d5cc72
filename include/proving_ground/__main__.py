"""python -m proving_ground up | down | status | publish."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated, Any

import typer

from proving_ground import lifecycle, state
from proving_ground.control_plane.build import BuildError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A real Kubernetes control plane and an AWS that behaves like AWS, on this machine, on loopback.",
)
Directory = Annotated[Path, typer.Option("--directory", help="Where the ground keeps its files.")]
Source = Annotated[str, typer.Argument(help="A scenario's name (thin, demo) or a YAML file.")]
DEFAULT = Path(state.DIRECTORY)


@app.command()
def up(scenario: Source = "demo", directory: Directory = DEFAULT) -> None:
    """Start it in the background, or use the one that runs."""
    try:
        running = lifecycle.up(scenario, directory, typer.echo)
    except (lifecycle.LifecycleError, BuildError, ValueError, FileNotFoundError) as error:
        raise _failed(error) from error
    typer.echo(lifecycle.summary(directory, running))


@app.command()
def down(directory: Directory = DEFAULT) -> None:
    """Stop exactly what was started, also after a crash."""
    stopped = lifecycle.down(directory)
    typer.echo(f"stopped {', '.join(one.name for one in stopped)}" if stopped else "nothing was running")


@app.command()
def status(directory: Directory = DEFAULT) -> None:
    """Say what runs; exit 1 if the ground is not ready."""
    found, running = lifecycle.status(directory)
    names = [one.name for one in running]
    if found and found.phase == "ready" and lifecycle.DAEMON in names:
        typer.echo(lifecycle.summary(directory, found))
        return
    typer.echo(f"not ready; {len(running)} processes of it run" if running else "not running")
    raise typer.Exit(1)


@app.command()
def publish(
    image_name: Annotated[str, typer.Argument(help="The new image's name.")],
    behaviour: Annotated[str, typer.Option(help="good, never-joins, joins-not-ready or fails-later.")] = "good",
    directory: Directory = DEFAULT,
) -> None:
    """Let a new machine image come out."""
    found, _ = lifecycle.status(directory)
    if not found or found.phase != "ready":
        raise _failed(lifecycle.LifecycleError(f"nothing runs in {directory}: start it with `up`"))
    try:
        answer = _post(f"{found.endpoint}/_proving-ground/publish", {"name": image_name, "behaviour": behaviour})
    except urllib.error.HTTPError as error:
        raise _failed(lifecycle.LifecycleError(error.read().decode(errors="replace"))) from error
    except OSError as error:
        raise _failed(lifecycle.LifecycleError(f"{found.endpoint} does not answer: {error}")) from error
    typer.echo(json.dumps(answer))


@app.command(hidden=True)
def daemon(scenario: str, directory: Directory = DEFAULT) -> None:
    """Run the ground in this process until it is told to stop."""
    from proving_ground.daemon import run  # moto and the rest take seconds to import

    raise typer.Exit(run(scenario, directory))


def _post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as answer:
        return json.load(answer)


def _failed(error: Exception) -> typer.Exit:
    typer.echo(f"proving ground: {error}", err=True)
    return typer.Exit(1)


if __name__ == "__main__":
    app()
