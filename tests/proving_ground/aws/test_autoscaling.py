from __future__ import annotations

from collections import Counter

import pytest

from .support import REGION, Aws, refusal, until


def zones(aws: Aws, group: str) -> str:
    return "".join(sorted(member["AvailabilityZone"][-1] for member in aws.members(group)))


class TestLaunching:
    def test_each_instance_keeps_the_version_it_was_launched_from(self, aws: Aws) -> None:
        """``$Latest`` is resolved when an instance is launched, not when it is described.

        https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_LaunchTemplateSpecification.html
        """
        template = aws.template("base-1")
        group = aws.group(2, LaunchTemplate={"LaunchTemplateName": template, "Version": "$Latest"})
        aws.ec2.create_launch_template_version(
            LaunchTemplateName=template, SourceVersion="1", LaunchTemplateData={"ImageId": aws.image("base-2")}
        )
        aws.autoscaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=3)
        members = aws.settle(group, 3)

        assert sorted(member["LaunchTemplate"]["Version"] for member in members) == ["1", "1", "2"]
        assert aws.shown(group)["LaunchTemplate"]["Version"] == "$Latest"
        newest = next(m["InstanceId"] for m in members if m["LaunchTemplate"]["Version"] == "2")
        instance = aws.ec2.describe_instances(InstanceIds=[newest])["Reservations"][0]["Instances"][0]
        assert instance["ImageId"] == aws.image("base-2")
        assert instance["InstanceType"] == "m6i.large"

    def test_default_means_the_templates_default_version(self, aws: Aws) -> None:
        """``$Default`` follows ModifyLaunchTemplate, not the newest version.

        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/manage-launch-template-versions.html
        """
        template = aws.template("base-1")
        aws.ec2.create_launch_template_version(
            LaunchTemplateName=template, SourceVersion="1", LaunchTemplateData={"ImageId": aws.image("base-2")}
        )
        group = aws.group(1, LaunchTemplate={"LaunchTemplateName": template, "Version": "$Default"})
        aws.ec2.modify_launch_template(LaunchTemplateName=template, DefaultVersion="2")
        aws.autoscaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=2)
        versions = [member["LaunchTemplate"]["Version"] for member in aws.settle(group, 2)]
        assert sorted(versions) == ["1", "2"]

    @pytest.mark.usefixtures("slow_boot")
    def test_an_instance_boots_before_it_is_in_service(self, aws: Aws) -> None:
        """A member is Pending until its instance runs.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-lifecycle.html
        """
        group = aws.group(1, settled=False)
        first = until(lambda: aws.members(group))[0]
        assert first["LifecycleState"] == "Pending"
        assert aws.state(first["InstanceId"]) == "pending"
        assert aws.activities(group)[0]["StatusCode"] == "InProgress"
        aws.settle(group, 1)
        assert aws.state(first["InstanceId"]) == "running"
        activity = aws.activities(group)[0]
        assert activity["Description"] == f"Launching a new EC2 instance: {first['InstanceId']}"
        assert (activity["StatusCode"], activity["Progress"]) == ("Successful", 100)
        assert "in response to a difference between desired and actual capacity" in activity["Cause"]

    def test_instances_are_spread_over_the_zones(self, aws: Aws) -> None:
        """A launch goes to the zone with the fewest members.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/auto-scaling-benefits.html
        """
        group = aws.group(5)
        assert sorted(Counter(zones(aws, group)).values()) == [1, 2, 2]

    def test_tags_reach_the_instances_only_if_they_propagate(self, aws: Aws) -> None:
        """``PropagateAtLaunch`` decides; ``aws:autoscaling:groupName`` is always there.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-tagging.html
        """
        group = aws.group(
            1,
            Tags=[
                {"Key": "team", "Value": "x", "PropagateAtLaunch": True},
                {"Key": "billing", "Value": "y", "PropagateAtLaunch": False},
            ],
        )
        instance = aws.ec2.describe_instances(InstanceIds=aws.ids(group))["Reservations"][0]["Instances"][0]
        tags = {tag["Key"]: tag["Value"] for tag in instance["Tags"]}
        assert tags["team"] == "x"
        assert "billing" not in tags
        assert tags["aws:autoscaling:groupName"] == group
        assert instance["PrivateDnsName"].endswith(f".{REGION}.compute.internal")

    def test_a_mixed_instances_policy_uses_its_own_types_and_versions(self, aws: Aws) -> None:
        """An override's type and template win over the policy's.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-mixed-instances-groups.html
        """
        template, special = aws.template("base-1"), aws.template("base-2")
        policy = {
            "LaunchTemplate": {
                "LaunchTemplateSpecification": {"LaunchTemplateName": template, "Version": "$Latest"},
                "Overrides": [
                    {
                        "InstanceType": "c6i.large",
                        "LaunchTemplateSpecification": {"LaunchTemplateName": special, "Version": "1"},
                    },
                    {"InstanceType": "m6i.xlarge"},
                ],
            }
        }
        group = aws.group(1, MixedInstancesPolicy=policy)
        member = aws.members(group)[0]
        assert member["InstanceType"] == "c6i.large"
        assert member["LaunchTemplate"]["LaunchTemplateName"] == special
        shown = aws.shown(group)
        assert "LaunchTemplate" not in shown
        assert len(shown["MixedInstancesPolicy"]["LaunchTemplate"]["Overrides"]) == 2

        aws.fault(kind="capacity", instance_type="c6i.large")
        aws.autoscaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=2)
        assert "m6i.xlarge" in [m["InstanceType"] for m in aws.settle(group, 2)]

    def test_weights_count_instead_of_instances(self, aws: Aws) -> None:
        """Desired capacity is in units of the overrides' weights.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-mixed-instances-groups-instance-weighting.html
        """
        spec = {"LaunchTemplateName": aws.template(), "Version": "$Latest"}
        overrides = [{"InstanceType": "m6i.xlarge", "WeightedCapacity": "2"}]
        policy = {"LaunchTemplate": {"LaunchTemplateSpecification": spec, "Overrides": overrides}}
        group = aws.group(4, settled=False, MixedInstancesPolicy=policy)
        assert [m["WeightedCapacity"] for m in aws.settle(group, 2)] == ["2", "2"]

    def test_a_launch_configuration_still_works(self, aws: Aws) -> None:
        """Members show the configuration's name instead of a template.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/launch-configurations.html
        """
        aws.autoscaling.create_launch_configuration(
            LaunchConfigurationName="lc-1", ImageId=aws.image("base-1"), InstanceType="m5.large"
        )
        group = aws.group(1, LaunchConfigurationName="lc-1")
        member = aws.members(group)[0]
        assert (member["LaunchConfigurationName"], member["InstanceType"]) == ("lc-1", "m5.large")
        assert "LaunchTemplate" not in member
        found = aws.autoscaling.describe_launch_configurations(LaunchConfigurationNames=["lc-1"])
        assert found["LaunchConfigurations"][0]["ImageId"] == aws.image("base-1")

    def test_a_template_may_name_its_image_by_a_parameter(self, aws: Aws) -> None:
        """``resolve:ssm:`` is resolved at each launch; ResolveAlias shows the image.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/using-systems-manager-parameters.html
        """
        ssm = aws.client("ssm")
        ssm.put_parameter(Name="/mine/image", Value=aws.image("base-1"), Type="String")
        name = "resolving"
        data = {"ImageId": "resolve:ssm:/mine/image", "InstanceType": "m6i.large"}
        aws.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
        group = aws.group(1, LaunchTemplate={"LaunchTemplateName": name, "Version": "$Latest"})
        ssm.put_parameter(Name="/mine/image", Value=aws.image("base-2"), Type="String", Overwrite=True)

        shown = aws.ec2.describe_launch_template_versions(LaunchTemplateName=name, Versions=["$Latest"])
        assert shown["LaunchTemplateVersions"][0]["LaunchTemplateData"]["ImageId"].startswith("resolve:ssm:")
        resolved = aws.ec2.describe_launch_template_versions(
            LaunchTemplateName=name, Versions=["$Latest"], ResolveAlias=True
        )
        data = resolved["LaunchTemplateVersions"][0]["LaunchTemplateData"]
        assert data["ImageId"] == aws.image("base-2")
        launched = aws.ec2.describe_instances(InstanceIds=aws.ids(group))["Reservations"][0]["Instances"]
        assert launched[0]["ImageId"] == aws.image("base-1")

    def test_an_image_that_is_gone_fails_the_activity(self, aws: Aws) -> None:
        """The launch fails by name and is tried again.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/ts-as-ami.html
        """
        image = aws.ec2.register_image(Name="short-lived", Architecture="x86_64")["ImageId"]
        data = {"ImageId": image, "InstanceType": "m6i.large"}
        aws.ec2.create_launch_template(LaunchTemplateName="short-lived", LaunchTemplateData=data)
        aws.ec2.deregister_image(ImageId=image)
        group = aws.group(1, settled=False, LaunchTemplate={"LaunchTemplateName": "short-lived"})
        failed = until(lambda: aws.activities(group))[0]
        assert failed["StatusCode"] == "Failed"
        assert failed["StatusMessage"] == f"The image id '[{image}]' does not exist. Launching EC2 instance failed."


class TestCapacity:
    def test_a_dry_zone_is_fallen_over_from(self, aws: Aws) -> None:
        """Without capacity in the poorest zone another one of the group is used.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/auto-scaling-benefits.html
        """
        aws.fault(kind="capacity", zone="a")
        assert zones(aws, aws.group(2)) == "bc"

    def test_without_any_capacity_the_activity_says_so_and_it_is_tried_again(self, aws: Aws) -> None:
        """InsufficientInstanceCapacity, in AWS' words, in the activity's status message.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/ts-as-capacity.html
        """
        aws.fault(kind="capacity", launches=6, instance_type="m6i.metal")
        spec = {"LaunchTemplateName": aws.template(instance_type="m6i.metal")}
        group = aws.group(1, settled=False, LaunchTemplate=spec)
        failed = until(lambda: [a for a in aws.activities(group) if a["StatusCode"] == "Failed"])[0]
        assert failed["Description"].startswith("Launching a new EC2 instance.  Status Reason: We currently do")
        assert "sufficient m6i.metal capacity in the Availability Zone you requested" in failed["StatusMessage"]
        aws.settle(group, 1)

    def test_run_instances_is_refused(self, aws: Aws) -> None:
        """InsufficientInstanceCapacity as an error of RunInstances.

        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/troubleshooting-launch.html
        """
        aws.fault(kind="capacity", instance_type="m6i.metal")
        code, _, status = refusal(
            aws.ec2.run_instances,
            ImageId=aws.image("base-1"),
            InstanceType="m6i.metal",
            SubnetId=aws.subnets("a"),
            MinCount=1,
            MaxCount=1,
        )
        assert (code, status) == ("InsufficientInstanceCapacity", 500)


class TestSizes:
    def test_desired_outside_the_bounds_is_refused(self, aws: Aws) -> None:
        """SetDesiredCapacity names the bound it breaks.

        https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_SetDesiredCapacity.html
        """
        group = aws.group(1, MinSize=1, MaxSize=2)
        call = aws.autoscaling.set_desired_capacity
        assert refusal(call, AutoScalingGroupName=group, DesiredCapacity=3) == (
            "ValidationError",
            "New SetDesiredCapacity value 3 is above max value 2 for the AutoScalingGroup.",
            400,
        )
        assert "below min value 1" in refusal(call, AutoScalingGroupName=group, DesiredCapacity=0)[1]

    def test_update_refuses_a_desired_size_outside_and_moves_an_unnamed_one_inside(self, aws: Aws) -> None:
        """UpdateAutoScalingGroup adjusts the desired capacity to new bounds unless it is given.

        https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_UpdateAutoScalingGroup.html
        """
        group, update = aws.group(1), aws.autoscaling.update_auto_scaling_group
        assert refusal(update, AutoScalingGroupName=group, MaxSize=3, DesiredCapacity=4)[1] == (
            "Desired capacity:4 must be between the specified min size:0 and max size:3"
        )
        update(AutoScalingGroupName=group, MinSize=2)
        assert aws.shown(group)["DesiredCapacity"] == 2
        aws.settle(group, 2)

    def test_an_unknown_group_is_named(self, aws: Aws) -> None:
        """ValidationError, not a 404.

        https://docs.aws.amazon.com/autoscaling/ec2/APIReference/CommonErrors.html
        """
        code, message, _ = refusal(aws.autoscaling.set_desired_capacity, AutoScalingGroupName="nope", DesiredCapacity=1)
        assert (code, "name not found" in message) == ("ValidationError", True)
        assert aws.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=["nope"])["AutoScalingGroups"] == []

    def test_scale_in_keeps_the_zones_even_and_takes_the_oldest_template(self, aws: Aws) -> None:
        """The default policy: the fullest zone, then the oldest template version.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-termination-policies.html
        """
        template = aws.template()
        group = aws.group(2, zones="a", LaunchTemplate={"LaunchTemplateName": template, "Version": "$Latest"})
        aws.ec2.create_launch_template_version(LaunchTemplateName=template, SourceVersion="1", LaunchTemplateData={})
        aws.autoscaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=3)
        aws.settle(group, 3)
        aws.autoscaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=1)
        assert aws.settle(group, 1)[0]["LaunchTemplate"]["Version"] == "2"

    def test_protected_instances_are_not_scaled_in(self, aws: Aws) -> None:
        """With nothing else left the group stays too large and says why.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-instance-protection.html
        """
        group = aws.group(2, NewInstancesProtectedFromScaleIn=True)
        free, kept = aws.ids(group)
        aws.autoscaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=0)
        failed = until(lambda: [a for a in aws.activities(group) if a["StatusCode"] == "Failed"])[0]
        assert "all remaining instances are protected from scale-in" in failed["StatusMessage"]
        aws.autoscaling.set_instance_protection(
            AutoScalingGroupName=group, InstanceIds=[free], ProtectedFromScaleIn=False
        )
        assert [member["InstanceId"] for member in aws.settle(group, 1)] == [kept]


class TestMembers:
    def test_detach_without_decrement_is_replaced_and_the_instance_runs_on(self, aws: Aws) -> None:
        """The detached instance runs on without its group tag; the replacement comes later.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-detach-attach-instances.html
        """
        group = aws.group(2)
        old = aws.ids(group)[0]
        answer = aws.autoscaling.detach_instances(
            AutoScalingGroupName=group, InstanceIds=[old], ShouldDecrementDesiredCapacity=False
        )
        assert answer["Activities"][0]["Description"] == f"Detaching EC2 instance: {old}"
        # For a while it is still listed, as Detaching.
        listed = {member["InstanceId"]: member["LifecycleState"] for member in aws.members(group)}
        assert listed.get(old, "Detaching") == "Detaching"
        assert old not in [member["InstanceId"] for member in aws.settle(group, 2)]
        instance = aws.ec2.describe_instances(InstanceIds=[old])["Reservations"][0]["Instances"][0]
        assert instance["State"]["Name"] == "running"
        assert "aws:autoscaling:groupName" not in {tag["Key"] for tag in instance["Tags"]}

    def test_detach_with_decrement_is_not_replaced(self, aws: Aws) -> None:
        """ShouldDecrementDesiredCapacity lowers the desired size, which must not fall under the minimum.

        https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DetachInstances.html
        """
        group = aws.group(2, MinSize=1)
        one, two = aws.ids(group)
        detach = aws.autoscaling.detach_instances
        detach(AutoScalingGroupName=group, InstanceIds=[one], ShouldDecrementDesiredCapacity=True)
        assert aws.shown(group)["DesiredCapacity"] == 1
        code, message, _ = refusal(
            detach, AutoScalingGroupName=group, InstanceIds=[two], ShouldDecrementDesiredCapacity=True
        )
        assert code == "ValidationError"
        assert "has min-size=1, max-size=10, and desired-size=1. To detach 1 instance" in message
        until(lambda: one not in aws.ids(group))
        assert refusal(detach, AutoScalingGroupName=group, InstanceIds=[one], ShouldDecrementDesiredCapacity=False)[
            1
        ] == (f"The instance {one} is not part of Auto Scaling group {group}.")

    @pytest.mark.usefixtures("slow_boot")
    def test_attach_raises_desired_and_respects_the_maximum(self, aws: Aws) -> None:
        """AttachInstances adds to the desired capacity.

        https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_AttachInstances.html
        """
        group = aws.group(1, MaxSize=2)
        run = {"ImageId": aws.image("base-1"), "SubnetId": aws.subnets("b"), "MinCount": 1, "MaxCount": 2}
        made = [i["InstanceId"] for i in aws.ec2.run_instances(InstanceType="m6i.large", **run)["Instances"]]
        assert len(made) == 2
        attach = aws.autoscaling.attach_instances
        assert "is not in correct state" in refusal(attach, AutoScalingGroupName=group, InstanceIds=made[:1])[1]
        until(lambda: all(aws.state(instance) == "running" for instance in made))
        attach(AutoScalingGroupName=group, InstanceIds=made[:1])
        assert aws.shown(group)["DesiredCapacity"] == 2
        assert made[0] in [member["InstanceId"] for member in aws.settle(group, 2)]
        message = refusal(attach, AutoScalingGroupName=group, InstanceIds=made[1:])[1]
        assert message.endswith("To attach 1 instance, please update the AutoScalingGroup sizes appropriately.")

    def test_terminate_in_group_replaces_unless_it_decrements(self, aws: Aws) -> None:
        """The member is Terminating until EC2 is done; a replacement comes if desired stays.

        https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_TerminateInstanceInAutoScalingGroup.html
        """
        group = aws.group(2, MinSize=1)
        one, two = aws.ids(group)
        terminate = aws.autoscaling.terminate_instance_in_auto_scaling_group
        activity = terminate(InstanceId=one, ShouldDecrementDesiredCapacity=False)["Activity"]
        assert activity["Description"] == f"Terminating EC2 instance: {one}"
        states = {member["InstanceId"]: member["LifecycleState"] for member in aws.members(group)}
        assert states.get(one, "Terminating") == "Terminating"
        aws.settle(group, 2)
        terminate(InstanceId=two, ShouldDecrementDesiredCapacity=True)
        left = aws.settle(group, 1)
        message = refusal(terminate, InstanceId=left[0]["InstanceId"], ShouldDecrementDesiredCapacity=True)[1]
        assert message.startswith("Currently, desiredSize equals minSize (1).")
        assert (
            "No managed instance found" in refusal(terminate, InstanceId=one, ShouldDecrementDesiredCapacity=False)[1]
        )

    def test_a_dead_or_stopped_instance_is_replaced(self, aws: Aws) -> None:
        """The EC2 health check: any state but running is unhealthy.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-health-checks.html
        """
        group = aws.group(2)
        dead, stopped = aws.ids(group)
        aws.ec2.terminate_instances(InstanceIds=[dead])
        aws.ec2.stop_instances(InstanceIds=[stopped])
        until(lambda: not {dead, stopped} & set(aws.ids(group)))
        aws.settle(group, 2)
        until(lambda: aws.state(stopped) == "terminated")
        assert any("in response to an EC2 health check" in a["Cause"] for a in aws.activities(group))

    def test_health_set_by_hand_is_acted_upon(self, aws: Aws) -> None:
        """SetInstanceHealth makes Auto Scaling replace it.

        https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_SetInstanceHealth.html
        """
        group = aws.group(1)
        sick = aws.ids(group)[0]
        aws.autoscaling.set_instance_health(InstanceId=sick, HealthStatus="Unhealthy")
        until(lambda: sick not in aws.ids(group))
        aws.settle(group, 1)


class TestProcesses:
    def test_launch_suspended_means_no_replacement(self, aws: Aws) -> None:
        """Each process can be suspended and resumed on its own.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-suspend-resume-processes.html
        """
        group = aws.group(2)
        aws.autoscaling.suspend_processes(AutoScalingGroupName=group, ScalingProcesses=["Launch"])
        shown = aws.shown(group)["SuspendedProcesses"]
        assert shown[0]["ProcessName"] == "Launch"
        assert shown[0]["SuspensionReason"].startswith("User suspended at ")
        aws.autoscaling.terminate_instance_in_auto_scaling_group(
            InstanceId=aws.ids(group)[0], ShouldDecrementDesiredCapacity=False
        )
        aws.settle(group, 1)
        aws.autoscaling.resume_processes(AutoScalingGroupName=group, ScalingProcesses=["Launch"])
        aws.settle(group, 2)

    def test_replace_unhealthy_suspended_leaves_the_sick_alone(self, aws: Aws) -> None:
        """It is marked Unhealthy, and stays.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-suspend-resume-processes.html
        """
        group = aws.group(1)
        sick = aws.ids(group)[0]
        aws.autoscaling.suspend_processes(AutoScalingGroupName=group, ScalingProcesses=["ReplaceUnhealthy"])
        aws.ec2.terminate_instances(InstanceIds=[sick])
        until(lambda: aws.members(group)[0]["HealthStatus"] == "Unhealthy")
        assert aws.ids(group) == [sick]
        aws.autoscaling.resume_processes(AutoScalingGroupName=group)
        until(lambda: sick not in aws.ids(group))

    def test_az_rebalance_launches_before_it_terminates(self, aws: Aws) -> None:
        """An uneven group is evened out by itself, unless AZRebalance is suspended.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-availability-zone-balanced.html
        """
        group = aws.group(0, settled=False)
        aws.autoscaling.suspend_processes(AutoScalingGroupName=group, ScalingProcesses=["AZRebalance"])
        aws.fault(kind="capacity", zone="b")
        aws.fault(kind="capacity", zone="c")
        aws.autoscaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=3)
        aws.settle(group, 3)
        assert zones(aws, group) == "aaa"
        aws.server.world.faults.clear()
        aws.autoscaling.resume_processes(AutoScalingGroupName=group)
        fewest = 3

        def even() -> bool:
            nonlocal fewest
            serving = [m for m in aws.members(group) if m["LifecycleState"] == "InService"]
            fewest = min(fewest, len(serving))
            return "".join(sorted(m["AvailabilityZone"][-1] for m in serving)) == "abc"

        until(even)
        assert fewest == 3
        assert any("were launched to balance instances in zones" in a["Cause"] for a in aws.activities(group))

    def test_an_unknown_process_is_refused(self, aws: Aws) -> None:
        """ValidationError.

        https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_SuspendProcesses.html
        """
        suspend = aws.autoscaling.suspend_processes
        asked = {"AutoScalingGroupName": aws.group(0), "ScalingProcesses": ["Sleep"]}
        assert refusal(suspend, **asked)[0] == "ValidationError"


class TestRecords:
    def test_groups_are_found_by_tag_and_paged(self, aws: Aws) -> None:
        """Filters ``tag:<key>`` and ``tag-key``; NextToken.

        https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DescribeAutoScalingGroups.html
        """
        tag = {"Key": "find", "Value": "me", "PropagateAtLaunch": False}
        made = {aws.group(0, Tags=[tag]) for _ in range(3)}
        pages = aws.autoscaling.get_paginator("describe_auto_scaling_groups").paginate(
            Filters=[{"Name": "tag:find", "Values": ["me"]}], PaginationConfig={"PageSize": 2}
        )
        found = [[group["AutoScalingGroupName"] for group in page["AutoScalingGroups"]] for page in pages]
        assert [len(page) for page in found] == [2, 1]
        assert set(found[0] + found[1]) == made

    def test_tags_of_a_group_can_be_changed(self, aws: Aws) -> None:
        """CreateOrUpdateTags, DescribeTags, DeleteTags.

        https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CreateOrUpdateTags.html
        """
        group = aws.group(0)
        tag = {"ResourceId": group, "ResourceType": "auto-scaling-group", "Key": "k", "Value": "v"}
        aws.autoscaling.create_or_update_tags(Tags=[{**tag, "PropagateAtLaunch": False}])
        assert [t["Value"] for t in aws.shown(group)["Tags"] if t["Key"] == "k"] == ["v"]
        wanted = [{"Name": "auto-scaling-group", "Values": [group]}]
        assert len(aws.autoscaling.describe_tags(Filters=wanted)["Tags"]) == 1
        aws.autoscaling.delete_tags(Tags=[tag])
        assert aws.shown(group)["Tags"] == []

    def test_another_actors_refresh_and_hooks_can_be_seen(self, aws: Aws) -> None:
        """A refresh that has begun blocks a second one.

        https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_StartInstanceRefresh.html
        """
        group, asg = aws.group(1), aws.autoscaling
        started = asg.start_instance_refresh(AutoScalingGroupName=group)["InstanceRefreshId"]
        shown = asg.describe_instance_refreshes(AutoScalingGroupName=group)["InstanceRefreshes"][0]
        assert shown["InstanceRefreshId"] == started
        assert shown["Status"] in ("Pending", "InProgress")
        again = refusal(asg.start_instance_refresh, AutoScalingGroupName=group)
        assert again[0] == "InstanceRefreshInProgress"
        asg.cancel_instance_refresh(AutoScalingGroupName=group)

        transition = "autoscaling:EC2_INSTANCE_TERMINATING"
        asg.put_lifecycle_hook(AutoScalingGroupName=group, LifecycleHookName="bye", LifecycleTransition=transition)
        hook = asg.describe_lifecycle_hooks(AutoScalingGroupName=group)["LifecycleHooks"][0]
        assert (hook["LifecycleHookName"], hook["HeartbeatTimeout"]) == ("bye", 3600)

    def test_a_group_with_members_is_deleted_only_by_force(self, aws: Aws) -> None:
        """ResourceInUse without ForceDelete; with it the instances go first.

        https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DeleteAutoScalingGroup.html
        """
        group, delete = aws.group(1), aws.autoscaling.delete_auto_scaling_group
        instance = aws.ids(group)[0]
        assert refusal(delete, AutoScalingGroupName=group)[0] == "ResourceInUse"
        delete(AutoScalingGroupName=group, ForceDelete=True)
        describe = aws.autoscaling.describe_auto_scaling_groups
        until(lambda: not describe(AutoScalingGroupNames=[group])["AutoScalingGroups"])
        assert aws.state(instance) == "terminated"
