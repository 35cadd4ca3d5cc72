"""`node-rotation doctor`: one line per finding, and an exit code a pipeline can stop at."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.node_rotation.cli.conftest import Cli

from node_rotation.checkup.rights import GROUP_CHANGES, Answer
from node_rotation.cli import session
from node_rotation.errors import BadInputError, BlockedError
from node_rotation.fleet import Settings
from node_rotation.outcome import Blocked
from node_rotation.testing.checkup import MemoryAccess, MemoryAccount
from node_rotation.testing.world import MemoryWorld


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> MemoryAccount:
    made = MemoryAccount()
    monkeypatch.setattr(session, "askers", lambda _settings: (made, MemoryAccess()))
    monkeypatch.setattr(session, "aws_asker", lambda _settings: made)
    return made


def test_nothing_in_the_way_exits_0(cli: Cli, account: MemoryAccount) -> None:
    ran = cli("doctor")
    assert (ran.code, ran.err) == (0, "")
    assert "dev.dev: nothing stands in the way of a rotation." in ran.out


def test_it_says_whom_aws_took_it_for(cli: Cli, account: MemoryAccount) -> None:
    """With an administrator's credentials nothing is ever missing: whose rights they were is half of the answer."""
    assert f"nothing stands in the way of a rotation. AWS was asked as {account.identity()}." in cli("doctor").out
    assert cli("-o", "json", "doctor").document["asked_as"] == {"dev.dev": account.identity()}


def test_a_blocking_finding_exits_3_and_says_what_to_do(cli: Cli, account: MemoryAccount, world: MemoryWorld) -> None:
    account.denied = {"ec2:TerminateInstances", *GROUP_CHANGES}
    ran = cli("doctor")
    assert ran.code == 3
    (line,) = [line for line in ran.out.splitlines() if "ec2:TerminateInstances" in line]
    assert "blocking" in line
    assert "group workers" in line
    assert "Allow it in the IAM policy, see docs/iam-policy.json, and see that the group" in line
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


class Away:
    """A first cluster that can't be reached, and why."""

    why: Exception


@pytest.fixture
def away(world: MemoryWorld, fleet_file: Path, monkeypatch: pytest.MonkeyPatch) -> Away:
    fleet = yaml.safe_load(fleet_file.read_text())
    away = {"name": "away", "aws": {"region": "eu-west-1"}, "groups": [{"name": "workers", "asg": "away-workers"}]}
    fleet["environments"].insert(0, {"name": "lab", "clusters": [away]})
    fleet_file.write_text(yaml.safe_dump(fleet))
    told = Away()

    def connect(settings: Settings) -> object:
        if settings.cluster.name == "away":
            raise told.why
        return world.cloud, world.cluster

    monkeypatch.setattr(session, "connect", connect)
    return told


def test_a_cluster_without_kubeconfig_does_not_hide_the_others_nor_what_aws_says_of_it(
    cli: Cli, account: MemoryAccount, away: Away
) -> None:
    away.why = BadInputError("kubernetes.kubeconfig of cluster lab.away", "there is no file /x.", "Give its path.")
    ran = cli("doctor")
    assert ran.code == 3
    kubeconfig, group = (line for line in ran.out.splitlines() if line.startswith(" lab.away"))
    assert "credentials" in kubeconfig
    assert "there is no file /x." in kubeconfig
    assert "there is no Auto Scaling group 'away-workers' in eu-west-1" in group
    assert "lab.away: 2 blocking." in ran.out
    assert "dev.dev: nothing stands in the way of a rotation." in ran.out


def test_credentials_that_are_no_good_anywhere_are_said_once(cli: Cli, account: MemoryAccount, away: Away) -> None:
    """Of an EKS cluster, the address itself comes from AWS."""
    away.why = BlockedError(Blocked("no AWS credentials", ("EKS cluster away",), "Log in."))
    account.refused = BlockedError(Blocked("no AWS credentials", ("the account",), "Log in."))
    assert "lab.away: 1 blocking." in cli("doctor", "away").out


def test_a_defect_of_ours_in_one_cluster_does_not_hide_the_others(cli: Cli, account: MemoryAccount, away: Away) -> None:
    away.why = TypeError("'int' object is not iterable")
    ran = cli("doctor")
    assert ran.code == 3
    assert "unexpected TypeError: 'int' object is not iterable" in ran.out
    assert "Please report it" in ran.out
    assert "dev.dev: nothing stands in the way of a rotation." in ran.out


@pytest.mark.parametrize("command", ["doctor", "status"])
def test_a_cluster_that_is_not_there_is_named_with_the_file(
    cli: Cli, account: MemoryAccount, fleet_file: Path, command: str
) -> None:
    ran = cli(command, "nowhere")
    assert (ran.code, ran.out) == (1, "")
    assert f"{fleet_file}: cluster: there is no cluster 'nowhere'" in ran.err


def test_a_cluster_that_is_named_twice_is_examined_once(cli: Cli, account: MemoryAccount) -> None:
    account.free = (0, 0)
    assert len(cli("-o", "json", "doctor", "dev", "dev.dev").document["findings"]) == 1


@pytest.mark.parametrize(
    ("known", "address", "severity", "said"),
    [
        (Answer.ALLOWED, {}, "", ""),
        (Answer.DENIED, {}, "warning", "finds no connection chat"),
        (Answer.UNKNOWN, {}, "unknown", "can't find out whether Airflow has connection chat"),
        (Answer.UNKNOWN, {"url": "https://chat.example"}, "", ""),
        (Answer.UNKNOWN, {"url": "https://chat.example", "token_variable": "NOT_SET"}, "warning", "NOT_SET is not set"),
    ],
)
def test_a_receiver_that_would_not_be_told_is_found_out_beforehand_and_stops_nothing(
    cli: Cli,
    account: MemoryAccount,
    fleet_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    known: Answer,
    address: dict[str, str],
    severity: str,
    said: str,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(session, "airflow_knows", lambda connection: asked.append(connection) or known)
    fleet = yaml.safe_load(fleet_file.read_text())
    fleet["defaults"]["notify"] = [{"http": {"connection": "chat", **address}}] * 2
    fleet_file.write_text(yaml.safe_dump(fleet))

    ran = cli("-o", "json", "doctor")

    assert (ran.code, asked) == (0, ["chat"])
    found = [(one["check"], one["severity"]) for one in ran.document["findings"]]
    assert found == ([("notifications", severity)] if severity else [])
    assert said in ran.out
