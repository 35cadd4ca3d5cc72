from __future__ import annotations

from typing import Any

import pytest

from .support import Aws, refusal, until


def run(aws: Aws, **asked: Any) -> str:
    asked = {"ImageId": aws.image("base-1"), "InstanceType": "m6i.large", "MinCount": 1, "MaxCount": 1, **asked}
    return str(aws.ec2.run_instances(SubnetId=aws.subnets("a"), **asked)["Instances"][0]["InstanceId"])


def waiter(aws: Aws, name: str) -> Any:
    found = aws.ec2.get_waiter(name)
    found.config.delay, found.config.max_attempts = 0.1, 50
    return found


class TestInstances:
    @pytest.mark.usefixtures("slow_boot")
    def test_an_instance_is_pending_at_first(self, aws: Aws) -> None:
        """RunInstances answers before the instance has booted.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RunInstances.html
        """
        instance = run(aws)
        assert aws.state(instance) == "pending"
        statuses = aws.ec2.describe_instance_status(InstanceIds=[instance])["InstanceStatuses"]
        assert statuses == []

    def test_an_instance_lives_through_its_states(self, aws: Aws) -> None:
        """pending, running, stopping, stopped, pending, running, shutting-down, terminated; boto3's waiters.

        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html
        """
        instance = run(aws)
        waiter(aws, "instance_running").wait(InstanceIds=[instance])
        waiter(aws, "instance_status_ok").wait(InstanceIds=[instance])
        stopping = aws.ec2.stop_instances(InstanceIds=[instance])["StoppingInstances"][0]
        assert (stopping["PreviousState"]["Name"], stopping["CurrentState"]["Name"]) == ("running", "stopping")
        waiter(aws, "instance_stopped").wait(InstanceIds=[instance])
        aws.ec2.start_instances(InstanceIds=[instance])
        waiter(aws, "instance_running").wait(InstanceIds=[instance])
        going = aws.ec2.terminate_instances(InstanceIds=[instance])["TerminatingInstances"][0]
        assert (going["PreviousState"]["Name"], going["CurrentState"]["Name"]) == ("running", "shutting-down")
        waiter(aws, "instance_terminated").wait(InstanceIds=[instance])

    def test_terminating_twice_is_no_error(self, aws: Aws) -> None:
        """TerminateInstances is idempotent.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_TerminateInstances.html
        """
        instance = run(aws)
        aws.ec2.terminate_instances(InstanceIds=[instance])
        aws.ec2.terminate_instances(InstanceIds=[instance])
        until(lambda: aws.state(instance) == "terminated")
        again = aws.ec2.terminate_instances(InstanceIds=[instance])["TerminatingInstances"][0]
        assert again["CurrentState"]["Name"] == "terminated"
        assert refusal(aws.ec2.start_instances, InstanceIds=[instance])[0] == "IncorrectInstanceState"

    def test_termination_protection_holds_against_the_api_only(self, aws: Aws) -> None:
        """OperationNotPermitted, until the attribute is changed.

        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_ChangingDisableAPITermination.html
        """
        instance, other = run(aws), run(aws)
        aws.ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": True})
        shown = aws.ec2.describe_instance_attribute(InstanceId=instance, Attribute="disableApiTermination")
        assert shown["DisableApiTermination"]["Value"] is True
        code, message, _ = refusal(aws.ec2.terminate_instances, InstanceIds=[other, instance])
        assert code == "OperationNotPermitted"
        assert f"The instance '{instance}' may not be terminated." in message
        assert aws.state(other) != "shutting-down"
        aws.ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": False})
        aws.ec2.terminate_instances(InstanceIds=[instance])

    def test_auto_scaling_terminates_a_protected_instance_all_the_same(self, aws: Aws) -> None:
        """Termination protection does not bind Auto Scaling.

        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_ChangingDisableAPITermination.html
        """
        group = aws.group(1)
        member = aws.ids(group)[0]
        aws.ec2.modify_instance_attribute(InstanceId=member, DisableApiTermination={"Value": True})
        aws.autoscaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=0)
        until(lambda: aws.state(member) == "terminated")

    def test_an_unknown_instance_is_named(self, aws: Aws) -> None:
        """InvalidInstanceID.NotFound.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
        """
        unknown = "i-0123456789abcdef0"
        for call in (aws.ec2.terminate_instances, aws.ec2.describe_instances):
            assert refusal(call, InstanceIds=[unknown])[0] == "InvalidInstanceID.NotFound"

    def test_a_dry_run_changes_nothing(self, aws: Aws) -> None:
        """DryRunOperation says that it would have worked.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html
        """
        instance = run(aws)
        assert refusal(aws.ec2.terminate_instances, InstanceIds=[instance], DryRun=True)[0] == "DryRunOperation"
        assert aws.state(instance) in ("pending", "running")

    def test_instances_are_filtered_and_paged(self, aws: Aws) -> None:
        """Filters by tag and state; MaxResults with NextToken.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
        """
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "find", "Value": "us"}]}]
        made = {run(aws, TagSpecifications=tags) for _ in range(3)}
        waiter(aws, "instance_running").wait(InstanceIds=list(made))
        gone = made.pop()
        aws.ec2.terminate_instances(InstanceIds=[gone])
        pages = aws.ec2.get_paginator("describe_instances").paginate(
            Filters=[
                {"Name": "tag:find", "Values": ["us"]},
                {"Name": "instance-state-name", "Values": ["running"]},
            ],
            PaginationConfig={"PageSize": 1},
        )
        found = [[i["InstanceId"] for r in page["Reservations"] for i in r["Instances"]] for page in pages]
        assert [len(page) for page in found] == [1, 1]
        assert {instance for page in found for instance in page} == made

    def test_tags_can_be_added_and_removed(self, aws: Aws) -> None:
        """CreateTags and DeleteTags on a running instance.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateTags.html
        """
        instance = run(aws)
        aws.ec2.create_tags(Resources=[instance], Tags=[{"Key": "run", "Value": "7"}])
        wanted = [{"Name": "tag:run", "Values": ["7"]}]
        assert len(aws.ec2.describe_instances(Filters=wanted)["Reservations"]) == 1
        aws.ec2.delete_tags(Resources=[instance], Tags=[{"Key": "run"}])
        assert aws.ec2.describe_instances(Filters=wanted)["Reservations"] == []

    def test_another_region_is_not_there(self, aws: Aws) -> None:
        """A region that an account has not enabled refuses every call.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html (OptInRequired)
        """
        elsewhere = aws.client("ec2", region="us-east-1")
        assert refusal(elsewhere.describe_instances)[0] == "OptInRequired"


class TestImages:
    def test_registering_keeps_tags_and_architecture(self, aws: Aws) -> None:
        """RegisterImage with TagSpecifications and Architecture.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RegisterImage.html
        """
        made = aws.ec2.register_image(
            Name="mine",
            Architecture="arm64",
            Description="by hand",
            TagSpecifications=[{"ResourceType": "image", "Tags": [{"Key": "k", "Value": "v"}]}],
        )["ImageId"]
        image = aws.ec2.describe_images(ImageIds=[made])["Images"][0]
        assert (image["Architecture"], image["Description"]) == ("arm64", "by hand")
        assert image["Tags"] == [{"Key": "k", "Value": "v"}]
        assert image["OwnerId"] == aws.server.world.account

    def test_images_are_found_by_date_owner_name_and_tag(self, aws: Aws) -> None:
        """The filter ``creation-date`` takes ISO 8601 with ``*``.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeImages.html
        """

        def names(**asked: Any) -> set[str]:
            return {image["Name"] for image in aws.ec2.describe_images(**asked)["Images"]}

        dated = [{"Name": "creation-date", "Values": ["2026-11-*"]}, {"Name": "name", "Values": ["base-*"]}]
        assert names(Filters=dated, Owners=["self"]) == {"base-2", "base-arm"}
        assert names(Filters=[{"Name": "tag:team", "Values": ["platform"]}]) == {"base-1"}
        assert names(Owners=["amazon"]) == {"eks-new"}
        arm = [{"Name": "architecture", "Values": ["arm64"]}, {"Name": "name", "Values": ["base-*"]}]
        assert names(Filters=arm) == {"base-arm"}
        created = aws.ec2.describe_images(ImageIds=[aws.image("base-1")])["Images"][0]["CreationDate"]
        assert created == "2026-10-01T06:00:00.000Z"

    def test_a_deprecated_image_of_another_owner_hides_unless_asked_for(self, aws: Aws) -> None:
        """``IncludeDeprecated``; the owner always sees its own.

        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ami-deprecate.html
        """
        listed = aws.ec2.describe_images(Owners=["amazon"], IncludeDeprecated=True)["Images"]
        assert {image["Name"]: image.get("DeprecationTime") for image in listed} == {
            "eks-old": "2025-01-01T00:00:00.000Z",
            "eks-new": None,
        }
        own = aws.ec2.register_image(Name="old-but-ours", Architecture="x86_64")["ImageId"]
        aws.ec2.enable_image_deprecation(ImageId=own, DeprecateAt="2026-01-01T00:00:00Z")
        shown = aws.ec2.describe_images(Owners=["self"], Filters=[{"Name": "image-id", "Values": [own]}])
        assert shown["Images"][0]["DeprecationTime"] == "2026-01-01T00:00:00.000Z"

    def test_a_wrong_architecture_does_not_launch(self, aws: Aws) -> None:
        """The activity names both architectures.

        https://docs.aws.amazon.com/autoscaling/ec2/userguide/ts-as-ami.html
        """
        template = aws.template("base-arm", "m6i.large")
        group = aws.group(1, settled=False, LaunchTemplate={"LaunchTemplateName": template})
        failed = until(lambda: aws.activities(group))[0]
        assert "does not match the architecture 'arm64' of the specified AMI" in failed["StatusMessage"]

    def test_running_a_missing_image_is_refused(self, aws: Aws) -> None:
        """InvalidAMIID.NotFound.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
        """
        asked = {"ImageId": "ami-0123456789abcdef0", "MinCount": 1, "MaxCount": 1}
        assert refusal(aws.ec2.run_instances, **asked)[0] == "InvalidAMIID.NotFound"


class TestLaunchTemplates:
    def test_a_new_version_inherits_from_its_source(self, aws: Aws) -> None:
        """SourceVersion: what is not given is taken from it.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateLaunchTemplateVersion.html
        """
        template = aws.template("base-1", "m6i.xlarge")
        made = aws.ec2.create_launch_template_version(
            LaunchTemplateName=template,
            SourceVersion="$Latest",
            LaunchTemplateData={"ImageId": aws.image("base-2")},
        )["LaunchTemplateVersion"]
        assert made["VersionNumber"] == 2
        assert made["LaunchTemplateData"]["InstanceType"] == "m6i.xlarge"
        assert made["LaunchTemplateData"]["ImageId"] == aws.image("base-2")

    def test_a_client_token_makes_a_repetition_harmless(self, aws: Aws) -> None:
        """The same token answers the same version; with other arguments it is refused.

        https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
        """
        asked = {"LaunchTemplateName": aws.template(), "SourceVersion": "1", "ClientToken": "run-7"}
        create = aws.ec2.create_launch_template_version
        first, again = (create(LaunchTemplateData={"InstanceType": "c6i.large"}, **asked) for _ in range(2))
        assert first["LaunchTemplateVersion"]["VersionNumber"] == 2
        assert again["LaunchTemplateVersion"] == first["LaunchTemplateVersion"]
        other = refusal(create, LaunchTemplateData={"InstanceType": "c6i.xlarge"}, **asked)
        assert other[0] == "IdempotentParameterMismatch"

    def test_more_than_fifteen_versions_are_listed(self, aws: Aws) -> None:
        """DescribeLaunchTemplateVersions answers up to 200 at once.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeLaunchTemplateVersions.html
        """
        template = aws.template()
        for _ in range(16):
            aws.ec2.create_launch_template_version(
                LaunchTemplateName=template, SourceVersion="1", LaunchTemplateData={}
            )
        found = aws.ec2.describe_launch_template_versions(LaunchTemplateName=template)
        assert len(found["LaunchTemplateVersions"]) == 17

    def test_run_instances_takes_a_templates_version(self, aws: Aws) -> None:
        """The instance is tagged with the version it came from.

        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-launch-templates.html
        """
        template = aws.template("base-2", "c6i.large")
        made = aws.ec2.run_instances(
            LaunchTemplate={"LaunchTemplateName": template, "Version": "$Latest"}, MinCount=1, MaxCount=1
        )["Instances"][0]
        assert (made["ImageId"], made["InstanceType"]) == (aws.image("base-2"), "c6i.large")
        tags = {tag["Key"]: tag["Value"] for tag in made["Tags"]}
        assert tags["aws:ec2launchtemplate:version"] == "1"
