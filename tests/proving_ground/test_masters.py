"""A master's machine holds a volume; the members on it live and die with that, and stay in their zone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from tests.proving_ground.waiting import eventually

from proving_ground import masters
from proving_ground.masters import Masters, Volume, volumes
from proving_ground.scenario import load


class Members:
    """Remembers what was asked of it; every member on a volume is one process."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.alive: set[str] = {"a0", "b1"}

    def up(self, volume: str) -> None:
        self.asked.append(("up", volume))
        self.alive.add(volume)

    def down(self, volume: str) -> None:
        self.asked.append(("down", volume))
        self.alive.discard(volume)

    def running(self, volume: str) -> bool:
        return volume in self.alive


class Server:
    """The API server as something that runs or does not."""

    def __init__(self) -> None:
        self.runs = True

    def up(self) -> None:
        self.runs = True

    def down(self) -> None:
        self.runs = False

    def running(self) -> bool:
        return self.runs


class World:
    """Tells whoever subscribed."""

    def __init__(self) -> None:
        self.callback: Callable[[Any], None] = lambda event: None

    def subscribe(self, callback: Callable[[Any], None]) -> None:
        self.callback = callback

    def instances(self) -> list[Any]:
        return [event("running", "i-1", "a"), event("running", "i-2", "b")]


def event(kind: str, instance: str, zone: str, group: str | None = "prod-control-plane-a") -> Any:
    return SimpleNamespace(kind=kind, instance_id=instance, zone=f"eu-central-1{zone}", group=group)


@pytest.fixture
def members() -> Members:
    return Members()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def world(members: Members, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(masters, "RESTART_S", 0.05)
    (cluster,) = load("kops").clusters
    held = [Volume("a0", "eu-central-1a"), Volume("b1", "eu-central-1b")]
    agent, found = Masters(cluster, held, members, server), World()
    agent.follow(found)
    yield found
    agent.stop()


def test_the_scenario_s_masters_have_a_volume_each_in_their_zone() -> None:
    (cluster,) = load("kops").clusters
    assert [(v.name, v.zone) for v in volumes(cluster, "eu-central-1")] == [
        ("a0", "eu-central-1a"),
        ("b1", "eu-central-1b"),
        ("c2", "eu-central-1c"),
    ]


def test_a_machine_that_goes_takes_its_members_and_its_replacement_brings_them_back(
    world: World, members: Members
) -> None:
    world.callback(event("shutting-down", "i-1", "a"))
    world.callback(event("terminated", "i-1", "a"))
    eventually(lambda: ("down", "a0") in members.asked)
    assert members.alive == {"b1"}

    world.callback(event("running", "i-3", "a"))
    eventually(lambda: "a0" in members.alive)
    assert members.asked[-1] == ("up", "a0")
    assert members.asked.count(("down", "a0")) == 1


def test_a_replacement_in_another_zone_and_a_worker_get_nothing(world: World, members: Members) -> None:
    world.callback(event("shutting-down", "i-1", "a"))
    world.callback(event("running", "i-3", "c"))
    world.callback(event("running", "i-4", "a", group="prod-nodes"))
    world.callback(event("shutting-down", "i-2", "b"))
    eventually(lambda: ("down", "b1") in members.asked)

    assert members.alive == set()


def test_a_member_that_died_by_itself_is_started_again_while_its_machine_runs(world: World, members: Members) -> None:
    eventually(lambda: ("up", "a0") in members.asked)
    members.asked.clear()
    members.alive.discard("a0")

    eventually(lambda: ("up", "a0") in members.asked)


def test_the_api_server_is_gone_while_no_master_is_there_and_only_then(
    world: World, members: Members, server: Server
) -> None:
    world.callback(event("shutting-down", "i-1", "a"))
    eventually(lambda: ("down", "a0") in members.asked)
    assert server.runs

    world.callback(event("shutting-down", "i-2", "b"))
    eventually(lambda: ("down", "b1") in members.asked)
    assert not server.runs

    world.callback(event("running", "i-3", "b"))
    eventually(lambda: server.runs)
    assert members.alive == {"b1"}


def test_an_api_server_that_died_by_itself_is_started_again(world: World, server: Server) -> None:
    server.runs = False
    eventually(lambda: server.runs)
