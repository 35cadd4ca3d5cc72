"""requirements.txt and requirements.lock: all pinned, all hashed, and nobody's index in them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()


def direct() -> list[Requirement]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    stated = (line.split("#")[0].strip() for line in lines)
    return [Requirement(line) for line in stated if line]


def locked() -> dict[str, str]:
    """What the lock pins: name -> the whole entry, hashes included."""
    entries = re.split(r"^(?=[A-Za-z0-9])", LOCK, flags=re.MULTILINE)[1:]
    return {canonicalize_name(re.split(r"[\[=@ ]", entry)[0]): entry for entry in entries}


def test_every_direct_dependency_is_pinned_to_one_version() -> None:
    for requirement in direct():
        assert re.fullmatch(r"==[0-9][0-9A-Za-z.]*", str(requirement.specifier)), str(requirement)


def test_the_lock_holds_every_direct_dependency_at_its_version() -> None:
    entries = locked()
    for requirement in direct():
        assert str(requirement.specifier) in entries[canonicalize_name(requirement.name)]


def test_everything_in_the_lock_is_pinned_and_hashed() -> None:
    for name, entry in locked().items():
        assert "==" in entry.splitlines()[0], name
        assert "--hash=sha256:" in entry, name


def test_the_lock_names_no_index_and_no_address() -> None:
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host", LOCK)


def test_the_lock_is_made_for_every_supported_python() -> None:
    recipe = (ROOT / "Makefile").read_text()
    assert "uv pip compile -q --universal --python-version 3.11" in recipe
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"


def test_what_the_package_asks_for_is_what_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = {canonicalize_name(r.name): str(r.specifier)[2:] for r in direct()}
    asked = project["dependencies"] + project["optional-dependencies"]["airflow"]
    for requirement in map(Requirement, asked):
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, str(requirement)
