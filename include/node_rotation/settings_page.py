"""docs/settings.md: every setting of a policy, its values, its default and what it is for, from the schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

HEAD = """# Settings of a policy

Every setting that may stand below `policy` (or `defaults`) in the fleet file; a run overrides them with `--set NAME=VALUE`, as far as docs/cli.md says. `defaults < environment < cluster < node group < run`. Durations have units (`90s`, `15m`, `1h30m`). `[]` marks the members of a list. Made from docs/fleet.schema.json by `make schema`, which also has what stands beside policies: environments, clusters, node groups.

| setting | values | default | what it is for |
|---|---|---|---|
"""  # noqa: E501 - one paragraph of the page
Schema = Mapping[str, Any]


def page(fleet: Schema) -> str:
    """The page as it belongs into its file.

    :param fleet: the fleet file's JSON schema.
    """
    known = fleet["$defs"]
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in _rows(known["Policy"], known, ""))


def _rows(model: Schema, known: Schema, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for name, said in model["properties"].items():
        inner, listed = _model(said, known)
        if inner is None:
            yield (
                f"`{prefix}{name}`",
                _values(said, known),
                _default(said),
                said.get("description", "").replace("|", "\\|"),
            )
            continue
        if said.get("default", {}) in (None, []):
            what = said.get("description", "")
            yield f"`{prefix}{name}`", "a list" if listed else "what follows", _default(said), what
        yield from _rows(inner, known, f"{prefix}{name}{'[]' if listed else ''}.")


def _model(said: Schema, known: Schema) -> tuple[Schema | None, bool]:
    """What a setting is made of, and whether it is a list of that; None if it is a single value."""
    listed = said.get("type") == "array"
    for one in (said["items"],) if listed else (said, *said.get("anyOf", ())):
        found = known.get(str(one.get("$ref", "")).rpartition("/")[2], {})
        if "properties" in found:
            return found, listed
    return None, listed


def _values(said: Schema, known: Schema) -> str:
    if "anyOf" in said:
        return " or ".join(dict.fromkeys(_values(one, known) for one in said["anyOf"] if one.get("type") != "null"))
    if "$ref" in said:
        said = known[said["$ref"].rpartition("/")[2]]
    if "enum" in said:
        return ", ".join(f"`{value}`" for value in said["enum"])
    if said.get("type") == "array":
        return f"list of: {_values(said['items'], known)}"
    if is_duration(said):
        return "duration"
    shown = "".join(f", e.g. `{one}`" for one in said.get("examples", ())[:1])
    words = {"boolean": "`true`, `false`", "integer": "number", "number": "number", "object": "keys and values"}
    return words.get(str(said.get("type")), "text") + shown


def _default(said: Schema) -> str:
    default = said.get("default")
    if default in (None, "", [], {}):
        return ""
    if isinstance(default, list):
        return ", ".join(f"`{one}`" for one in default)
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def is_duration(said: Schema) -> bool:
    """Whether a property of the schema is a duration."""
    return said.get("type") == "string" and "[smhd]" in said.get("pattern", "")
