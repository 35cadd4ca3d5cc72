from __future__ import annotations

from typing import Any

import boto3

from node_rotation.clients.aws import AwsCloud

from .support import REGION, Aws, refusal, until


def pool(aws: Aws, group: str) -> list[dict[str, Any]]:
    return list(aws.autoscaling.describe_warm_pool(AutoScalingGroupName=group)["Instances"])


def warmed(aws: Aws, group: str, count: int) -> list[str]:
    def look() -> list[str] | None:
        states = {m["InstanceId"]: m["LifecycleState"] for m in pool(aws, group)}
        return list(states) if list(states.values()) == ["Warmed:Stopped"] * count else None

    return until(look)


class TestWarmPool:
    def test_it_holds_what_the_prepared_capacity_leaves_above_the_desired_size(self, aws: Aws) -> None:
        """Warm machines are stopped, and no members.

        https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_PutWarmPool.html
        """
        group = aws.group(1)
        aws.autoscaling.put_warm_pool(AutoScalingGroupName=group, MaxGroupPreparedCapacity=3)
        warm = warmed(aws, group, 2)
        assert [aws.state(machine) for machine in warm] == ["stopped"] * 2
        assert len(aws.ids(group)) == 1
        assert aws.shown(group)["WarmPoolConfiguration"]["MaxGroupPreparedCapacity"] == 3

    def test_the_group_grows_out_of_it_on_the_image_that_was_warmed(self, aws: Aws) -> None:
        """A new template version changes nothing for machines that are warm already.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-warm-pools.html
        """
        template = aws.template("base-1")
        group = aws.group(1, LaunchTemplate={"LaunchTemplateName": template, "Version": "$Latest"})
        aws.autoscaling.put_warm_pool(AutoScalingGroupName=group, MaxGroupPreparedCapacity=2)
        (warm,) = warmed(aws, group, 1)
        data = {"ImageId": aws.image("base-2")}
        aws.ec2.create_launch_template_version(LaunchTemplateName=template, SourceVersion="1", LaunchTemplateData=data)
        aws.autoscaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=2)
        members = {m["InstanceId"]: m["LaunchTemplate"]["Version"] for m in aws.settle(group, 2)}
        assert members[warm] == "1"
        assert aws.state(warm) == "running"
        assert any(warm in a["Description"] and "from warm pool" in a["Description"] for a in aws.activities(group))

    def test_one_that_is_terminated_is_made_up_for_with_what_the_template_says_now(self, aws: Aws) -> None:
        """https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-warm-pools.html"""
        group = aws.group(0)
        aws.autoscaling.put_warm_pool(AutoScalingGroupName=group, MinSize=1, MaxGroupPreparedCapacity=0)
        (old,) = warmed(aws, group, 1)
        aws.ec2.terminate_instances(InstanceIds=[old])
        (new,) = until(lambda: (found := warmed(aws, group, 1)) != [old] and found)
        assert new != old

    def test_the_client_reads_it(self, aws: Aws, monkeypatch: Any) -> None:
        """https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DescribeWarmPool.html"""
        group = aws.group(0)
        monkeypatch.setenv("AWS_ENDPOINT_URL", aws.server.endpoint)
        session = boto3.Session(aws_access_key_id="AKIATEST", aws_secret_access_key="any", region_name=REGION)
        cloud = AwsCloud(session, details_s=0)
        assert not cloud.groups([group])[group].warm_pool
        assert cloud.warm_members(group) == ()
        aws.autoscaling.put_warm_pool(AutoScalingGroupName=group, MinSize=1, MaxGroupPreparedCapacity=0)
        (warm,) = warmed(aws, group, 1)
        assert cloud.groups([group])[group].warm_pool
        assert [(m.instance_id, m.lifecycle) for m in cloud.warm_members(group)] == [(warm, "Warmed:Stopped")]

    def test_it_is_deleted_with_its_machines_by_force_only(self, aws: Aws) -> None:
        """https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DeleteWarmPool.html"""
        group = aws.group(0)
        aws.autoscaling.put_warm_pool(AutoScalingGroupName=group, MinSize=1, MaxGroupPreparedCapacity=0)
        (warm,) = warmed(aws, group, 1)
        assert refusal(aws.autoscaling.delete_warm_pool, AutoScalingGroupName=group)[0] == "ResourceInUse"
        aws.autoscaling.delete_warm_pool(AutoScalingGroupName=group, ForceDelete=True)
        until(lambda: not pool(aws, group))
        assert aws.state(warm) == "terminated"
