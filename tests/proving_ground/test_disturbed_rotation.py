"""One rotation on a real control plane that others disturb, each a group of its own: seen and handled, not fought."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from kubernetes import client
from tests.proving_ground.rotating import Told, api, audited, run_on
from tests.proving_ground.waiting import eventually

from node_rotation import engine
from node_rotation.report import report
from node_rotation.run import Run
from node_rotation.testing.scaling_values import Group
from proving_ground.ground import Ground, start
from proving_ground.scenario import Scenario

pytestmark = [pytest.mark.proving_ground, pytest.mark.timeout(600)]

GROUPS = ("spot", "sized", "refreshed", "warm")
SCENARIO: dict[str, Any] = {
    "name": "disturbed",
    "account": "510987650022",
    "timing": {"boot": "1s", "shutdown": "300ms", "stop": "300ms", "node_removal": "300ms"},
    "images": [
        {"name": "base-1", "created": "2026-11-01T06:00:00.000Z"},
        {"name": "base-2", "created": "2026-11-08T06:00:00.000Z"},
    ],
    "clusters": [
        {
            "name": "dev",
            "environment": "dev",
            "groups": [
                {
                    "name": name,
                    "image": "base-1",
                    "next_image": None if name == "warm" else "base-2",
                    "min": 1,
                    "max": 6,
                    "desired": 2,
                    "zones": ["a", "b"],
                }
                for name in GROUPS
            ],
            "workloads": [
                {
                    "name": "web",
                    "replicas": 8,
                    "ready_after": "500ms",
                    "stops_after": "1s",
                    "spread": "hostname",
                    "budget": {"max_unavailable": 4},
                },
                {"name": "cluster-autoscaler", "namespace": "kube-system", "replicas": 2, "ready_after": "500ms"},
                {"name": "agent", "kind": "DaemonSet", "namespace": "kube-system"},
            ],
        }
    ],
}
POLICY: dict[str, Any] = {
    "strategy": "surge",
    "canary": False,
    "poll": "1s",
    "gate": {"settle": "1s", "timeout": "90s"},
    "autoscaler": {"pause": True, "timeout": "60s"},
}


@dataclass
class Story:
    """The rotation, who disturbed it, and what they found."""

    ground: Ground
    core: client.CoreV1Api
    told: Told = field(default_factory=Told)
    result: engine.Result | None = None
    run: Run | None = None
    before: dict[str, set[str]] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def autoscaling(self) -> Any:
        return self.ground.aws.client("autoscaling", access_key="somebody")

    def group(self, name: str) -> Group:
        return self.ground.aws.world.autoscaling.group(f"dev-{name}")

    def images(self, name: str) -> list[str]:
        """The images of a group's machines, by name."""
        world = self.ground.aws.world
        with world.lock:
            return [str(world.images.record(m.blueprint.image_id).name) for m in self.group(name).live()]

    def warm(self) -> dict[str, str]:
        """Warm machines and their images, by name."""
        world = self.ground.aws.world
        with world.lock:
            pool = {i: m for i, m in self.group("warm").pool.items() if m.lifecycle == "Warmed:Stopped"}
            return {i: str(world.images.record(m.blueprint.image_id).name) for i, m in pool.items()}

    def autoscaler(self) -> int:
        apps = client.AppsV1Api(self.core.api_client)
        return int(apps.read_namespaced_deployment("cluster-autoscaler", "kube-system").spec.replicas)

    def others(self) -> set[tuple[str, str]]:
        """What the report says of others."""
        assert self.run is not None
        assert self.result is not None
        return {(one["object"], one["what"]) for one in report(self.run.plan, self.result)["others"]}

    def prepare(self) -> None:
        """A pool that was warmed before the newest image came out; rebalancing that somebody has suspended."""
        self.autoscaling.put_warm_pool(AutoScalingGroupName="dev-warm", MaxGroupPreparedCapacity=3)
        eventually(lambda: len(self.warm()) == 1)
        self.before["warm pool"] = set(self.warm())
        ec2 = self.ground.aws.client("ec2", access_key="somebody")
        (image,) = ec2.describe_images(Filters=[{"Name": "name", "Values": ["base-2"]}])["Images"]
        ec2.create_launch_template_version(
            LaunchTemplateName="dev-warm", SourceVersion="1", LaunchTemplateData={"ImageId": image["ImageId"]}
        )
        self.autoscaling.suspend_processes(AutoScalingGroupName="dev-warm", ScalingProcesses=["AZRebalance"])

    def reclaim(self) -> None:
        """AWS wants the capacity of the replacement back while the old machine drains."""
        self.found["autoscaler while it rotates"] = self.autoscaler()
        self.found["suspended while it rotates"] = {name: set(self.group(name).suspended) for name in GROUPS}
        world = self.ground.aws.world
        with world.lock:
            live = self.group("spot").live()
            (new,) = (m for m in live if world.images.record(m.blueprint.image_id).name == "base-2")
            self.found["reclaimed"] = new.instance_id
            world.machines.terminate(new.instance_id, lambda: None)

    def resize(self) -> None:
        """A person wants one more, and rebalancing too."""
        desired = self.group("sized").desired
        self.autoscaling.set_desired_capacity(AutoScalingGroupName="dev-sized", DesiredCapacity=desired + 1)
        self.autoscaling.resume_processes(AutoScalingGroupName="dev-sized", ScalingProcesses=["AZRebalance"])

    def refresh(self) -> None:
        """As long as nobody waits for it, however slow the machine under all this is."""
        asked = {"SkipMatching": True, "InstanceWarmup": 600}
        said = self.autoscaling.start_instance_refresh(AutoScalingGroupName="dev-refreshed", Preferences=asked)
        self.found["refresh"] = said["InstanceRefreshId"]

    def warmed(self) -> None:
        """What is new has warmed up: the refresh goes on."""
        world = self.ground.aws.world
        with world.lock:
            (refresh,) = self.group("refreshed").refreshes
            refresh["Preferences"]["InstanceWarmup"] = 1


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with (
        start(Scenario.model_validate(SCENARIO), tmp_path_factory.mktemp("disturbed")) as ground,
        pytest.MonkeyPatch.context() as environment,
    ):
        for name, value in ground.env.items():
            environment.setenv(name, value)
        found = Story(ground, client.CoreV1Api(api(ground)))
        found.prepare()
        found.before |= {name: set(found.group(name).members) for name in GROUPS}
        found.told.acts = {
            ("spot/1", "drain"): found.reclaim,
            ("sized/1", "drain"): found.resize,
            ("refreshed/1", "health_gate"): found.refresh,
        }
        found.told.answers = {"is replacing the machines of dev-refreshed": found.warmed}
        found.run = run_on(ground, [{"name": name, "asg": f"dev-{name}"} for name in GROUPS], POLICY)
        found.result = found.told.rotate(found.run)
        yield found


def test_whatever_others_did_every_machine_is_replaced_and_nothing_is_left(story: Story) -> None:
    assert story.result is not None
    assert story.result.ok, (story.result, story.told.said)
    assert not story.told.acts, "somebody never got to act"
    for name in GROUPS:
        assert set(story.images(name)) == {"base-2"}, name
        assert story.before[name].isdisjoint(story.group(name).members), name
        assert len(story.group(name).live()) == story.group(name).desired == (3 if name == "sized" else 2), name
        assert (story.group(name).min_size, story.group(name).max_size) == (1, 6), name
    nodes = story.core.list_node().items
    keys = [key for n in nodes for key in (*(n.metadata.labels or {}), *(n.metadata.annotations or {}))]
    assert not [key for key in keys if key.startswith("node-rotation/")]
    assert not any(node.spec.unschedulable for node in nodes)


def test_the_autoscaler_is_paused_for_the_run_and_has_its_replicas_back(story: Story) -> None:
    assert story.found["autoscaler while it rotates"] == 0
    assert story.autoscaler() == 2
    patches = [e for e in audited(story.ground, "patch", "deployments") if e["user"]["username"] == "admin"]
    assert [e["objectRef"]["name"] for e in patches] == ["cluster-autoscaler"] * 2


def test_a_replacement_that_spot_reclaims_is_not_the_images_fault(story: Story) -> None:
    assert story.result is not None
    assert story.result.frozen == ()
    assert story.found["reclaimed"] not in story.group("spot").members
    gone = f"instance {story.found['reclaimed']}", "went away again, it was a replacement"
    assert gone in story.others()


def test_an_instance_refresh_that_begins_midway_is_waited_for_by_name(story: Story) -> None:
    (refresh,) = story.group("refreshed").refreshes
    assert (refresh["InstanceRefreshId"], refresh["Status"]) == (story.found["refresh"], "Successful")
    named = f"instance refresh {refresh['InstanceRefreshId']}"
    assert f"{named} is replacing the machines of dev-refreshed" in story.told.said, story.told.moved
    assert ("asg dev-refreshed", f"{named} was begun") in story.others()


def test_a_size_that_a_person_changes_midway_is_kept_and_reported(story: Story) -> None:
    assert story.group("sized").desired == 3
    assert ("asg dev-sized", "desired 2 → 3") in story.others()


def test_rebalancing_is_suspended_meanwhile_and_afterwards_as_its_owners_want_it(story: Story) -> None:
    assert all("AZRebalance" in suspended for suspended in story.found["suspended while it rotates"].values())
    assert {name: set(story.group(name).suspended) for name in GROUPS} == {
        "spot": set(),
        "sized": set(),
        "refreshed": set(),
        "warm": {"AZRebalance"},
    }
    assert ("asg dev-sized", "AZRebalance was resumed") in story.others()


def test_a_warm_pool_is_renewed_before_it_is_drawn_on(story: Story) -> None:
    eventually(lambda: list(story.warm().values()) == ["base-2"])
    assert story.before["warm pool"].isdisjoint(story.warm())
    drawn = [a.description for a in story.group("warm").activities if "from warm pool" in a.description]
    assert drawn
    assert not [one for one in drawn if any(old in one for old in story.before["warm pool"])]
