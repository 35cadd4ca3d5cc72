"""A group behind a load balancer, with a terminating hook, rotated by the command line on a real control plane."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from node_rotation.cli import main
from proving_ground.aws import request_log
from proving_ground.aws.events import InstanceEvent
from proving_ground.ground import Ground, start
from proving_ground.scenario import Scenario

pytestmark = pytest.mark.proving_ground

DELAY_S, HOOK_S = 3.0, 4.0
SCENARIO: dict[str, Any] = {
    "name": "balanced",
    "account": "510987650002",
    "timing": {"boot": "500ms", "shutdown": "300ms", "node_removal": "300ms"},
    "images": [
        {"name": "base-1", "created": "2026-11-01T06:00:00.000Z"},
        {"name": "base-2", "created": "2026-11-08T06:00:00.000Z"},
    ],
    "target_groups": [{"name": "web", "deregistration_delay": f"{DELAY_S}s", "healthy_after": "1s"}],
    "clusters": [
        {
            "name": "dev",
            "environment": "dev",
            "groups": [
                {
                    "name": "workers",
                    "image": "base-1",
                    "next_image": "base-2",
                    "min": 1,
                    "max": 4,
                    "desired": 3,
                    "zones": ["a"],
                    "target_groups": ["web"],
                    "health_check": "ELB",
                    "hooks": [{"name": "ship-logs", "transition": "terminating", "completes_after": f"{HOOK_S}s"}],
                }
            ],
            "workloads": [
                {
                    "name": "web",
                    "replicas": 3,
                    "ready_after": "500ms",
                    "stops_after": "1s",
                    "spread": "hostname",
                    "budget": {"max_unavailable": 1},
                },
                {"name": "agent", "kind": "DaemonSet", "namespace": "kube-system"},
            ],
        }
    ],
}
POLICY = {"gate": {"settle": "1s", "timeout": "60s"}, "poll": "1s", "budget": {"max_surge": 2}}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with start(Scenario.model_validate(SCENARIO), tmp_path_factory.mktemp("balanced")) as running:
        yield running


@pytest.fixture
def fleet(ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in ground.env.items():
        monkeypatch.setenv(name, value)
    cluster = {
        "name": "dev",
        "aws": {"region": ground.scenario.region},
        "kubernetes": {"kubeconfig": str(ground.kubeconfig("dev"))},
        "groups": [{"name": "workers", "asg": "dev-workers"}],
        "policy": POLICY,
    }
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump({"environments": [{"name": "dev", "clusters": [cluster]}]}))
    return path


@dataclass
class Watch:
    """Every change of a target and every machine that goes, as they happen."""

    ground: Ground
    fewest: int = 99
    states: dict[str, list[str]] = field(default_factory=dict)
    went: dict[str, float] = field(default_factory=dict)
    went_while_served: list[str] = field(default_factory=list)

    def begin(self) -> None:
        world = self.ground.aws.world
        with world.lock:
            for arn in world.targets.groups:
                self._changed(arn, "")
            world.targets.on_change.append(self._changed)
        world.subscribe(self._machine)

    def _changed(self, arn: str, instance: str) -> None:
        targets = self.ground.aws.world.targets
        self.fewest = min(self.fewest, len(targets.healthy(arn)))
        state, _ = targets.health(arn).get(instance, ("gone", ""))
        self.states.setdefault(instance, []).append(state)

    def _machine(self, event: InstanceEvent) -> None:
        if event.kind == "shutting-down":
            self.went[event.instance_id] = event.at
            if self.states.get(event.instance_id, [])[-1:] != ["gone"]:
                self.went_while_served.append(event.instance_id)


def test_somebody_always_serves_nobody_goes_while_served_and_the_hook_is_waited_for(
    ground: Ground, fleet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world, watch = ground.aws.world, Watch(ground)
    old = set(world.autoscaling.group("dev-workers").members)
    watch.begin()
    before = len(request_log.read(ground.request_log))

    code = main(["--fleet", str(fleet), "rotate", "dev"])

    said = capsys.readouterr()
    assert code == 0, said.out + said.err
    group = world.autoscaling.group("dev-workers")
    assert {str(world.images.record(m.blueprint.image_id).name) for m in group.live()} == {"base-2"}
    assert (group.min_size, group.max_size, group.desired, len(group.members)) == (1, 4, 3, 3)
    assert not group.suspended
    assert watch.fewest == 3, "each replacement served before its predecessor left"
    assert watch.went_while_served == []
    (arn,) = world.targets.groups
    assert world.targets.healthy(arn) == set(group.members)
    for machine in old:
        assert watch.states[machine] == ["draining", "gone"], machine

    calls = request_log.read(ground.request_log)[before:]
    left = {t["Id"]: c.t for c in calls if c.action == "DeregisterTargets" for t in c.parameters["Targets"]}
    told = {c.parameters["InstanceId"]: c.t for c in calls if c.action == "TerminateInstanceInAutoScalingGroup"}
    assert left.keys() == told.keys() == old
    assert min(told[machine] - left[machine] for machine in old) >= DELAY_S
    assert min(watch.went[machine] - told[machine] for machine in old) >= HOOK_S
    assert "waits for terminating hook ship-logs of asg dev-workers, since about" in said.out + said.err
    hooked = {"CompleteLifecycleAction", "RecordLifecycleActionHeartbeat", "TerminateInstances"}
    assert not hooked & {c.action for c in calls}, "the hook is its owner's"
