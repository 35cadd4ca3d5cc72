"""What the comparison with the peers calls not as wanted."""

from __future__ import annotations

from bench.peers import ENTRIES, OURS, OURS_ALIKE, SLOTS, Measured, Row, beaten, one, row, table
from bench.peers_models import kops
from bench.peers_world import MACHINES, measured

KEEPS = {"Karpenter drift": True, "instance refresh": False}
"""An instance refresh has its machines go with pods on them."""
CAREFUL = Row(OURS, OURS, 2600.0, 2900.0, SLOTS, 0, 800.0)
ALIKE = Row(OURS_ALIKE, OURS_ALIKE, 2200.0, 2400.0, SLOTS, 0, 800.0)


def peer(fresh_s: float, *, like: str = OURS_ALIKE, in_flight: int = SLOTS, violations: int = 0) -> Row:
    return Row("peer", like, fresh_s, fresh_s, in_flight, violations, 0.0)


def test_a_peer_that_is_faster_and_breaks_no_budget_is_not_as_wanted() -> None:
    assert beaten([CAREFUL, ALIKE, peer(2199.0)]) == ["peer"]
    assert beaten([CAREFUL, ALIKE, peer(2200.0)]) == []


def test_each_is_held_against_the_one_of_ours_that_takes_the_same_care() -> None:
    assert beaten([CAREFUL, ALIKE, peer(2500.0)]) == []
    assert beaten([CAREFUL, ALIKE, peer(2500.0, like=OURS)]) == ["peer"]


def test_whoever_breaks_pods_budgets_or_takes_more_machines_is_no_match() -> None:
    assert beaten([CAREFUL, ALIKE, peer(100.0, violations=1), peer(100.0, in_flight=SLOTS + 1)]) == []


def test_but_ours_may_break_none() -> None:
    broken = Row(OURS, OURS, 2600.0, 2900.0, SLOTS, 1, 800.0)
    assert beaten([broken, ALIKE]) == [OURS]


def test_a_row_has_means_of_times_and_the_worst_of_the_rest() -> None:
    found = row(ENTRIES[0], [Measured(100.0, 120.0, 5, 0, 10.0), Measured(200.0, 220.0, 6, 2, 30.0)])
    assert found == Row(OURS, OURS, 150.0, 170.0, 6, 2, 20.0)
    assert "150 s" in table([found, ALIKE])


def test_a_model_that_is_told_to_take_more_machines_is_seen_to() -> None:
    """The meter counts what is in flight by itself, and no model ends with an old machine left."""
    few, many = (measured(0, 6, lambda made, n=n: kops(made, n)) for n in (3, 9))
    assert (few.in_flight, many.in_flight) == (3, 9)
    assert few.fresh_s > many.fresh_s
    assert not few.violations
    assert many.fresh_s > 150.0 * MACHINES / 9


def test_models_keep_the_budgets_or_break_them_as_their_originals_do() -> None:
    rows = {entry.name: row(entry, [one((n, 0))]) for n, entry in enumerate(ENTRIES) if entry.name in KEEPS}
    assert {name: found.keeps_budgets for name, found in rows.items()} == KEEPS
