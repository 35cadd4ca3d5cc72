"""Settings: units, shares, image sources, layers."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from node_rotation.configuration.document import Number
from node_rotation.model import Strategy
from node_rotation.policy import DrainPolicy, ImageSource, Policy, merge, seconds


@pytest.mark.parametrize(("text", "said"), [("90s", 90), ("15m", 900), ("1h30m", 5400), ("1.5h", 5400), ("1d", 86400)])
def test_durations_carry_their_unit(text, said):
    assert seconds(text) == said


@pytest.mark.parametrize("text", ["90", "90 s", "1w", "", "m15", 90, Number(7.5), True, None])
def test_anything_else_is_no_duration(text):
    with pytest.raises(ValueError, match="is not a duration: write a number with its unit"):
        seconds(text)


@pytest.mark.parametrize("share", [-1, "-5%", "a third", 2.5, True, "5 %"])
def test_a_share_is_a_number_or_a_percentage(share):
    with pytest.raises(ValidationError):
        Policy.model_validate({"budget": {"max_surge": share}})


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ({"ssm": "/x", "id": "ami-1"}, "one source, not ssm and id"),
        ({"template": True, "owner": "self", "name": "x"}, "one source, not template and name"),
        ({"name": "base-*"}, "owner and name go together"),
        ({"owner": "self"}, "owner and name go together"),
        ({"id": "image-1"}, "pattern"),
    ],
)
def test_an_image_has_one_source(source, problem):
    with pytest.raises(ValidationError, match=problem):
        ImageSource.model_validate(source)


def test_owner_and_name_may_stand_beside_a_parameter_to_answer_for_earlier_nights():
    assert ImageSource(ssm="/x", owner="self", name="base-*").name == "base-*"


def test_layers_say_only_what_they_say():
    merged = merge(
        Policy(strategy=Strategy.DETACH, drain=DrainPolicy(timeout=60.0)),
        {"drain": {"grace": "5s"}},
        {"canary": False},
    )
    assert (merged.strategy, merged.drain.timeout, merged.drain.grace, merged.canary) == ("detach", 60, 5, False)


@pytest.mark.parametrize("given", [None, 3, "ami-1", ["id"]])
@pytest.mark.parametrize("key", ["image", "drain"])
def test_what_is_no_settings_at_all_is_complained_of_by_its_place(key, given):
    with pytest.raises(ValidationError) as refused:
        merge({"image": {"ssm": "/x"}, "drain": {"grace": "5s"}}, {key: given})
    assert [problem["loc"] for problem in refused.value.errors()] == [(key,)]


def test_an_image_goes_over_what_is_none():
    assert merge({"image": None}, {"image": {"id": "ami-1"}}).image.id == "ami-1"


def test_one_image_source_replaces_another_but_soak_stays():
    merged = merge({"image": {"ssm": "/x", "soak": "2d"}}, {"image": {"id": "ami-1"}})
    assert (merged.image.ssm, merged.image.id, merged.image.soak) == (None, "ami-1", 2 * 86400)


def test_a_layers_leave_the_layers_below_as_they_were():
    below = {"drain": {"timeout": "60s"}}
    merge(below, {"drain": {"grace": "5s"}})
    assert below == {"drain": {"timeout": "60s"}}
