"""`node-rotation doctor`: one line per finding, and an exit code a pipeline can stop at."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.node_rotation.cli.conftest import Cli

from node_rotation.checkup.rights import GROUP_CHANGES
from node_rotation.cli import session
from node_rotation.errors import BadInputError
from node_rotation.fleet import Settings
from node_rotation.testing.checkup import MemoryAccess, MemoryAccount
from node_rotation.testing.world import MemoryWorld


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> MemoryAccount:
    made = MemoryAccount()
    monkeypatch.setattr(session, "askers", lambda _settings: (made, MemoryAccess()))
    return made


def test_nothing_in_the_way_exits_0(cli: Cli, account: MemoryAccount) -> None:
    ran = cli("doctor")
    assert (ran.code, ran.err) == (0, "")
    assert "dev.dev: nothing stands in the way of a rotation." in ran.out


def test_a_blocking_finding_exits_3_and_says_what_to_do(cli: Cli, account: MemoryAccount, world: MemoryWorld) -> None:
    account.denied = {"ec2:TerminateInstances", *GROUP_CHANGES}
    ran = cli("doctor")
    assert ran.code == 3
    (line,) = [line for line in ran.out.splitlines() if "ec2:TerminateInstances" in line]
    assert "blocking" in line
    assert "group workers" in line
    assert line.rstrip().endswith("Allow it in the IAM policy, see docs/iam-policy.json.")
    assert "dev.dev: 1 blocking." in ran.out
    assert world.mutations == []


def test_what_could_not_be_looked_at_does_not_stop_a_pipeline(cli: Cli, account: MemoryAccount) -> None:
    account.limit = None
    ran = cli("doctor")
    assert ran.code == 0
    assert "dev.dev: 1 unknown." in ran.out


def test_json_has_every_finding(cli: Cli, account: MemoryAccount) -> None:
    account.free = (0, 0)
    document = cli("-o", "json", "doctor").document
    (finding,) = document["findings"]
    assert (finding["check"], finding["severity"], finding["cluster"]) == ("subnets", "blocking", "dev.dev")
    assert finding["remedy"]


def test_a_cluster_that_cannot_be_reached_does_not_hide_the_others(
    cli: Cli, account: MemoryAccount, world: MemoryWorld, fleet_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = yaml.safe_load(fleet_file.read_text())
    away = {"name": "away", "aws": {"region": "eu-west-1"}, "groups": [{"name": "workers", "asg": "away-workers"}]}
    fleet["environments"].insert(0, {"name": "lab", "clusters": [away]})
    fleet_file.write_text(yaml.safe_dump(fleet))

    def connect(settings: Settings) -> object:
        if settings.cluster.name == "away":
            raise BadInputError("kubernetes.kubeconfig of cluster away", "there is no file.", "Give its path.")
        return world.cloud, world.cluster

    monkeypatch.setattr(session, "connect", connect)
    ran = cli("doctor")
    assert ran.code == 3
    assert "lab.away: 1 blocking." in ran.out
    assert "dev.dev: nothing stands in the way of a rotation." in ran.out


def test_a_fleet_file_that_is_wrong_exits_1(cli: Cli, account: MemoryAccount) -> None:
    assert cli("doctor", "nowhere").code == 1
