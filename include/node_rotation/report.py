"""A run's report: one JSON value, and one HTML page that needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from node_rotation.engine import BatchMoved, Event, Result
from node_rotation.ledger import Heard
from node_rotation.model import Cost, Plan
from node_rotation.prices import say as say_cost
from node_rotation.status import origin
from node_rotation.steps.put_back import put_back_of

REPORT_SCHEMA_VERSION = 1
WIDTH, ROW, LEFT = 900, 22, 150
COLOURS = {
    "launch": "#6aa6e8",
    "cordon": "#9aa4b0",
    "drain": "#e8b04a",
    "terminate": "#c97b63",
    "health_gate": "#6bbf86",
    "heal": "#d3504a",
}


def report(plan: Plan, result: Result, events: Sequence[Event] = ()) -> dict[str, Any]:
    """The report as a JSON value; times are ISO 8601, durations seconds.

    :param events: what the engine told, for the timeline.
    """
    verdict = result.verdict
    return {
        "schema_version": REPORT_SCHEMA_VERSION,
        "environment": plan.environment,
        "cluster": plan.cluster,
        "plan": plan.id,
        "ok": result.ok,
        "started_at": _iso(result.started_at),
        "finished_at": _iso(result.ended_at),
        "duration_s": round(result.ended_at - result.started_at, 1),
        "estimate_s": plan.estimate.duration_s,
        "extra_instance_hours": plan.estimate.extra_instance_hours,
        "cost": plan.estimate.cost.model_dump(mode="json") if plan.estimate.cost else None,
        "machines": plan.machines,
        "targets": {g.name: g.target.image.id for g in plan.groups},
        "passed": list(result.passed),
        "failed": [{"batch": name, **asdict(why)} for name, why in result.failed],
        "skipped": list(result.skipped),
        "postponed": [{"batch": batch, "reason": why} for batch, why in result.postponed],
        "put_back": list(put_back_of(result.ledger)),
        "others": others_of(result.ledger.others if result.ledger else ()),
        "frozen": list(result.frozen),
        "notes": list(plan.notes),
        "blocked": asdict(result.blocked) if result.blocked else None,
        "not_begun": result.not_begun or None,
        "approval": None,
        "unsent": [],
        "took_up": took_up(result.took_up),
        "blockers": [blocker.model_dump(mode="json") for blocker in plan.blockers],
        "verdict": asdict(verdict) if verdict else None,
        "timeline": timeline(events, result.ended_at),
    }


def took_up(run: str) -> dict[str, str] | None:
    """Who began what a rotation went on with; None if it began by itself.

    :param run: the dead run's id; "" if there was none.
    """
    return {"run": run, **origin(run).model_dump(mode="json")} if run else None


def others_of(heard: Sequence[Heard]) -> list[dict[str, Any]]:
    """What others did while the run was at work, each once, in the order in which it was seen."""
    found = dict.fromkeys(sorted(heard, key=lambda one: one.at))
    return [{"at": _iso(one.at), "object": one.object, "what": one.what} for one in found]


def timeline(events: Sequence[Event], ended_at: float) -> list[dict[str, Any]]:
    """Each batch's steps with beginning and end, epoch seconds."""
    open_steps: dict[str, tuple[str, float]] = {}
    spans: list[dict[str, Any]] = []
    for event in events:
        if not isinstance(event, BatchMoved):
            continue
        if event.batch in open_steps:
            spans.append(_span(event.batch, *open_steps.pop(event.batch), event.at))
        if event.step is not None:
            open_steps[event.batch] = (event.step.value, event.at)
    spans += [_span(batch, step, since, ended_at) for batch, (step, since) in open_steps.items()]
    return spans


def page(value: dict[str, Any]) -> str:
    """The report as one HTML page, the timeline a picture in it.

    :param value: from :func:`report`.
    """
    title = f"Rotation of {value['environment']}.{value['cluster']}"
    facts = [
        ("Result", _in_short(value)),
        ("Machines", value["machines"]),
        ("Took", f"{value['duration_s']:.0f} s (estimated {value['estimate_s']:.0f} s)"),
        ("On top", _on_top(value)),
        ("From", value["started_at"]),
        ("To", value["finished_at"]),
        ("Images", ", ".join(f"{group}: {image}" for group, image in value["targets"].items())),
    ]
    if began := value["took_up"]:
        facts.append(("Went on with", f"what {began['who']} began ({began['place']}, run {began['run']})"))
    if approval := value["approval"]:
        facts.append(("Approved by", f"{approval['by']}, {approval['at']}"))
    rows = "".join(f"<tr><th>{_text(name)}</th><td>{_text(said)}</td></tr>" for name, said in facts)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{_text(title)}</title>"
        "<style>body{font:15px system-ui,sans-serif;margin:2rem;max-width:70rem}th{text-align:left;"
        "padding-right:1.5rem}li{margin:.3rem 0}svg{max-width:100%}</style>"
        f"<h1>{_text(title)}</h1><table>{rows}</table>{_findings(value)}"
        f"<h2>Timeline</h2>{_picture(value['timeline'])}</html>"
    )


def _in_short(value: dict[str, Any]) -> str:
    if value["not_begun"]:
        return f"nothing was touched: {value['not_begun']}"
    if value["postponed"] and not value["failed"] and not value["blocked"]:
        return "not finished: the rest is left to a run to come"
    return "well" if value["ok"] else "not well"


def _on_top(value: dict[str, Any]) -> str:
    """What the machines on top were estimated to cost."""
    hours = f"{value['extra_instance_hours']:.1f} instance-hours"
    return f"{hours}, {say_cost(Cost.model_validate(value['cost']))}" if value["cost"] else hours


def _findings(value: dict[str, Any]) -> str:
    lines = [f"{f['batch']}: {f['reason']}. {f['remedy']}" for f in value["failed"]]
    lines += [f"{name} was not begun" for name in value["skipped"]]
    lines += [f"{p['batch']} is left to a run to come: {p['reason']}" for p in value["postponed"]]
    lines += [*value["put_back"], *value["frozen"]]
    stopped = [value["blocked"]] if value["blocked"] and not value["blockers"] else []  # the first blocker is both
    lines += [f"{b['reason']}. {b['remedy']}" for b in (*stopped, *value["blockers"])]
    for kind, found in (value["verdict"] or {}).items():
        lines += [f"{kind}: {line}" for line in found]
    items = "".join(f"<li>{_text(line)}</li>" for line in lines)
    found = f"<h2>What is not well</h2><ul>{items}</ul>" if items else ""
    meanwhile = [f"{o['object']}: {o['what']} (somebody else, first seen {o['at']})" for o in value["others"]]
    notes = "".join(f"<li>{_text(line)}</li>" for line in (*value["notes"], *meanwhile, *value["unsent"]))
    return found + (f"<h2>Worth knowing</h2><ul>{notes}</ul>" if notes else "")


def _picture(spans: Sequence[dict[str, Any]]) -> str:
    if not spans:
        return "<p>No batch was begun.</p>"
    first, last = min(s["from"] for s in spans), max(s["to"] for s in spans)
    scale = (WIDTH - LEFT) / max(last - first, 1.0)
    names = list(dict.fromkeys(s["batch"] for s in spans))
    height = ROW * (len(names) + 2)
    parts = [f'<text x="0" y="{ROW * i + 15}">{_text(name)}</text>' for i, name in enumerate(names)]
    for s in spans:
        x, width = LEFT + (s["from"] - first) * scale, max((s["to"] - s["from"]) * scale, 1.0)
        label = f"{s['step']} {s['to'] - s['from']:.0f} s"
        parts.append(
            f'<rect x="{x:.1f}" y="{ROW * names.index(s["batch"]) + 3}" width="{width:.1f}" height="{ROW - 6}" '
            f'fill="{COLOURS.get(s["step"], "#bbb")}"><title>{_text(label)}</title></rect>'
        )
    for i, (step, colour) in enumerate(COLOURS.items()):
        x, y = LEFT + i * 115, height - ROW
        parts.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 17}" y="{y + 11}">{step}</text>')
    drawn = "".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {height}" font-size="12" role="img" aria-label="Timeline">{drawn}</svg>'


def _span(batch: str, step: str, since: float, until: float) -> dict[str, Any]:
    return {"batch": batch, "step": step, "from": since, "to": until}


def _text(value: object) -> str:
    return html.escape(str(value))


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
