"""The published schemas are those of the code."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from tests.node_rotation.builders import Machine, plan, settings, world
from tests.node_rotation.test_fleet import GOOD

from node_rotation.schema import schemas, write

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["fleet.schema.json", "plan.schema.json"])
def test_docs_are_not_stale(name):
    assert (DOCS / name).read_text() == schemas()[name], "run: python -m node_rotation.schema"


def test_every_schema_is_a_schema(tmp_path):
    for file in write(tmp_path):
        jsonschema.Draft202012Validator.check_schema(json.loads(file.read_text()))


def validate(instance: object, name: str) -> None:
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(json.loads(schemas()[name]), format_checker=checker).validate(instance)


def test_a_plan_validates_against_its_schema():
    made = plan(settings(), world({"dev-workers": [Machine("i-1"), Machine("i-2", node=False)]}))
    document = json.loads(made.model_dump_json())
    validate(document, "plan.schema.json")
    with pytest.raises(jsonschema.ValidationError, match="surprise"):
        validate({**document, "surprise": 1}, "plan.schema.json")


def test_a_fleet_validates_against_its_schema():
    validate(GOOD, "fleet.schema.json")
    with pytest.raises(jsonschema.ValidationError):
        validate({**GOOD, "defaults": {"launch_timeout": 300}}, "fleet.schema.json")
