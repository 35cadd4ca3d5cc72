"""Options become the run's layer of the policy: only what was said."""

from __future__ import annotations

import pytest

from node_rotation.cli.options import overrides
from node_rotation.errors import BadInputError
from node_rotation.model import Strategy
from node_rotation.policy import Mode


def test_nothing_said_changes_nothing() -> None:
    assert overrides() == {}


def test_every_flag_lands_where_the_fleet_file_has_it() -> None:
    layer = overrides(
        image="ami-1", strategy=Strategy.DETACH, max_surge="25%", mode=Mode.PLAN, sets=["drain.timeout=20m"]
    )
    assert layer == {
        "image": {"id": "ami-1"},
        "strategy": "detach",
        "budget": {"max_surge": "25%"},
        "mode": "plan",
        "drain": {"timeout": "20m"},
    }


def test_set_reads_values_as_the_fleet_file_does() -> None:
    assert overrides(sets=["canary=false", "budget.cluster_slots=3", "suspend_processes=[AZRebalance]"]) == {
        "canary": False,
        "budget": {"cluster_slots": 3},
        "suspend_processes": ["AZRebalance"],
    }


@pytest.mark.parametrize("item", ["drain", "=5m", "drain.=5m", "canary.x=1"])
def test_set_refuses_what_is_no_setting(item: str) -> None:
    with pytest.raises(BadInputError, match="--set"):
        overrides(sets=["canary=false", item])


def test_set_refuses_values_that_are_not_yaml() -> None:
    with pytest.raises(BadInputError, match="is not YAML"):
        overrides(sets=["drain.timeout=[5m"])


def test_a_flag_goes_over_a_value_that_was_set_below_it() -> None:
    assert overrides(sets=["budget.max_surge=1"], max_surge="3") == {"budget": {"max_surge": "3"}}


@pytest.mark.parametrize(("value", "read"), [("3", 3), ("null", None), ("[1]", [1])])
def test_a_flag_below_what_is_no_settings_at_all_leaves_that_to_be_complained_of(value: str, read: object) -> None:
    assert overrides(sets=[f"budget={value}"], max_surge="2") == {"budget": read}
