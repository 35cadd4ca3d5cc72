"""The scenario `blocked`: what can't be drained is named with its remedy, and nothing is touched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from node_rotation.cli import main
from proving_ground.aws import request_log
from proving_ground.ground import Ground, start
from proving_ground.scenario import load

pytestmark = [pytest.mark.proving_ground, pytest.mark.timeout(300)]

READS = ("get", "list", "watch")


@pytest.fixture(scope="module")
def blocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    told = load("blocked").model_copy(update={"account": "510987650023"})
    with start(told, tmp_path_factory.mktemp("blocked")) as running:
        yield running


@pytest.fixture
def fleet(blocked: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in blocked.env.items():
        monkeypatch.setenv(name, value)
    cluster = {
        "name": "dev",
        "aws": {"region": blocked.scenario.region},
        "kubernetes": {"kubeconfig": str(blocked.kubeconfig("dev"))},
        "groups": [{"name": "workers", "asg": "dev-workers"}],
    }
    policy = {"image": {"ssm": "/images/base/current"}, "image_step": "launch_template"}
    document = {"defaults": policy, "environments": [{"name": "dev", "clusters": [cluster]}]}
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


def mutations(ground: Ground) -> list[str]:
    """What a user has had changed, by both logs."""
    asked = [f"{r.service}:{r.action}" for r in request_log.mutations(ground.request_log)]
    entries = [json.loads(line) for line in ground.audit_log("dev").read_text().splitlines()]
    return asked + [e["requestURI"] for e in entries if e["user"]["username"] == "admin" and e["verb"] not in READS]


@pytest.mark.parametrize("command", ["plan", "rotate"])
def test_it_is_refused_by_name_with_remedies_and_nothing_is_touched(
    blocked: Ground, fleet: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = mutations(blocked)

    code = main(["--fleet", fleet, command, "dev"])

    said = capsys.readouterr()
    lines = (said.out + said.err).splitlines()
    assert code == 3, lines
    blockers = [line for line in lines if "Remedy: " in line]
    (bare,) = (line for line in blockers if "pod shop/by-hand" in line)
    (budget,) = (line for line in blockers if "pdb shop/ledger" in line)
    assert "bare_pods" in bare
    assert "can never allow" in budget
    assert mutations(blocked) == before
