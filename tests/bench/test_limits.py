"""A bench that misses its limit says which one, and fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench import makespan

ROOT = Path(__file__).parents[2]
STUB = """#!/bin/sh
echo "ran $2"
[ "$2" != bench.makespan ]
"""


def told(monkeypatch: pytest.MonkeyPatch, ratios: dict[str, list[float]], *arguments: str) -> int:
    """The bench's exit, had its rotations taken so long."""
    monkeypatch.setattr(makespan, "ratio", lambda job: ratios[job[1]][job[0]])
    monkeypatch.setattr(sys, "argv", ["makespan", "--seeds", "2", *arguments])
    return makespan.main()


def test_both_strategies_are_measured_and_within_the_limits_it_is_quiet(monkeypatch, capsys) -> None:
    assert told(monkeypatch, {"detach": [1.0, 1.08], "surge": [1.02, 1.06]}) == 0
    said = capsys.readouterr()
    assert [line.split(":")[0] for line in said.out.splitlines()] == ["detach", "surge"]
    assert said.err == ""


def test_one_seed_too_slow_fails_by_name(monkeypatch, capsys) -> None:
    assert told(monkeypatch, {"detach": [1.0, 1.0], "surge": [0.99, 1.0801]}) == 1
    assert "surge misses its limit: worst 1.0801 of seed 1" in capsys.readouterr().err


def test_a_mean_too_slow_fails_and_the_other_strategy_is_measured_all_the_same(monkeypatch, capsys) -> None:
    assert told(monkeypatch, {"detach": [1.05, 1.05], "surge": [1.0, 1.0]}) == 1
    said = capsys.readouterr()
    assert "detach misses its limit: mean 1.0500" in said.err
    assert "surge: 2 seeds" in said.out


def test_make_bench_runs_all_of_them_and_fails_with_the_name_of_the_one_that_did(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(STUB)
    python.chmod(0o755)
    (tmp_path / ".installed").touch()
    make = ["make", "bench", f"VENV={tmp_path}", "BENCHES=planning makespan conflicts"]
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "missed their limits, or failed: makespan\n" in done.stderr
    assert "ran bench.conflicts" in done.stdout
