"""The published schemas are those of the code."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from tests.node_rotation.builders import Machine, plan, settings, world
from tests.node_rotation.test_fleet import GOOD

from node_rotation.schema import pages, schemas, write

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["fleet.schema.json", "plan.schema.json"])
def test_docs_are_not_stale(name):
    assert (DOCS / name).read_text() == schemas()[name], "run: python -m node_rotation.schema"


def test_the_page_of_settings_is_not_stale_and_says_of_each_what_it_is_for():
    page = pages()["settings.md"]
    assert (DOCS / "settings.md").read_text() == page, "run: python -m node_rotation.schema"
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 80
    assert [row[0] for row in rows if not row[-1].strip(" |")] == []
    assert ["`approval.timeout`", "duration", "`8h`", "not answered by then, nothing is done"] in rows


def test_defaults_are_written_as_a_file_writes_them():
    approval = json.loads(schemas()["fleet.schema.json"])["$defs"]["ApprovalPolicy"]
    assert approval["properties"]["timeout"]["default"] == "8h"


def test_every_schema_is_a_schema(tmp_path):
    for file in (one for one in write(tmp_path) if one.suffix == ".json"):
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
