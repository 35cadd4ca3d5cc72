"""Write the JSON schemas of the fleet file and of plans: ``python -m node_rotation.schema [DIRECTORY]``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from node_rotation.fleet import Fleet
from node_rotation.model import Plan

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> Mapping[str, str]:
    """File name → the schema as it belongs into the file.

    A plan's schema says what is written, so that every key is there; a fleet's what may be written.
    """
    found = {
        "fleet.schema.json": Fleet.model_json_schema(mode="validation"),
        "plan.schema.json": Plan.model_json_schema(mode="serialization"),
    }
    return {name: json.dumps({"$schema": DIALECT, **schema}, indent=2) + "\n" for name, schema in found.items()}


def write(directory: Path) -> tuple[Path, ...]:
    """Write every schema.

    :param directory: where to, e.g. ``docs``.
    :returns: the files.
    """
    written = []
    for name, text in schemas().items():
        (directory / name).write_text(text)
        written.append(directory / name)
    return tuple(written)


if __name__ == "__main__":
    for file in write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs")):
        print(file)
