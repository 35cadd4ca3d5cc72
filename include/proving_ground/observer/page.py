"""One self-contained HTML page: the figures, and each rotation as a picture."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from proving_ground.observer.figures import NOTHING_LOST, ZERO

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proving_ground.observer.bound import Bound
    from proving_ground.observer.figures import Figures, Refusal
    from proving_ground.observer.seen import BudgetState, Machine, Seen

WIDTH, LEFT, ROW = 1080, 230, 16
COLOURS = {"old": "#94a3b8", "boot": "#fbbf24", "new": "#22c55e", "drain": "#f97316", "stop": "#ef4444"}
LEGEND = {
    "old": "old machine serves",
    "boot": "new machine boots",
    "new": "new machine serves",
    "drain": "cordoned, drains",
    "stop": "shuts down",
}
STYLE = """
body{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1120px;padding:0 1rem;color:#0f172a;background:#fff}
h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .5rem}p{margin:.2rem 0;color:#475569}
.cards{display:flex;flex-wrap:wrap;gap:.6rem;margin:1.2rem 0}
.card{border:1px solid #e2e8f0;border-radius:8px;padding:.5rem .9rem;min-width:7.5rem}
.card b{display:block;font-size:1.35rem}.bad{border-color:#ef4444;color:#b91c1c}.good b{color:#15803d}
svg{width:100%;height:auto}text{font:11px system-ui,sans-serif;fill:#475569}
.key{display:inline-block;width:.8rem;height:.8rem;border-radius:2px;margin:0 .3rem 0 1rem;vertical-align:-1px}
ul{color:#b91c1c}section{margin-bottom:3.5rem}details{color:#475569}ol{margin:.3rem 0}
@media(prefers-color-scheme:dark){body{background:#0f172a;color:#e2e8f0}text,p,details{fill:#94a3b8;color:#94a3b8}
.card{border-color:#334155}.good b{color:#4ade80}}
"""


def page(sections: Iterable[str]) -> str:
    """The whole page.

    :param sections: what :func:`rotation` and :func:`refused` made.
    """
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>What the observer saw</title>"
        f"<style>{STYLE}</style>{''.join(sections)}</html>"
    )


def rotation(figures: Figures, bound: Bound, seen: Seen, problems: list[str], finished_at: float) -> str:
    """The section of one environment.

    :param problems: residue, orphans and violations, one line each.
    :param finished_at: epoch seconds; where the picture ends.
    """
    title = f"{figures.environment} / {figures.cluster}: {figures.machines_rotated} machines on {figures.target_image}"
    ratio = f"{figures.makespan_s / figures.bound_s:.2f}" if figures.bound_s else "-"
    shown = {
        "machines rotated": figures.machines_rotated,
        "makespan": f"{figures.makespan_s:.0f} s",
        "bound": f"{figures.bound_s:.0f} s",
        "makespan / bound": ratio,
        **_availability(figures),
    }
    zeros = {name: getattr(figures, name) for name in ZERO}
    return _section(title, figures, _cards(shown, zeros) + _made_of(bound), seen, problems, finished_at)


def refused(refusal: Refusal, seen: Seen, problems: list[str], finished_at: float) -> str:
    """The section of an image that was refused; parameters as of :func:`rotation`."""
    title = f"{refusal.environment} / {refusal.cluster}: {refusal.refused_image} is bad, and refused after one machine"
    shown = {"machines before": refusal.machines, **_availability(refusal)}
    zeros = {name: getattr(refusal, name) for name in NOTHING_LOST}
    return _section(title, refusal, _cards(shown, zeros), seen, problems, finished_at)


def _section(
    title: str, told: Figures | Refusal, cards: str, seen: Seen, problems: list[str], finished_at: float
) -> str:
    started = seen.first_change or seen.watching_since or finished_at
    listed = f"<ul>{''.join(f'<li>{escape(p)}</li>' for p in problems)}</ul>" if problems else ""
    return (
        f"<section><h1>{escape(title)}</h1>"
        f"<p>run {escape(told.run_id)}, {told.started_at} to {told.finished_at}</p>{cards}{listed}"
        f"<h2>Machines</h2><p>{_legend()}</p>{_timeline(seen, started, finished_at)}"
        "<h2>Disruption budgets: Ready pods, and the least allowed</h2>"
        f"{_budgets(seen, started, finished_at)}</section>"
    )


def _availability(told: Figures | Refusal) -> dict[str, object]:
    return {
        "least available": f"{told.min_available_pct:.0f} %",
        "unready pod-seconds": f"{told.unready_pod_seconds:.0f}",
    }


def _cards(shown: Mapping[str, object], zeros: Mapping[str, int]) -> str:
    cards = [f"<div class=card>{name}<b>{value}</b></div>" for name, value in shown.items()]
    for name, value in zeros.items():
        cards.append(f'<div class="card {"bad" if value else "good"}">{name.replace("_", " ")}<b>{value}</b></div>')
    return f"<div class=cards>{''.join(cards)}</div>"


def _made_of(bound: Bound) -> str:
    """What the bound is made of; nothing where there is none."""
    if not bound.parts:
        return ""
    ends = {max((p for p in bound.parts if p.beside), key=lambda p: p.seconds, default=None)}
    rows = "".join(
        f"<li>{escape(part.text)} = {part.seconds:.0f} s"
        f"{'' if not part.beside or part in ends else ' (meanwhile, not counted)'}</li>"
        for part in bound.parts
    )
    return (
        f"<details open><summary>The bound, {bound.seconds:.0f} s: the shortest time that boot, drain, gate and slots "
        "of the scenario file allow; what looking, Airflow and AWS take on top is not in it</summary>"
        f"<ol>{rows}</ol></details>"
    )


def _legend() -> str:
    return "".join(f'<span class=key style="background:{COLOURS[name]}"></span>{text}' for name, text in LEGEND.items())


def _timeline(seen: Seen, started: float, finished: float) -> str:
    machines = sorted(seen.machines.values(), key=lambda m: (m.gone_at or finished, m.launched_at))
    shown = [m for m in machines if (m.gone_at or finished) > started]
    height = ROW * len(shown) + 24
    rows = "".join(_row(m, i, started, finished) for i, m in enumerate(shown))
    return f'<svg viewBox="0 0 {WIDTH} {height}" role=img>{rows}{_axis(started, finished, height)}</svg>'


def _row(machine: Machine, index: int, started: float, finished: float) -> str:
    y = index * ROW
    name = f"{machine.instance_id} {machine.zone[-1:]}"
    bars = [f"<text x=0 y={y + 11}>{escape(name)}</text>"]
    for kind, begin, end in _spans(machine, started, finished):
        x, right = _x(begin, started, finished), _x(end, started, finished)
        bars.append(
            f'<rect x={x:.1f} y={y + 2} width={max(right - x, 1):.1f} height={ROW - 4} rx=2 fill="{COLOURS[kind]}">'
            f"<title>{LEGEND[kind]}, {end - begin:.0f} s</title></rect>"
        )
    return "".join(bars)


def _spans(machine: Machine, started: float, finished: float) -> list[tuple[str, float, float]]:
    end = machine.gone_at or finished
    leaving = machine.leaving_at or end
    cordoned = min(machine.cordoned_at or leaving, leaving)
    if machine.launched_at < started:
        spans = [("old", started, cordoned)]
    else:
        ready = min(machine.ready_at or cordoned, cordoned)
        spans = [("boot", machine.launched_at, ready), ("new", ready, cordoned)]
    spans += [("drain", cordoned, leaving), ("stop", leaving, end)]
    return [(kind, max(a, started), min(b, finished)) for kind, a, b in spans if min(b, finished) > max(a, started)]


def _budgets(seen: Seen, started: float, finished: float) -> str:
    budgets = [b for b in seen.budgets.values() if b.history]
    height = 60 * len(budgets) + 24
    charts = "".join(_chart(b, i * 60, started, finished) for i, b in enumerate(budgets))
    return f'<svg viewBox="0 0 {WIDTH} {height}" role=img>{charts}{_axis(started, finished, height)}</svg>'


def _chart(budget: BudgetState, top: int, started: float, finished: float) -> str:
    def y(count: int) -> float:
        return top + 50 - 44 * min(count, budget.expected) / budget.expected

    points, last = [], budget.expected
    for at, count in [*budget.history, (finished, budget.history[-1][1])]:
        x = _x(max(at, started), started, finished)
        points += [f"{x:.1f},{y(last):.1f}", f"{x:.1f},{y(count):.1f}"]
        last = count
    label = f"{budget.namespace}/{budget.name}: {budget.expected}, at least {budget.desired}"
    floor = y(budget.desired)
    return (
        f"<text x=0 y={top + 30}>{escape(label)}</text>"
        f'<line x1={LEFT} x2={WIDTH} y1={floor:.1f} y2={floor:.1f} stroke="#ef4444" stroke-dasharray="4 3"/>'
        f'<polyline points="{" ".join(points)}" fill=none stroke="#0ea5e9" stroke-width=1.5 />'
    )


def _axis(started: float, finished: float, height: int) -> str:
    length = max(finished - started, 1)
    step = next((s for s in (5, 10, 30, 60, 300, 600) if length / s <= 12), 3600)
    return "".join(
        f"<line x1={_x(started + t, started, finished):.1f} x2={_x(started + t, started, finished):.1f} y1=0 "
        f'y2={height - 16} stroke="#cbd5e1" stroke-width=.5 />'
        f"<text x={_x(started + t, started, finished):.1f} y={height - 4}>{t} s</text>"
        for t in range(0, int(length) + 1, step)
    )


def _x(at: float, started: float, finished: float) -> float:
    return LEFT + (WIDTH - LEFT - 30) * (at - started) / max(finished - started, 1)
