"""The demo's last words: figures as a table, and where to look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.table import Table

from proving_ground.demo import stage
from proving_ground.observer.figures import ZERO
from proving_ground.observer.report import PAGE

if TYPE_CHECKING:
    from rich.console import Console

Figures = Mapping[str, Any]
OF_ONE, OF_SEVERAL = 1.4, 1.5
"""What is wanted of makespan / bound at most, in the short form and in the whole one; on a busy machine it is more."""


def now() -> datetime:
    """The present."""
    return datetime.now(UTC)


def one(console: Console, figures: Figures, state: str) -> None:
    """One environment, a line per figure."""
    table = Table(title=f"{figures['environment']}: {state}", title_style="bold", show_header=False)
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), str(value))
    table.add_row("makespan / bound", _ratio(figures, OF_ONE))
    console.print(table)


def several(console: Console, refused: Figures, found: Sequence[Figures], states: Mapping[str, str]) -> None:
    """A column per environment, before them what became of the bad image."""
    console.print(
        f"{refused['refused_image']} was bad: frozen after one machine of {refused['environment']}; of "
        f"{refused['machines']} machines {refused['machines_lost']} were lost",
        soft_wrap=True,
    )
    table = Table(title="The good image, environment by environment", title_style="bold")
    table.add_column("")
    for figures in found:
        table.add_column(f"{figures['environment']}: {states[figures['environment']]}", justify="right")
    shown = ("target_image", "machines_rotated", "drift_before", *ZERO, "min_available_pct", "unready_pod_seconds")
    for name in (*shown, "makespan_s", "bound_s"):
        table.add_row(name.replace("_", " "), *(str(figures[name]) for figures in found))
    table.add_row("makespan / bound", *(_ratio(figures, OF_SEVERAL) for figures in found))
    console.print(table)


def addresses(console: Console, airflow_url: str) -> None:
    """Where to look, and how to stop it."""
    console.print(f"report: {stage.OUT / PAGE}   Airflow: {airflow_url}   stop everything: make down", soft_wrap=True)


def _ratio(figures: Figures, wanted: float) -> str:
    """With a remark, by which nothing fails."""
    if not figures["bound_s"]:
        return "-"
    ratio = figures["makespan_s"] / figures["bound_s"]
    return f"{ratio:.2f}, wanted at most {wanted}: {'yes' if ratio <= wanted else 'no'}"
