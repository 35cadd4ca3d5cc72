"""The demo's last words say what is wanted of its figures; none of it fails a command."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from proving_ground.demo import summary
from proving_ground.observer.figures import ZERO


def figures(makespan_s: float, bound_s: float = 100.0, environment: str = "dev") -> summary.Figures:
    shown = ("target_image", "machines_rotated", "drift_before", *ZERO, "min_available_pct", "unready_pod_seconds")
    return {**dict.fromkeys(shown, 0), "environment": environment, "makespan_s": makespan_s, "bound_s": bound_s}


def of_one(found: summary.Figures) -> str:
    said = StringIO()
    summary.one(Console(file=said, width=200), found, "success")
    return said.getvalue()


def of_several(*found: summary.Figures) -> str:
    said = StringIO()
    refused = {"refused_image": "ami-bad", "environment": "dev", "machines": 12, "machines_lost": 0}
    states = {str(one["environment"]): "success" for one in found}
    summary.several(Console(file=said, width=200), refused, found, states)
    return said.getvalue()


@pytest.mark.parametrize(
    ("makespan_s", "remark"),
    [
        (140.0, "1.40, wanted at most 1.4: yes"),
        (140.1, "1.40, wanted at most 1.4: no"),
        (190.0, "1.90, wanted at most 1.4: no"),
    ],
)
def test_the_short_form_says_whether_it_was_as_fast_as_wanted(makespan_s: float, remark: str) -> None:
    assert remark in of_one(figures(makespan_s))


def test_the_whole_form_says_it_of_every_environment() -> None:
    said = of_several(figures(150.0), figures(151.0, environment="staging"))
    assert "1.50, wanted at most 1.5: yes" in said
    assert "1.51, wanted at most 1.5: no" in said


def test_without_a_bound_there_is_nothing_to_compare() -> None:
    assert "wanted" not in of_one(figures(140.0, bound_s=0.0))
