"""A cluster with one master: while it is replaced nobody answers, which somebody has to have accepted."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from tests.e2e.kops.etcd import access

from node_rotation.cli import main
from node_rotation.clients.etcd import probe
from proving_ground.aws import request_log
from proving_ground.ground import Ground, start
from proving_ground.scenario import load

pytestmark = [pytest.mark.proving_ground, pytest.mark.timeout(600)]

LOOK_S = 0.1
READS = ("get", "list", "watch")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """The kops scenario with one of its three masters, and one worker."""
    kops = load("kops")
    (cluster,) = kops.clusters
    master, *_, nodes = cluster.groups
    one = cluster.model_copy(update={"groups": (master, nodes.model_copy(update={"desired": 1, "max": 2}))})
    told = kops.model_copy(update={"account": "510987650024", "clusters": (one,)})
    with start(told, tmp_path_factory.mktemp("alone")) as running:
        yield running


@pytest.fixture(autouse=True)
def aws(alone: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in alone.env.items():
        monkeypatch.setenv(name, value)


def fleet(alone: Ground, directory: Path, **accepted: bool) -> str:
    cluster = {
        "name": "prod",
        "aws": {"region": alone.scenario.region},
        "kubernetes": {"kubeconfig": str(alone.kubeconfig("prod"))},
        "kops": {"cluster": "prod"},
    }
    etcd = {name: {"endpoints": list(a.endpoints)} for name, a in access(alone).items()}
    policy: dict[str, Any] = {"gate": {"settle": "1s"}, "poll": "1s", "control_plane": {"etcd": etcd, **accepted}}
    path = directory / "fleet.yaml"
    path.write_text(yaml.safe_dump({"defaults": policy, "environments": [{"name": "prod", "clusters": [cluster]}]}))
    return str(path)


class Line:
    """Whether anybody answers at the API server's address, looked at all the time."""

    def __init__(self, alone: Ground) -> None:
        found = urlsplit(alone.clusters["prod"].endpoint)
        self._address, self._over = (str(found.hostname), int(found.port or 0)), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.looks: list[bool] = []

    def __enter__(self) -> Line:
        self._thread.start()
        return self

    def __exit__(self, *ended: object) -> None:
        self._over.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            try:
                with socket.create_connection(self._address, timeout=1):
                    self.looks.append(True)
            except OSError:
                self.looks.append(False)


def mutations(alone: Ground) -> list[str]:
    """What a user has had changed, by both logs."""
    asked = [f"{r.service}:{r.action}" for r in request_log.mutations(alone.request_log)]
    entries = [json.loads(line) for line in alone.audit_log("prod").read_text().splitlines()]
    return asked + [e["requestURI"] for e in entries if e["user"]["username"] == "admin" and e["verb"] not in READS]


def test_without_consent_it_is_refused_before_anything_is_touched(
    alone: Ground, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = mutations(alone)

    code = main(["--fleet", fleet(alone, tmp_path), "rotate", "prod"])

    said = capsys.readouterr()
    assert code == 3, said.out + said.err
    assert "a control plane of 1 loses its quorum" in said.out + said.err
    assert "control_plane.allow_outage: true" in said.out + said.err
    assert mutations(alone) == before


def test_with_consent_the_api_server_goes_comes_back_and_the_rotation_ends_well(
    alone: Ground, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = alone.aws.world
    old = {name: set(group.members) for name, group in world.autoscaling.groups.items()}

    with Line(alone) as line:
        code = main(["--fleet", fleet(alone, tmp_path, allow_outage=True), "rotate", "prod"])

    said = capsys.readouterr()
    assert code == 0, said.out + said.err
    assert (line.looks[0], False in line.looks, line.looks[-1]) == (True, True, True)
    for name, group in world.autoscaling.groups.items():
        assert old[name].isdisjoint(group.members), name
        assert {str(world.images.record(m.blueprint.image_id).name) for m in group.live()} == {"base-2026-11-08"}
    etcd = probe(access(alone))
    assert {c.voters for c in etcd} == {("etcd-a0",)}
    assert all(m.healthy for c in etcd for m in c.members)
