"""The image: the same lock as everywhere, an ordinary user, and no test world in it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
INSTALLS = re.findall(r"^RUN (pip install .*)$", DOCKERFILE, re.MULTILINE)


def setup_recipe() -> str:
    assert "tools/setup" in (ROOT / "Makefile").read_text()
    return (ROOT / "tools" / "setup").read_text()


def test_it_installs_the_lock_with_hashes_and_the_project_without_dependencies() -> None:
    assert INSTALLS == [
        "pip install --no-deps --require-hashes -r /src/requirements.lock",
        "pip install --no-deps --no-build-isolation /src",
    ]


def test_the_makefile_installs_the_same_lock_with_hashes() -> None:
    recipe = setup_recipe()
    assert re.search(r"--require-hashes.*requirements\.lock|requirements\.lock.*--require-hashes", recipe)


def test_python_is_the_projects() -> None:
    assert re.findall(r"^FROM (python:\S+)", DOCKERFILE, re.MULTILINE) == ["python:3.11-slim"]


def test_it_does_not_run_as_root() -> None:
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)[-1] == "airflow"


def test_nothing_goes_in_unless_named_and_the_test_worlds_never_do() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {"include/proving_ground", "include/node_rotation/testing"} <= set(rules)
    assert rules.index("!include") < rules.index("include/proving_ground")
    copied = set(re.findall(r"^COPY (?:--chown=\S+ )?(?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE))
    sources = {source for line in copied for source in line.split()}
    assert sources == {rule[1:] for rule in rules if rule.startswith("!")}
    assert all((ROOT / source).exists() for source in sources)


def test_no_secret_is_baked_in() -> None:
    assert not re.search(r"PASSWORD|SECRET|FERNET|TOKEN", DOCKERFILE)
