from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proving_ground.aws.server import serve
from proving_ground.scenario import SCENARIOS, Scenario, load

from .support import Aws

IMAGES = [
    {"name": "old", "created": "2026-11-01T06:00:00Z"},
    {"name": "new", "created": "2026-11-08T06:00:00Z"},
]
LONG_S = 300
QUICK = {"boot": "50ms", "reconcile": "10ms", "shutdown": "50ms"}
Start = Callable[..., Aws]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running = []

    def begin(*groups: dict[str, Any], **scenario: Any) -> Aws:
        sized = [{"image": "old", "min": 0, "max": 4, "desired": 2, **group} for group in groups]
        data = {
            "name": "seeding",
            "account": "444455556666",
            "timing": QUICK,
            "images": IMAGES,
            "clusters": [{"name": "dev", "environment": "dev", "groups": sized}],
        }
        running.append(serve(Scenario.model_validate({**data, **scenario}), tmp_path))
        return Aws(running[-1])

    yield begin
    for server in running:
        server.stop()


def images(aws: Aws, group: str) -> set[str]:
    found = aws.ec2.describe_instances(InstanceIds=aws.ids(group))["Reservations"]
    ids = [instance["ImageId"] for reservation in found for instance in reservation["Instances"]]
    return {image["Name"] for image in aws.ec2.describe_images(ImageIds=ids)["Images"]}


def test_groups_are_named_sized_spread_and_tagged_by_their_cluster(start: Start) -> None:
    aws = start({"name": "workers", "zones": ["a", "b"], "tags": {"team": "x"}})
    aws.settle("dev-workers", 2)
    group = aws.shown("dev-workers")
    assert (group["MinSize"], group["MaxSize"], group["DesiredCapacity"]) == (0, 4, 2)
    assert [zone[-1] for zone in group["AvailabilityZones"]] == ["a", "b"]
    tags = {tag["Key"]: tag["Value"] for tag in group["Tags"]}
    assert tags["kubernetes.io/cluster/dev"] == "owned"
    assert tags["team"] == "x"
    assert {event.tags["kubernetes.io/cluster/dev"] for event in aws.server.world.instances()} == {"owned"}


def test_kops_groups_carry_kops_tags(start: Start) -> None:
    """https://kops.sigs.k8s.io/labels/"""
    aws = start(
        {"name": "nodes", "kind": "kops", "desired": 0},
        {"name": "masters", "kind": "kops", "role": "control-plane", "desired": 0},
    )
    nodes, masters = (
        {tag["Key"]: tag["Value"] for tag in aws.shown(name)["Tags"]} for name in ("dev-nodes", "dev-masters")
    )
    assert nodes["k8s.io/role/node"] == "1"
    assert masters["k8s.io/role/control-plane"] == "1"
    assert nodes["KubernetesCluster"] == "dev"
    assert masters["kops.k8s.io/instancegroup"] == "masters"


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("launch_template", "LaunchTemplate"),
        ("mixed_instances", "MixedInstancesPolicy"),
        ("launch_configuration", "LaunchConfigurationName"),
    ],
)
def test_the_next_image_waits_in_the_template_while_the_machines_are_old(
    start: Start, template: str, shown: str
) -> None:
    aws = start(
        {
            "name": "workers",
            "template": template,
            "next_image": "new",
            "overrides": [{"instance_type": "m5.large"}] if template == "mixed_instances" else [],
        }
    )
    aws.settle("dev-workers", 2)
    assert shown in aws.shown("dev-workers")
    assert images(aws, "dev-workers") == {"old"}
    aws.autoscaling.set_desired_capacity(AutoScalingGroupName="dev-workers", DesiredCapacity=3)
    aws.settle("dev-workers", 3)
    assert images(aws, "dev-workers") == {"old", "new"}


def test_a_parameter_moves_on_once_the_machines_are_launched(start: Start) -> None:
    aws = start(
        {"name": "workers", "resolve_ssm": "/images/current"},
        parameters=[{"name": "/images/current", "image": "new"}],
    )
    aws.settle("dev-workers", 2)
    assert images(aws, "dev-workers") == {"old"}
    parameter = aws.client("ssm").get_parameter(Name="/images/current")["Parameter"]
    assert parameter["Value"] == aws.image("new")


def test_an_empty_group_is_seeded(start: Start) -> None:
    assert start({"name": "spare", "desired": 0}).members("dev-spare") == []


def test_two_aws_of_one_account_are_refused(start: Start, tmp_path: Path) -> None:
    aws = start({"name": "workers", "desired": 0})
    again = Scenario.model_validate(
        {"name": "again", "account": aws.server.world.account, "images": [], "clusters": []}
    )
    with pytest.raises(RuntimeError, match="already runs in this process"):
        serve(again, tmp_path)


def test_a_taken_port_is_refused(start: Start, tmp_path: Path) -> None:
    port = int(start({"name": "workers", "desired": 0}).server.endpoint.rsplit(":", 1)[1])
    other = Scenario.model_validate({"name": "o", "account": "777788889999", "images": [], "clusters": []})
    with pytest.raises(RuntimeError, match=f"Port {port} can't be listened on"):
        serve(other, tmp_path, port)


def test_an_account_is_empty_again_after_a_stop(start: Start) -> None:
    first = start({"name": "workers", "desired": 1})
    first.server.stop()
    second = start({"name": "other", "desired": 0})
    names = [
        group["AutoScalingGroupName"]
        for group in second.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
    ]
    assert names == ["dev-other"]
    assert second.ec2.describe_instances()["Reservations"] == []


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_scenario_that_comes_with_the_ground_is_valid(path: Path) -> None:
    assert load(path).clusters


def boots(aws: Aws, machines: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each of some machines will boot, in the order of their launch; nobody waits for it."""
    clock, asked = aws.server.world.clock, list[float]()
    monkeypatch.setattr(clock, "after", lambda delay_s, callback: asked.append(delay_s))
    image, subnet = aws.image("new"), aws.subnets("a")
    for _ in range(machines):
        aws.ec2.run_instances(ImageId=image, InstanceType="m6i.large", MinCount=1, MaxCount=1, SubnetId=subnet)
    return [delay_s for delay_s in asked if delay_s > LONG_S / 2]


def test_boot_times_vary_within_the_jitter_and_repeat_with_the_seed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instance stays pending while it boots, some longer than others.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html
    """
    timing = {**QUICK, "boot": f"{LONG_S}s", "boot_jitter": 0.2}
    seeds = {"444455556661": 7, "444455556662": 7, "444455556663": 8}
    group = {"name": "workers", "desired": 0}
    worlds = [start(group, timing=timing, seed=seed, account=account) for account, seed in seeds.items()]
    drawn = [boots(aws, 6, monkeypatch) for aws in worlds]
    assert [len(set(delays)) for delays in drawn] == [6, 6, 6]
    assert all(0.8 * LONG_S <= delay_s <= 1.2 * LONG_S for delays in drawn for delay_s in delays)
    assert max(drawn[0]) - min(drawn[0]) > 0.05 * LONG_S
    assert drawn[0] == drawn[1] != drawn[2]


def test_without_jitter_every_boot_takes_as_long(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    timing = {**QUICK, "boot": f"{LONG_S}s"}
    assert boots(start({"name": "workers", "desired": 0}, timing=timing), 3, monkeypatch) == [LONG_S] * 3
