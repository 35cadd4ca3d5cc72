"""`node-rotation check`: a fleet file where there is nobody to ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.node_rotation.cli.conftest import Cli

from node_rotation.cli import session


@pytest.fixture(autouse=True)
def _nobody_to_ask(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a pipeline without credentials."""

    def reached(*_: Any) -> Any:
        pytest.fail("somebody was asked")

    for way in ("connect", "account", "askers", "aws_asker", "airflow_knows"):
        monkeypatch.setattr(session, way, reached)


@pytest.fixture
def fleet(fleet_file: Path) -> Any:
    """The fleet file's document, and a second environment with a kops cluster."""
    document = yaml.safe_load(fleet_file.read_text())
    aws = {"region": "eu-central-1"}
    tagged = {"name": "old", "aws": aws, "kops": {"cluster": "old.example.com"}}
    pools = {"name": "new", "aws": aws, "groups": [{"name": n, "asg": f"new-{n}"} for n in ("apps", "batch")]}
    document["environments"].append({"name": "prod", "clusters": [pools, tagged]})
    return document


def test_a_good_file_is_counted(cli: Cli, fleet_file: Path, fleet: Any) -> None:
    assert cli("check").out == f"{fleet_file}: 1 environment, 1 cluster, 1 group.\n"

    fleet_file.write_text(yaml.safe_dump(fleet))
    ran = cli("check")
    said = "2 environments, 3 clusters, 3 groups; kops' tags name those of prod.old."
    assert (ran.code, ran.out, ran.err) == (0, f"{fleet_file}: {said}\n", "")


def test_as_json_it_lists_clusters_and_groups(cli: Cli, fleet_file: Path, fleet: Any) -> None:
    fleet_file.write_text(yaml.safe_dump(fleet))
    document = cli("check", "-o", "json").document
    assert (document["schema_version"], document["fleet"]) == (1, str(fleet_file))
    first, new, old = document["clusters"]
    assert first["groups"] == [{"name": "workers", "kind": "asg", "role": "worker"}]
    assert (new["name"], new["kops"], [g["name"] for g in new["groups"]]) == ("prod.new", None, ["apps", "batch"])
    assert old == {"name": "prod.old", "kops": "old.example.com", "groups": []}


def test_a_mistake_is_complained_of_as_by_every_command(cli: Cli, fleet_file: Path, fleet: Any) -> None:
    fleet["environments"][1]["policy"] = {"promotion": {"after": ["staging"]}}
    fleet_file.write_text(yaml.safe_dump(fleet))
    ran = cli("check")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"node-rotation: {fleet_file}: ")
    assert ran.err == cli("plan", "new").err

    error = cli("-o", "json", "check").document["error"]
    assert (error["exit_code"], "'staging'" in error["message"], bool(error["remedy"])) == (1, True, True)


def test_a_file_that_is_not_there_is_named(cli: Cli) -> None:
    ran = cli("--fleet", "nowhere.yaml", "check")
    assert (ran.code, ran.err.startswith("node-rotation: nowhere.yaml: can't be read")) == (1, True)
