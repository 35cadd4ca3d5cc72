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
    found = GateCheck.model_validate({**PROMETHEUS, **bound}).judge_values(values)
    assert found == (f"check up of http://prometheus:9090: {why}" if why else "")
