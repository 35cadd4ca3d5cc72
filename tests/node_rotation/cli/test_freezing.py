"""``freeze``, ``unfreeze``, and who meets a frozen image afterwards."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.node_rotation.cli.conftest import Cli

from node_rotation.cli import session
from node_rotation.clients.connect import account
from node_rotation.errors import TransientError
from node_rotation.fleet import AwsAccess
from node_rotation.testing.world import MemoryWorld


def test_a_frozen_image_is_refused_shown_and_lifted_again(cli: Cli, name: str, world: MemoryWorld) -> None:
    image = world.image_id("base-new")
    frozen = cli("freeze", image, "--reason", "its kubelet leaks")
    assert (frozen.code, "is frozen since" in frozen.out) == (0, True)

    assert "its kubelet leaks" in cli("status").out
    assert cli("-o", "json", "status").document["frozen"][0]["image"]["id"] == image
    refused = cli("rotate", name)
    assert refused.code == 3
    assert "its kubelet leaks" in refused.err
    assert "its kubelet leaks" in cli("plan", name).out
    assert {m.action for m in world.mutations} == {"PutParameter"}

    lifted = cli("unfreeze", image, "--reason", "fixed in place")
    assert (lifted.code, lifted.out.startswith("lifted: image ")) == (0, True)
    assert "leaks" not in cli("status").out
    assert cli("rotate", name).code == 0


@pytest.mark.parametrize("command", ["freeze", "unfreeze"])
def test_an_image_that_nobody_knows_is_named_and_nothing_is_written(cli: Cli, world: MemoryWorld, command: str) -> None:
    ran = cli(command, "ami-00000000000000000", "--reason", "bad")
    assert ran.code == 1
    assert "no account of the fleet knows an image 'ami-00000000000000000'" in ran.err
    assert world.mutations == []


def test_a_reason_is_needed(cli: Cli, world: MemoryWorld) -> None:
    assert "--reason: is empty" in cli("freeze", world.image_id("base-new"), "--reason", " ").err
    assert world.mutations == []


def test_what_is_not_frozen_is_not_lifted(cli: Cli, world: MemoryWorld) -> None:
    ran = cli("unfreeze", world.image_id("base-new"), "--reason", "fixed")
    assert ran.code == 1
    assert "is not frozen" in ran.err


def test_a_user_without_a_name_freezes_as_well(cli: Cli, world: MemoryWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def getuser() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", getuser)
    (record,) = cli("-o", "json", "freeze", world.image_id("base-new"), "--reason", "bad").document["frozen"]
    assert record["by"] == f"cli uid-{os.getuid()}"


def test_an_account_that_is_away_keeps_nobody_from_freezing_in_the_next(
    cli: Cli, world: MemoryWorld, fleet_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = yaml.safe_load(fleet_file.read_text())
    group = {"name": "workers", "asg": "away-workers"}
    away = {"name": "away", "aws": {"region": "eu-west-1"}, "groups": [group]}
    fleet["environments"].insert(0, {"name": "lab", "clusters": [away]})
    fleet_file.write_text(yaml.safe_dump(fleet))

    def known(access: AwsAccess) -> Any:
        if access.region == "eu-west-1":
            raise TransientError("AWS is away")
        return world.cloud

    monkeypatch.setattr(session, "account", known)
    assert cli("freeze", world.image_id("base-new"), "--reason", "bad").code == 0
    unknown = cli("freeze", "ami-00000000000000000", "--reason", "bad")
    assert (
        unknown.code,
        "account eu-west-1 (connection aws_default, profile of the shell) of lab.away: AWS is away" in unknown.err,
    ) == (1, True)


def test_an_account_whose_profile_is_nowhere_is_named_once(
    cli: Cli, fleet_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = yaml.safe_load(fleet_file.read_text())
    fleet["environments"][0]["clusters"][0]["aws"]["profile"] = "never-written"
    fleet_file.write_text(yaml.safe_dump(fleet))
    monkeypatch.setattr(session, "account", account)
    ran = cli("unfreeze", "ami-00000000000000000", "--reason", "fixed")
    place = "account eu-central-1 (connection aws_default, profile never-written) of dev.dev"
    assert (ran.code, f"could not be found ({place}). Remedy: Correct aws.profile" in ran.err) == (3, True), ran.err
