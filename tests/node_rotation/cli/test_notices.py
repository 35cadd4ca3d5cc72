"""Who runs a rotation from a pipeline has it told; a receiver that fails is one line on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.node_rotation.cli.conftest import Cli
from tests.node_rotation.receiver import Receiver, receiving

from node_rotation import engine
from node_rotation.errors import PermanentError
from node_rotation.testing.world import MemoryWorld

Notify = Callable[..., None]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as told:
        yield told


@pytest.fixture
def notify(fleet_file: Path) -> Notify:
    """Write a receiver into the fleet file, and what else the story needs of a policy."""

    def write(http: dict[str, Any], **policy: Any) -> None:
        fleet = yaml.safe_load(fleet_file.read_text())
        fleet["defaults"] |= {"notify": [{"http": {"connection": "chat", **http}}], **policy}
        fleet_file.write_text(yaml.safe_dump(fleet))

    return write


def test_a_good_end_is_told(cli: Cli, name: str, receiver: Receiver, notify: Notify) -> None:
    notify({"url": receiver.url})
    ran = cli("rotate", name, "--yes")
    assert (ran.code, ran.err) == (0, "")
    assert receiver.kinds == ["ok"]
    assert receiver.bodies[0]["text"] == "dev.dev: rotated: 6 machines replaced."


@pytest.mark.parametrize("world", [MemoryWorld.simple(machines=2, behaviour="never-joins")], ids=["a bad image"])
def test_each_thing_is_told_when_it_happens(
    cli: Cli, name: str, receiver: Receiver, notify: Notify, world: MemoryWorld
) -> None:
    notify({"url": receiver.url}, launch_timeout="2m")
    assert cli("rotate", name, "--yes").code != 0
    assert receiver.kinds == ["batch_failed", "frozen", "failed"]
    failed, frozen, end = receiver.bodies
    assert "has not joined the cluster" in failed["text"]
    assert world.image_id("base-new") in frozen["text"]
    assert end["remedy"]
    assert len({body["id"] for body in receiver.bodies}) == 3


def test_a_plan_that_can_not_be_carried_out_is_told(
    cli: Cli, name: str, receiver: Receiver, notify: Notify, world: MemoryWorld
) -> None:
    notify({"url": receiver.url}, image={"id": "ami-0000000000000dead"})
    cli("plan", name)
    cli("rotate", name, "--set", "mode=plan")
    assert receiver.got == []
    ran = cli("rotate", name)
    assert ran.code == 3
    assert receiver.kinds == ["blocked"]
    assert world.mutations == []


def test_a_defect_is_told_before_it_is_raised(
    cli: Cli, name: str, receiver: Receiver, notify: Notify, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> engine.Result:
        raise PermanentError("AWS does not know the call")

    notify({"url": receiver.url})
    monkeypatch.setattr(engine, "rotate", breaks)
    assert cli("rotate", name, "--yes").code != 0
    assert [(body["kind"], body["what"]) for body in receiver.bodies] == [
        ("failed", ["the run: AWS does not know the call"])
    ]


def test_whoever_does_not_wait_for_the_telling_gets_the_answer(
    cli: Cli, name: str, notify: Notify, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    notify({"url": "http://127.0.0.1:9"})
    monkeypatch.setattr("node_rotation.notify.send", interrupted)
    ran = cli("-o", "json", "rotate", name, "--yes")
    assert (ran.code, ran.document["ok"]) == (0, True)
    assert "perhaps not everybody was" in ran.err


def test_a_receiver_that_refuses_is_a_line_and_no_failure(
    cli: Cli, name: str, receiver: Receiver, notify: Notify
) -> None:
    receiver.status = 503
    notify({"url": receiver.url})
    ran = cli("-o", "json", "rotate", name, "--yes")
    assert ran.code == 0
    assert ran.document["ok"]
    assert "node-rotation: notification ok to chat was not sent: POST http://127.0.0.1:" in ran.err
    assert "hidden" not in ran.err


def test_a_receiver_that_only_airflow_knows_is_not_tried(cli: Cli, name: str, notify: Notify) -> None:
    notify({})
    ran = cli("rotate", name, "--yes")
    assert (ran.code, ran.err) == (0, "")


def test_no_run_has_its_messages_sent_elsewhere(cli: Cli, name: str, notify: Notify) -> None:
    notify({})
    ran = cli("rotate", name, "--yes", "--set", "notify=[]")
    assert ran.code != 0
    assert "run parameters: notify: is for the fleet file, not for a run" in ran.err
