"""What a user's own check may say, and what counts as green."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from node_rotation.workloads.gate_checks import GateCheck

PROMETHEUS = {"prometheus": "http://prometheus:9090", "query": "up"}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "one address"),
        ({"http": "http://a", **PROMETHEUS, "above": 0}, "one address"),
        ({"http": "shop/health"}, "http"),
        ({"http": "file:///etc/passwd"}, "http"),
        (PROMETHEUS, "one bound"),
        ({**PROMETHEUS, "above": 1, "below": 2}, "one bound"),
        ({"prometheus": "http://prometheus:9090", "above": 1}, "needs a query"),
        ({"http": "http://a", "above": 1}, "belong to a prometheus check"),
    ],
)
def test_a_check_that_says_too_little_or_too_much_is_refused(said, why):
    with pytest.raises(ValidationError, match=why):
        GateCheck.model_validate(said)


@pytest.mark.parametrize(
    ("bound", "values", "why"),
    [
        ({"above": 0.99}, (0.999, 1.0), ""),
        ({"above": 0.99}, (0.999, 0.99), "0.99 is not above 0.99"),
        ({"below": 5}, (4.0,), ""),
        ({"below": 5}, (7.0,), "7 is not below 5"),
        ({"below": 5}, (float("nan"),), "nan is not below 5"),
        ({"below": 5}, (), "no data"),
    ],
)
def test_every_series_has_to_be_within_its_bound_and_no_data_is_not_green(bound, values, why):
    check = GateCheck.model_validate({**PROMETHEUS, **bound})
    assert check.judge_values(values) == (f"{check.label}: {why}" if why else "")


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ({"http": "http://a"}, "check http://a"),
        ({"http": "http://a", "expect": 204}, "check http://a, expecting 204"),
        ({**PROMETHEUS, "above": 0.5}, "check up of http://prometheus:9090, above 0.5"),
        ({**PROMETHEUS, "above": 0.50000001}, "check up of http://prometheus:9090, above 0.50000001"),
        ({**PROMETHEUS, "below": 0.5}, "check up of http://prometheus:9090, below 0.5"),
        ({**PROMETHEUS, "below": 100}, "check up of http://prometheus:9090, below 100"),
    ],
)
def test_checks_of_one_address_are_told_apart_by_what_they_want(said, label):
    assert GateCheck.model_validate(said).label == label
