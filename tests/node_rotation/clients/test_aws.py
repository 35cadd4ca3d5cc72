"""The AWS client against the proving ground's AWS: how often it calls, and what it never repeats."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from tests.node_rotation.clients.settling import settled

from node_rotation.clients.aws import AwsCloud
from node_rotation.clients.aws_calls import chunks
from node_rotation.clients.aws_models import share
from node_rotation.errors import BlockedError, TransientError
from node_rotation.world.aws import Hook, TemplateSpec
from proving_ground.aws import request_log
from proving_ground.aws.server import AwsServer, serve
from proving_ground.scenario import Fault, Scenario

WORKERS, MIXED = "dev-workers", "dev-mixed"
SCENARIO = {
    "name": "clients",
    "account": "410987654321",
    "timing": {"boot": "50ms", "shutdown": "50ms", "reconcile": "50ms"},
    "images": [
        {"name": "base-1", "created": "2026-11-01T06:00:00.000Z"},
        {"name": "base-2", "created": "2026-11-08T06:00:00.000Z"},
    ],
    "clusters": [
        {
            "name": "dev",
            "environment": "dev",
            "groups": [
                {"name": "workers", "image": "base-1", "min": 0, "max": 30, "desired": 3},
                {
                    "name": "mixed",
                    "image": "base-1",
                    "template": "mixed_instances",
                    "overrides": [{"instance_type": "m6i.large"}, {"instance_type": "m5.large", "version": "1"}],
                    "min": 0,
                    "max": 2,
                    "desired": 1,
                },
            ],
        }
    ],
}


class Aws:
    """The server, and a client of ours for it."""

    def __init__(self, server: AwsServer, **settings: Any) -> None:
        self.server = server
        self.cloud = AwsCloud(self.session("rotation"), **settings)

    def session(self, key: str) -> boto3.Session:
        return share(
            boto3.Session(aws_access_key_id=key, aws_secret_access_key="unused", region_name=self.server.world.region)
        )

    def fault(self, kind: str, action: str, service: str = "autoscaling", calls: tuple[int, ...] = (1,)) -> None:
        self.server.world.faults.add(Fault(kind=kind, service=service, action=action, calls=calls))

    def calls(self, *actions: str) -> int:
        return len([r for r in request_log.read(self.server.world.requests.path) if r.action in actions])

    def members(self) -> list[str]:
        return [m.instance_id for m in self.cloud.groups([WORKERS])[WORKERS].members if m.lifecycle != "Detaching"]


@pytest.fixture
def aws(tmp_path, monkeypatch) -> Iterator[Aws]:
    server = serve(Scenario.model_validate(SCENARIO), tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    try:
        yield Aws(settled(server))
    finally:
        server.stop()


def test_a_detach_whose_answer_is_lost_is_not_repeated(aws):
    first, *_ = aws.members()
    aws.fault("lost_answer", "DetachInstances")

    with pytest.raises(TransientError, match="look before repeating"):
        aws.cloud.detach(WORKERS, [first])

    assert aws.calls("DetachInstances") == 1
    assert first not in aws.members()


def test_a_termination_with_decrement_whose_answer_is_lost_happens_once(aws):
    first, *_ = aws.members()
    aws.fault("lost_answer", "TerminateInstanceInAutoScalingGroup")

    with pytest.raises(TransientError, match="look before repeating"):
        aws.cloud.terminate_in_group(first, decrement=True)

    assert aws.calls("TerminateInstanceInAutoScalingGroup") == 1
    assert aws.cloud.groups([WORKERS])[WORKERS].desired == 2


def test_a_template_version_whose_answer_is_lost_is_found_again(aws):
    spec = aws.cloud.groups([WORKERS])[WORKERS].template
    source = aws.cloud.template(TemplateSpec(spec.name, spec.id, "1")).ref
    (image,) = aws.cloud.images("self", "base-2", "x86_64")
    aws.fault("lost_answer", "CreateLaunchTemplateVersion", "ec2")

    with pytest.raises(TransientError):
        aws.cloud.new_template_version(source, image.id, "lost")
    made = aws.cloud.new_template_version(source, image.id, "lost")

    assert aws.calls("CreateLaunchTemplateVersion") == 1
    assert (made.name, made.version) == (source.name, "2")


def test_what_was_throttled_once_is_repeated(aws):
    aws.fault("throttle", "DescribeAutoScalingGroups")
    aws.fault("throttle", "SuspendProcesses")

    aws.cloud.suspend(WORKERS, ["AZRebalance"])

    assert set(aws.cloud.groups([WORKERS])[WORKERS].suspended) == {"AZRebalance"}


def test_a_throttled_detach_is_transient_and_changes_nothing(aws):
    before = aws.members()
    aws.fault("throttle", "DetachInstances")

    with pytest.raises(TransientError, match="Rate exceeded"):
        aws.cloud.detach(WORKERS, before[:1])

    assert aws.members() == before


def test_reads_are_batched(aws):
    began = aws.calls("DescribeAutoScalingGroups", "DescribeInstances")

    aws.cloud.groups([WORKERS, MIXED, *(f"other-{n}" for n in range(40))])
    aws.cloud.instances([f"i-{n:017x}" for n in range(250)])

    assert aws.calls("DescribeAutoScalingGroups", "DescribeInstances") - began == 1 + 2


def test_hooks_and_refreshes_are_believed_for_a_while(aws):
    for _ in range(3):
        aws.cloud.groups([WORKERS])

    assert aws.calls("DescribeLifecycleHooks") == 1
    assert aws.calls("DescribeInstanceRefreshes") == 1
    patient = Aws(aws.server, details_s=0.0)
    patient.members()
    patient.members()
    assert aws.calls("DescribeLifecycleHooks") == 3


def test_hooks_say_when_aws_ends_them_by_itself(aws):
    owner = aws.server.client("autoscaling")
    for name, transition, more in (("out", "TERMINATING", {"HeartbeatTimeout": 60}), ("in", "LAUNCHING", {})):
        owner.put_lifecycle_hook(
            AutoScalingGroupName=WORKERS,
            LifecycleHookName=name,
            LifecycleTransition=f"autoscaling:EC2_INSTANCE_{transition}",
            **more,
        )

    group = aws.cloud.groups([WORKERS])[WORKERS]
    assert group.hooks_of("terminating") == (Hook("out", "terminating", 60.0, 6000.0, "ABANDON"),)
    assert group.hooks_of("launching") == (Hook("in", "launching", 3600.0, 172800.0, "ABANDON"),)


def test_more_than_twenty_are_detached_in_pieces(aws):
    aws.cloud.set_sizes(WORKERS, desired=0)
    with pytest.raises(Exception, match="i-0"):
        aws.cloud.detach(WORKERS, [f"i-{n:017x}" for n in range(25)])

    assert aws.calls("DetachInstances") == 1  # the first piece was refused, so the second was not asked for
    assert [len(piece) for piece in chunks([*range(25), 3, 4], 20)] == [20, 5]


def test_a_mixed_groups_override_keeps_its_own_template_version(aws):
    before = aws.cloud.groups([MIXED])[MIXED]
    (image,) = aws.cloud.images("self", "base-2", "x86_64")
    made = aws.cloud.new_template_version(aws.cloud.template(before.template).ref, image.id, "mixed")

    aws.cloud.use_template_version(MIXED, made)

    after = aws.cloud.groups([MIXED])[MIXED]
    assert after.template.version == made.version
    assert after.overrides[0] is None
    assert after.overrides[1] is not None
    assert after.overrides == before.overrides
    assert after.overrides[1].version == "1"


def test_a_mixed_groups_override_keeps_the_image_that_it_names(aws):
    scaling = aws.server.client("autoscaling")
    policy = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[MIXED])["AutoScalingGroups"][0]
    launch = policy["MixedInstancesPolicy"]["LaunchTemplate"]
    (old,) = aws.cloud.images("self", "base-1", "x86_64")
    launch["LaunchTemplateSpecification"].pop("LaunchTemplateName")
    launch["Overrides"] = [{"InstanceType": "m6i.large", "ImageId": old.id}]
    scaling.update_auto_scaling_group(AutoScalingGroupName=MIXED, MixedInstancesPolicy={"LaunchTemplate": launch})
    (image,) = aws.cloud.images("self", "base-2", "x86_64")
    spec = aws.cloud.groups([MIXED])[MIXED].template
    made = aws.cloud.new_template_version(aws.cloud.template(spec).ref, image.id, "named")

    aws.cloud.use_template_version(MIXED, made)

    after = aws.cloud.groups([MIXED])[MIXED]
    assert after.template.version == made.version
    assert after.override_images == {"m6i.large": old.id}


def test_termination_protection_is_seen_in_a_small_look_and_blocks(aws):
    first, *_ = aws.members()
    aws.server.client("ec2").modify_instance_attribute(InstanceId=first, DisableApiTermination={"Value": True})

    assert aws.cloud.instances([first])[first].termination_protected
    with pytest.raises(BlockedError, match=first) as refused:
        aws.cloud.terminate(first)

    assert "termination protection" in refused.value.blocked.remedy


@pytest.mark.parametrize("key", ["expired", "invalid"])
def test_keys_that_aws_does_not_accept_ask_for_new_ones(aws, key):
    cloud = AwsCloud(aws.session(key))

    for call in (
        lambda: cloud.groups([WORKERS]),
        lambda: cloud.images("self", "base-*", "x86_64"),
        lambda: cloud.parameter("/images/base/current"),
    ):
        with pytest.raises(BlockedError) as refused:
            call()
        assert "Renew the credentials" in refused.value.blocked.remedy


def test_every_call_is_bounded(aws):
    for client in (aws.cloud._calls.autoscaling, aws.cloud._calls.autoscaling_once, aws.cloud._calls.ec2):
        assert (client.meta.config.connect_timeout, client.meta.config.read_timeout) == (5, 15)
    assert aws.cloud._calls.autoscaling_once.meta.config.retries["total_max_attempts"] == 1


def test_every_frozen_image_is_read_page_after_page_and_written_over(aws):
    for number in range(12):  # AWS answers ten at a time
        aws.cloud.put_parameter(f"/node-rotation/frozen/{number:02}", "first")
    aws.cloud.put_parameter("/node-rotation/frozen/03", "second")

    found = {one.name: one.value for one in aws.cloud.parameters("/node-rotation/frozen")}

    assert len(found) == 12
    assert found["/node-rotation/frozen/03"] == "second"
    assert aws.cloud.parameters("/node-rotation/nothing") == ()
