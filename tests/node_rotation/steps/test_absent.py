"""What a group that gives a machine up first is asked for and does not have, and what of it is our own doing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from tests.node_rotation.builders import NOW, Machine, plan, settings, world

from node_rotation.ledger import Baseline, Claim, ClaimState, Ledger
from node_rotation.model import Strategy
from node_rotation.steps.absent import absent

SIX = tuple(f"i-{n}" for n in range(6))


def counted(
    here: Sequence[str], *claims: Claim, desired: int = 6, strategy: str = "terminate_first", seen: Sequence[str] = ()
) -> Mapping[str, str]:
    made = plan(settings(strategy=strategy), world({"dev-workers": [Machine(i) for i in SIX]}))
    snapshot = world({"dev-workers": [Machine(i) for i in here]}, desired=desired)
    baseline = Baseline(
        asg="dev-workers", strategy=Strategy(strategy), min=1, max=6, desired=6, members=SIX, taken_at=NOW
    )
    ledger = Ledger(run="run-1", plan=made.id, cluster="dev", groups={"workers": baseline}, claims=claims)
    return absent(made, made.groups[0], snapshot, ledger, seen)


def claim(number: int, state: ClaimState = ClaimState.ADMITTED, **more: Any) -> Claim:
    machines = (SIX[number - 1],)
    told = {"group": "workers", "machines": machines, "strategy": Strategy.TERMINATE_FIRST, "since": NOW, **more}
    return Claim(batch=f"workers/{number}", state=state, **told)


def test_a_full_group_lacks_nothing_and_a_larger_one_neither() -> None:
    assert counted(SIX) == {}
    assert counted(SIX, desired=5) == {}


def test_who_was_gone_before_the_plan_is_counted_by_number() -> None:
    """The group was made larger, say, and AWS has no capacity."""
    why = "is missing (asg dev-workers has 6 of 8 machines)"
    assert counted(SIX, desired=8) == {"8 of 8": why, "7 of 8": why}


@pytest.mark.parametrize("strategy", ["surge", "detach"])
def test_where_the_new_machine_comes_first_nobody_is_missed(strategy: str) -> None:
    assert counted(SIX, desired=8, strategy=strategy) == {}


def test_a_machine_of_a_batch_that_failed_is_counted_by_its_id() -> None:
    assert counted(SIX[1:], claim(1, ClaimState.HEALED)) == {"i-0": "is gone (asg dev-workers has 5 of 6 machines)"}


def test_a_machine_that_a_batch_took_away_is_that_batchs_slot() -> None:
    assert counted(SIX[1:], claim(1)) == {}
    assert counted(SIX[2:], claim(1)).keys() == {"i-1"}


def test_who_comes_is_the_batchs_first_so_that_the_other_one_is_still_missing() -> None:
    assert counted(("i-new", *SIX[2:]), claim(1)).keys() == {"i-1"}
    assert counted(("i-new", *SIX[2:]), claim(1, replacements={"i-0": "i-new"})).keys() == {"i-1"}


def test_a_batch_that_passed_has_its_replacement_and_one_that_lost_it_waits_again() -> None:
    passed = claim(1, ClaimState.PASSED, replacements={"i-0": "i-new"})
    assert counted(("i-new", *SIX[1:]), passed) == {}
    assert counted(SIX[1:], passed).keys() == {"6 of 6"}
    assert counted(SIX[1:], claim(1, replacements={"i-0": "i-new"})) == {}


def test_a_member_that_counts_while_it_goes_is_not_counted_twice() -> None:
    assert counted(SIX[1:], seen=["i-0"]) == {}
