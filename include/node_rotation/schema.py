"""Write the JSON schemas of the fleet file and of plans, and the page of all settings from the first:
``python -m node_rotation.schema [DIRECTORY]``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from node_rotation import settings_page
from node_rotation.configuration.durations import written as written_duration
from node_rotation.fleet import Fleet
from node_rotation.model import Plan
from node_rotation.settings_page import is_duration

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> Mapping[str, str]:
    """File name → the schema as it belongs into the file.

    A plan's schema says what is written, so that every key is there; a fleet's what may be written.
    """
    found = {
        "fleet.schema.json": as_written(Fleet.model_json_schema(mode="validation")),
        "plan.schema.json": Plan.model_json_schema(mode="serialization"),
    }
    return {name: json.dumps({"$schema": DIALECT, **schema}, indent=2) + "\n" for name, schema in found.items()}


def pages() -> Mapping[str, str]:
    """File name → the page as it belongs into the file."""
    return {"settings.md": settings_page.page(as_written(Fleet.model_json_schema(mode="validation")))}


def as_written(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with defaults as a file writes them: durations with their unit; a model's are those of its parts."""
    for model in (schema, *schema["$defs"].values()):
        for said in model.get("properties", {}).values():
            if isinstance(said.get("default"), dict):
                del said["default"]
            elif is_duration(said) and isinstance(said.get("default"), float):
                said["default"] = written_duration(said["default"])
    return schema


def write(directory: Path) -> tuple[Path, ...]:
    """Write every schema and page.

    :param directory: where to, e.g. ``docs``.
    :returns: the files.
    """
    written = []
    for name, text in {**schemas(), **pages()}.items():
        (directory / name).write_text(text)
        written.append(directory / name)
    return tuple(written)


if __name__ == "__main__":
    for file in write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs")):
        print(file)
