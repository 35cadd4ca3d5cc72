"""What the observers of several environments write together: one JSON file, one page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from proving_ground.observer import page

if TYPE_CHECKING:
    from pathlib import Path

    from proving_ground.observer.bound import Bound
    from proving_ground.observer.figures import Figures, Refusal
    from proving_ground.observer.seen import Seen

REPORT, PAGE, REFUSED, SECTIONS = "report.json", "report.html", "refused.json", "sections"


def add(out: Path, result: Figures, bound: Bound, seen: Seen, problems: list[str], finished_at: float) -> None:
    """Add an environment; another one's figures are kept, an earlier run's of the same are replaced.

    :param bound: what ``bound_s`` is made of.
    :param problems: residue, orphans and violations, one line each.
    :param finished_at: epoch seconds.
    """
    out.mkdir(parents=True, exist_ok=True)
    file = out / REPORT
    lines = json.loads(file.read_text())["environments"] if file.exists() else []
    lines = [line for line in lines if line["environment"] != result.environment]
    file.write_text(json.dumps({"environments": [*lines, result.model_dump()]}, indent=2) + "\n")
    _draw(out, result.environment, page.rotation(result, bound, seen, problems, finished_at))


def add_refusal(out: Path, refused: Refusal, seen: Seen, problems: list[str], finished_at: float) -> None:
    """Add what became of a bad image; parameters as of :func:`add`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / REFUSED).write_text(refused.model_dump_json(indent=2) + "\n")
    _draw(out, REFUSED, page.refused(refused, seen, problems, finished_at))


def clear(out: Path) -> None:
    """Forget an earlier run's report."""
    for file in (out / REPORT, out / PAGE, out / REFUSED, *(out / SECTIONS).glob("*.html")):
        file.unlink(missing_ok=True)


def _draw(out: Path, name: str, section: str) -> None:
    """Keep a section, and the page of all, in the order in which they came."""
    kept = out / SECTIONS
    kept.mkdir(exist_ok=True)
    known = sorted(kept.glob("*.html"))
    file = next((one for one in known if one.stem.partition("-")[2] == name), kept / f"{len(known)}-{name}.html")
    file.write_text(section)
    (out / PAGE).write_text(page.page(one.read_text() for one in sorted(kept.glob("*.html"))))
