"""What a task waits for is said once, with its time, and once more when it is over."""

from __future__ import annotations

from node_rotation_airflow.narrator import Narrator

T0 = 1_794_189_600.0  # 2026-11-09 02:00:00 UTC


def test_each_reason_is_said_once_and_when_it_is_over() -> None:
    said: list[str] = []
    narrator = Narrator(said.append)

    narrator.waits(["pod shop/a"], T0)
    narrator.waits(["pod shop/a", "pdb shop/api"], T0 + 2)
    narrator.waits(["pdb shop/api"], T0 + 4)

    assert said == [
        "waits: pod shop/a (since 02:00:00 UTC)",
        "waits: pdb shop/api (since 02:00:02 UTC)",
        "no longer: pod shop/a (after 4 s)",
    ]
    assert narrator.open() == ("pdb shop/api (since 02:00:02 UTC)",)
