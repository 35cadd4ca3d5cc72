"""`node-rotation status`, for one cluster and for the whole fleet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.node_rotation.cli.conftest import Cli
from tests.node_rotation.crashes import dies, run_for

from node_rotation.cli import session
from node_rotation.errors import BlockedError, TransientError
from node_rotation.fleet import AwsAccess, Settings
from node_rotation.outcome import Blocked
from node_rotation.testing.world import MemoryWorld

AIRFLOW = "asset_triggered__2026-11-21T02:00:00+00:00"


def test_a_run_of_airflow_is_seen_from_a_laptop(cli: Cli, world: MemoryWorld) -> None:
    assert dies(run_for(world, AIRFLOW), world, 12, before=False)
    ran = cli("status")
    assert ran.code == 0
    assert f"held by {AIRFLOW}" in ran.out
    assert f"started from Airflow ({AIRFLOW})" in ran.out
    assert "batches: 1 admitted" in ran.out
    assert "It is alive" in ran.out
    assert "workers/1" in ran.out


def test_a_dead_run_says_so_and_what_to_do(cli: Cli, name: str, world: MemoryWorld) -> None:
    assert dies(run_for(world, "run-1"), world, 12, before=False)
    world.clock.wait(3600.0)
    (cluster,) = cli("-o", "json", "status", name).document["clusters"]
    assert cluster["expired"] is True
    assert cluster["began"] == {"place": "library", "who": "run-1"}
    assert cluster["batches"] == {"admitted": 1}
    assert "node-rotation rotate dev.dev" in cluster["advice"]
    assert cluster["since"].endswith("Z")
    assert cli("rotate", name).code == 0
    assert cli("-o", "json", "status", name).document["clusters"] == [{"name": "dev.dev", "held_by": None}]


def test_a_run_from_the_command_line_bears_its_user(cli: Cli, name: str, world: MemoryWorld) -> None:
    seen = []
    world.cluster.on_lease = lambda lease: seen.append(lease.holder) if lease else None
    cli("rotate", name)
    assert "@" in seen[0]


@pytest.mark.parametrize(("user", "shown"), [("DOMAIN\\al ice", "DOMAIN_al_ice@"), (None, "uid-")])
def test_a_user_that_no_tag_can_hold_or_without_a_name(
    cli: Cli, name: str, world: MemoryWorld, monkeypatch: pytest.MonkeyPatch, user: str | None, shown: str
) -> None:
    """A domain's user has a backslash, a container's often has no name; the id becomes an EC2 tag's value."""

    def getuser() -> str:
        if user is None:
            raise KeyError("getpwuid(): uid not found: 1001")
        return user

    monkeypatch.setattr("getpass.getuser", getuser)
    holders = []
    world.cluster.on_lease = lambda lease: holders.append(lease.holder) if lease else None
    cli("rotate", name)
    assert shown in holders[0]


def test_a_cluster_that_does_not_answer_does_not_hide_the_others(
    cli: Cli, world: MemoryWorld, fleet_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = yaml.safe_load(fleet_file.read_text())
    away = {"name": "away", "aws": {"region": "eu-west-1"}, "groups": [{"name": "workers", "asg": "away-workers"}]}
    fleet["environments"].insert(0, {"name": "lab", "clusters": [away]})
    fleet_file.write_text(yaml.safe_dump(fleet))

    def connect(settings: Settings) -> object:
        if settings.cluster.name == "away":
            raise TransientError("the API server is away")
        return world.cloud, world.cluster

    monkeypatch.setattr(session, "connect", connect)
    ran = cli("status")
    assert ran.code == 1
    assert "lab.away: can't be asked: the API server is away" in ran.out
    assert "dev.dev: nobody rotates it." in ran.out


@pytest.fixture
def expired(world: MemoryWorld, fleet_file: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Another account, whose credentials are no good any more: its cluster comes last, as prod does."""
    fleet = yaml.safe_load(fleet_file.read_text())
    aws = {"region": "eu-west-1", "profile": "prod"}
    away = {"name": "away", "aws": aws, "groups": [{"name": "workers", "asg": "away-workers"}]}
    fleet["environments"].append({"name": "prod", "clusters": [away]})
    fleet_file.write_text(yaml.safe_dump(fleet))

    def account(access: AwsAccess) -> Any:
        if access.profile == "prod":
            raise BlockedError(Blocked("AWS does not accept our credentials", ("parameters /x",), "Renew them."))
        return world.cloud

    monkeypatch.setattr(session, "account", account)
    return "account eu-west-1 (connection aws_default, profile prod) of prod.away"


def test_credentials_of_another_account_are_said_of_that_account_and_its_clusters(
    cli: Cli, world: MemoryWorld, expired: str
) -> None:
    cli("freeze", world.image_id("base-new"), "--reason", "its kubelet leaks")
    ran = cli("status")
    assert ran.code == 1
    assert "dev.dev: nobody rotates it." in ran.out
    refused = f"AWS does not accept our credentials (parameters /x, {expired}). Remedy: Renew them."
    assert f"frozen images can't be read everywhere: {refused}" in ran.out
    assert "its kubelet leaks" in ran.out
    document = cli("-o", "json", "status").document
    (error,) = document["frozen_errors"]
    assert error["objects"] == ["parameters /x", expired]
    assert [one["reason"] for one in document["frozen"]] == ["its kubelet leaks"]


@pytest.mark.parametrize("command", ["drift", "plan", "rotate"])
def test_so_are_they_where_another_cluster_is_asked_about(cli: Cli, name: str, expired: str, command: str) -> None:
    """All accounts' frozen images are read before anything is planned."""
    ran = cli(command, name)
    assert ran.code == 3
    assert f"AWS does not accept our credentials (parameters /x, {expired}). Remedy: Renew them." in ran.err
