"""docs/rotatorctl.md: each flag of rotatorctl has an equivalent, and each equivalent does what it says."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from node_rotation.cli import main, session
from node_rotation.fleet import Settings
from node_rotation.model import Role, Strategy
from node_rotation.policy import Policy
from node_rotation.testing import seeds
from node_rotation.testing.world import MemoryWorld

DOCUMENT = (Path(__file__).parents[3] / "docs" / "rotatorctl.md").read_text()
ROTATE_FLAGS = {
    "--cluster",
    "--max-scaling",
    "--rotate-masters",
    "--rotate-workers",
    "--max-drain-retries",
    "--evict-grace-period",
    "--wait-between-rotations",
    "--wait-between-drains",
    "--wait-between-pod-evictions",
}
DRAIN_FLAGS = {"--node", "--evict-grace-period", "--wait-between-pod-evictions", "--max-drain-retries"}


class Row(NamedTuple):
    """One equivalent."""

    command: str
    flag: str
    ours: str


class Ran(NamedTuple):
    """What a command was given and did."""

    world: MemoryWorld
    policies: dict[str, Policy]
    at_once: int
    out: str

    @property
    def policy(self) -> Policy:
        return self.policies["workers"]


def rows() -> Iterator[Row]:
    for line in DOCUMENT.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0] in ("rotate", "drain"):
            yield Row(cells[0], cells[1], cells[2].strip("`"))


def groups_on(world: MemoryWorld, image: str) -> Counter[str]:
    return Counter(world.ec2.launched_for[instance_id] for instance_id in world.on_image(image))


def everything(ran: Ran) -> None:
    assert groups_on(ran.world, "base-new") == {"prod-1-masters": 1, "prod-1-workers": 3}
    assert ran.world.on_image("base-old") == ()


def only(group: str, count: int) -> Callable[[Ran], None]:
    def check(ran: Ran) -> None:
        assert groups_on(ran.world, "base-new") == {f"prod-1-{group}": count}

    return check


def two_at_once(ran: Ran) -> None:
    everything(ran)
    assert ran.at_once == 2


def said(setting: Callable[[Policy], object], value: object, then: Callable[[Ran], None]) -> Callable[[Ran], None]:
    def check(ran: Ran) -> None:
        assert setting(ran.policy) == value
        then(ran)

    return check


def drained(ran: Ran) -> None:
    (node,) = [node for node in ran.world.cluster.nodes() if node.unschedulable]
    assert [
        pod.name for pod in ran.world.cluster.pods() if pod.node == node.name and pod.labels.get("app") == "web"
    ] == []


def gone(ran: Ran) -> None:
    assert ran.world.clock.run_until(ran.world.settled, 600.0)
    assert len(ran.world.cluster.nodes()) == 4
    assert ran.world.orphans() == ()
    assert groups_on(ran.world, "base-new") == {"prod-1-workers": 1}


def all_at_once(ran: Ran) -> None:
    two_at_once(ran)
    policy = ran.policy
    assert (policy.strategy, policy.drain.grace) == (Strategy.DETACH, 30.0)
    assert (policy.wait_between_rotations, policy.wait_between_drains) == (30.0, 60.0)


EFFECTS: dict[tuple[str, str], Callable[[Ran], None]] = {
    ("rotate", "`--cluster prod-1`"): everything,
    ("rotate", "`--max-scaling 2`"): two_at_once,
    ("rotate", "`--rotate-masters=true --rotate-workers=false`"): only("masters", 1),
    ("rotate", "`--rotate-masters=false --rotate-workers=true`"): only("workers", 3),
    ("rotate", "`--max-drain-retries 2`"): said(lambda p: p.drain.timeout, 1200.0, everything),
    ("rotate", "`--evict-grace-period 30`"): said(lambda p: p.drain.grace, 30.0, everything),
    ("rotate", "`--wait-between-rotations 30`"): said(lambda p: p.wait_between_rotations, 30.0, everything),
    ("rotate", "`--wait-between-drains 60`"): said(lambda p: p.wait_between_drains, 60.0, everything),
    ("rotate", "`--wait-between-pod-evictions 2`"): said(lambda p: p.drain.wait_between_evictions, 2.0, everything),
    (
        "rotate",
        "`--wait-between-rotations 30 --wait-between-drains 60 --max-scaling 2 --evict-grace-period 30`",
    ): all_at_once,
    ("drain", "`--node NODE`"): drained,
    ("drain", "`--evict-grace-period 30`"): said(lambda p: p.drain.grace, 30.0, drained),
    ("drain", "`--wait-between-pod-evictions 2`"): said(lambda p: p.drain.wait_between_evictions, 2.0, drained),
    ("drain", "`--max-drain-retries 2`"): said(lambda p: p.drain.timeout, 1200.0, drained),
    ("drain", "`DrainNode`, then `DetachNodes` and `TerminateNodes` of the library"): gone,
}


@pytest.fixture
def world() -> MemoryWorld:
    """A master and three workers on an older image than their templates launch."""
    images = (seeds.Image("base-old"), seeds.Image("base-new", "2026-11-08T06:00:00.000Z"))
    kinds = (("masters", Role.CONTROL_PLANE, 1), ("workers", Role.WORKER, 3))
    groups = [
        seeds.Group(name, image="base-old", next_image="base-new", desired=count, max=9, role=role)
        for name, role, count in kinds
    ]
    web = seeds.Workload("web", replicas=6, spread="hostname", budget=seeds.DisruptionBudget(max_unavailable=3))
    return MemoryWorld.of(groups=tuple(groups), images=images, workloads=(web,), cluster="prod-1", environment="prod")


@pytest.fixture
def run(
    world: MemoryWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], Ran]:
    groups = [{"name": g.name, "asg": world.asg(g.name), "role": g.role.value} for g in world.seed.groups]
    cluster = {"name": "prod-1", "aws": {"region": world.seed.region}, "groups": groups}
    path = tmp_path / "fleet.yaml"
    gate = {"defaults": {"gate": {"settle": "5s"}}}
    path.write_text(yaml.safe_dump({**gate, "environments": [{"name": "prod", "clusters": [cluster]}]}))
    given: dict[str, Policy] = {}
    workers = world.asg("workers")

    def connect(settings: Settings) -> object:
        given.update(settings.groups)
        return world.cloud, world.cluster

    monkeypatch.setattr(session, "connect", connect)
    monkeypatch.setattr(session, "wall_clock", lambda: world.clock)
    monkeypatch.setenv("NODE_ROTATION_FLEET", str(path))
    monkeypatch.setenv("COLUMNS", "200")

    def run(command: str) -> Ran:
        program, *arguments = shlex.split(command)
        assert program == "node-rotation"
        node = next(n.name for n in world.cluster.nodes() if world.ec2.launched_for[n.instance_id] == workers)
        code = main([node if argument == "NODE" else argument for argument in arguments])
        out, err = capsys.readouterr()
        assert code == 0, out + err
        assert (world.cluster.lease(), world.orphans()) == (None, ())
        return Ran(world, given, world.monitor.max_extra[workers], out)

    return run


def test_every_flag_has_its_row() -> None:
    for command, flags in (("rotate", ROTATE_FLAGS), ("drain", DRAIN_FLAGS)):
        named = {flag for row in rows() if row.command == command for flag in re.findall(r"--[a-z-]+", row.flag)}
        assert named == flags


def test_every_row_is_tried() -> None:
    assert [(row.command, row.flag) for row in rows()] == list(EFFECTS)


@pytest.mark.parametrize("row", list(rows()), ids=lambda row: row.ours)
def test_an_equivalent_does_what_it_says(row: Row, run: Callable[[str], Ran]) -> None:
    EFFECTS[row.command, row.flag](run(row.ours))
