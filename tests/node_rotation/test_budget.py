"""How many machines may be on their way at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.node_rotation.builders import Machine, world

from node_rotation.budget import foreign, resolve, slots
from node_rotation.model import Strategy
from node_rotation.policy import BudgetPolicy


@pytest.mark.parametrize(
    ("share", "size", "surge", "unavailable"),
    [(2, 10, 2, 2), ("25%", 10, 3, 2), ("10%", 3, 1, 1), ("0%", 10, 0, 0), ("100%", 7, 7, 7), ("50%", 0, 0, 0)],
)
def test_percentages_round_as_a_deployments_do_and_never_to_nothing(share, size, surge, unavailable):
    assert resolve(share, size, round_up=True) == surge
    assert resolve(share, size, round_up=False) == unavailable


def test_both_strategies_launch_first_and_spend_surge():
    policy = BudgetPolicy(max_surge=3, max_unavailable=1)
    assert slots(policy, Strategy.SURGE, 10) == slots(policy, Strategy.DETACH, 10) == 3


@given(st.integers(0, 200), st.integers(0, 1000))
def test_there_are_never_more_slots_than_machines(percent, size):
    assert 0 <= slots(BudgetPolicy(max_surge=f"{percent}%"), Strategy.SURGE, size) <= size


def test_machines_that_others_disrupt_count_and_each_says_why():
    found = foreign(
        world(
            {
                "dev-workers": [
                    Machine("i-ok"),
                    Machine("i-sick", ready=False),
                    Machine("i-going", lifecycle="Terminating:Wait"),
                    Machine("i-half", node=False),
                    Machine("i-cordoned", cordoned=True),
                    Machine("i-ours", ready=False),
                ]
            }
        ),
        "dev-workers",
        ours=["i-ours"],
    )
    assert found == {
        "i-sick": "NotReady (KubeletNotReady)",
        "i-going": "is Terminating:Wait",
        "i-half": "has no Node",
        "i-cordoned": "cordoned",
    }


def test_a_booting_replacement_that_is_not_assigned_yet_is_not_somebody_elses_disruption():
    snapshot = world({"dev-workers": [Machine("i-1"), Machine("i-new", lifecycle="Pending", node=False)]})
    assert foreign(snapshot, "dev-workers", (), known=["i-1"], expected_new=1) == {}
    assert foreign(snapshot, "dev-workers", (), known=["i-1"]) == {"i-new": "is Pending"}


def test_a_group_that_is_gone_has_no_disruption():
    assert foreign(world({}), "dev-workers", ()) == {}
