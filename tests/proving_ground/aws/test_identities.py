"""Roles that have a policy are held to it, by AWS' own calls: who may what on which of its objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.config import Config

from proving_ground.aws import request_log

from .support import REGION, Aws, refusal, until

ACCOUNT = "111122223333"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/held"
WHO = f"arn:aws:sts::{ACCOUNT}:assumed-role/held/tests"
TRUST = json.dumps({"Version": "2012-10-17", "Statement": []})
OWN, SEEDED = {"team": "own"}, "seeded-workers"
ONLY_OWN = {"StringEquals": {"aws:ResourceTag/team": "own"}}


def allow(action: str | list[str], resource: str | list[str] = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


@dataclass
class Held:
    """A role, and what it may at the moment."""

    aws: Aws

    def to(self, *statements: dict[str, Any]) -> None:
        document = {"Version": "2012-10-17", "Statement": [allow("ec2:DescribeSubnets"), *statements]}
        self.aws.client("iam").put_role_policy(RoleName="held", PolicyName="tests", PolicyDocument=json.dumps(document))

    def client(self, service: str) -> Any:
        assumed = self.aws.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="tests")["Credentials"]
        make: Any = boto3.client
        return make(
            service,
            endpoint_url=self.aws.server.endpoint,
            region_name=REGION,
            aws_access_key_id=assumed["AccessKeyId"],
            aws_secret_access_key=assumed["SecretAccessKey"],
            aws_session_token=assumed["SessionToken"],
            config=Config(proxies={}, retries={"total_max_attempts": 1}),
        )


@pytest.fixture
def held(aws: Aws) -> Iterator[Held]:
    iam = aws.client("iam")
    iam.create_role(RoleName="held", AssumeRolePolicyDocument=TRUST)
    yield Held(aws)
    for name in iam.list_role_policies(RoleName="held")["PolicyNames"]:
        iam.delete_role_policy(RoleName="held", PolicyName=name)
    iam.delete_role(RoleName="held")


@pytest.fixture
def machine(aws: Aws) -> Iterator[Callable[..., str]]:
    """Launch a machine with these tags; it is terminated afterwards."""
    launched: list[str] = []

    def launch(**tags: str) -> str:
        image = aws.ec2.describe_images(Owners=["self"])["Images"][0]["ImageId"]
        said = [{"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}]
        (made,) = aws.ec2.run_instances(
            ImageId=image,
            InstanceType="m6i.large",
            MinCount=1,
            MaxCount=1,
            **({"TagSpecifications": said} if tags else {}),
        )["Instances"]
        launched.append(made["InstanceId"])
        return launched[-1]

    yield launch
    aws.ec2.terminate_instances(InstanceIds=launched)


def asg(aws: Aws, name: str = SEEDED) -> str:
    return str(aws.shown(name)["AutoScalingGroupARN"])


def denied(action: str, resource: str = "") -> str:
    on = f" on resource: {resource}" if resource else ""
    why = f"because no identity-based policy allows the {action} action"
    return f"User: {WHO} is not authorized to perform: {action}{on} {why}"


def test_a_role_without_a_policy_may_do_everything(aws: Aws, held: Held) -> None:
    """A rule of the proving ground, so that nobody needs a policy who does not want to see one."""
    assert held.client("ec2").describe_instances(DryRun=False)["Reservations"]


def test_who_assumed_a_role_is_told_so(held: Held) -> None:
    """https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html: no permission is needed."""
    held.to()
    assert held.client("sts").get_caller_identity()["Arn"] == WHO


def test_every_service_refuses_in_its_own_way(aws: Aws, held: Held, machine: Callable[..., str]) -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html and each service's errors"""
    held.to()
    ec2, one = held.client("ec2"), machine()
    arn = f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/{one}"
    code, message, status = refusal(ec2.terminate_instances, InstanceIds=[one])
    assert (code, status) == ("UnauthorizedOperation", 403)
    assert message.startswith(
        f"You are not authorized to perform this operation. {denied('ec2:TerminateInstances', arn)}. "
        "Encoded authorization failure message: "
    )
    said = f"You are not authorized to perform this operation. {denied('ec2:DescribeInstances')}."
    assert refusal(ec2.describe_instances) == ("UnauthorizedOperation", said, 403)

    group = {"AutoScalingGroupName": SEEDED}
    said = denied("autoscaling:SuspendProcesses", asg(aws))
    assert refusal(held.client("autoscaling").suspend_processes, **group) == ("AccessDenied", said, 403)

    parameter = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/images/base/current"
    said = denied("ssm:GetParameter", parameter)
    ssm = held.client("ssm")
    assert refusal(ssm.get_parameter, Name="/images/base/current") == ("AccessDeniedException", said, 400)

    said = denied("eks:DescribeCluster", f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/dev")
    assert refusal(held.client("eks").describe_cluster, name="dev") == ("AccessDeniedException", said, 403)

    target_group = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/web/1234567890123456"
    said = denied("elasticloadbalancing:DeregisterTargets", target_group)
    asked = {"TargetGroupArn": target_group, "Targets": [{"Id": one}]}
    assert refusal(held.client("elbv2").deregister_targets, **asked) == ("AccessDenied", said, 403)

    assert request_log.mutations(aws.server.world.requests.path)[-1].outcome == "AccessDenied"


def test_a_dry_run_tells_what_the_call_would_be_told(held: Held, machine: Callable[..., str]) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_TerminateInstances.html, DryRun"""
    held.to(allow("ec2:TerminateInstances", Condition=ONLY_OWN))
    ours, others = machine(**OWN), machine(team="other")
    terminate = held.client("ec2").terminate_instances
    assert refusal(terminate, InstanceIds=[ours], DryRun=True)[0] == "DryRunOperation"
    assert refusal(terminate, InstanceIds=[others], DryRun=True)[0] == "UnauthorizedOperation"


def test_every_object_that_a_call_names_has_to_be_allowed(aws: Aws, held: Held, machine: Callable[..., str]) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_TerminateInstances.html: all or none"""
    held.to(allow("ec2:TerminateInstances", f"arn:aws:ec2:*:{ACCOUNT}:instance/*", Condition=ONLY_OWN))
    ours, others = machine(**OWN), machine(team="other")
    ec2 = held.client("ec2")
    assert others in refusal(ec2.terminate_instances, InstanceIds=[ours, others])[1]
    assert aws.state(ours) in ("pending", "running")
    ec2.terminate_instances(InstanceIds=[ours])


def test_a_machine_that_is_not_there_has_no_tags(held: Held) -> None:
    """AWS denies before it looks whether there is such a machine.

    https://github.com/aws/karpenter-provider-aws/issues/2100
    """
    held.to(allow("ec2:TerminateInstances", Condition=ONLY_OWN))
    terminate = held.client("ec2").terminate_instances
    assert refusal(terminate, InstanceIds=["i-00000000000000000"])[0] == "UnauthorizedOperation"


def test_tags_may_be_set_where_they_are_and_not_as_if_at_launch(held: Held, machine: Callable[..., str]) -> None:
    """ec2:CreateAction is there only while something is created.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/supported-iam-actions-tagging.html
    """
    at_launch = {"StringEquals": {"ec2:CreateAction": "RunInstances"}}
    held.to(allow("ec2:CreateTags", Condition=ONLY_OWN), allow("ec2:CreateTags", Condition=at_launch))
    ours, others = machine(**OWN), machine()
    tag, ec2 = held.client("ec2").create_tags, [{"Key": "team", "Value": "own"}]
    tag(Resources=[ours], Tags=ec2)
    assert refusal(tag, Resources=[others], Tags=ec2)[0] == "UnauthorizedOperation"


def test_groups_are_told_apart_by_name_and_by_tag(aws: Aws, held: Held) -> None:
    """https://docs.aws.amazon.com/autoscaling/ec2/userguide/control-access-using-iam.html"""
    tags = [{"Key": "team", "Value": "own", "PropagateAtLaunch": False}]
    ours, others = aws.group(1, Tags=tags), aws.group(1)
    actions = ["autoscaling:SuspendProcesses", "autoscaling:TerminateInstanceInAutoScalingGroup"]
    named = f"arn:aws:autoscaling:*:{ACCOUNT}:autoScalingGroup:*:autoScalingGroupName/group-*"
    held.to(allow([*actions, "autoscaling:CreateOrUpdateTags"], named, Condition=ONLY_OWN))
    scaling = held.client("autoscaling")
    scaling.suspend_processes(AutoScalingGroupName=ours, ScalingProcesses=["AZRebalance"])
    for name in (others, SEEDED):
        asked = {"AutoScalingGroupName": name, "ScalingProcesses": ["AZRebalance"]}
        assert asg(aws, name) in refusal(scaling.suspend_processes, **asked)[1]
    (machine,) = aws.ids(others)
    asked_of = {"InstanceId": machine, "ShouldDecrementDesiredCapacity": False}
    assert asg(aws, others) in refusal(scaling.terminate_instance_in_auto_scaling_group, **asked_of)[1]
    tag = {"ResourceId": others, "ResourceType": "auto-scaling-group", "PropagateAtLaunch": False, **tags[0]}
    assert asg(aws, others) in refusal(scaling.create_or_update_tags, Tags=[tag])[1]


def test_a_template_is_taken_for_a_group_only_by_who_may_launch_from_it(aws: Aws, held: Held) -> None:
    """With all that it brings: tags at launch, and the role of its profile. Auto Scaling names the template only.

    https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-launch-template-permissions.html
    """
    group, template, iam = aws.group(1), aws.template(), aws.client("iam")
    iam.create_role(RoleName="nodes", AssumeRolePolicyDocument=TRUST)
    iam.create_instance_profile(InstanceProfileName="nodes")
    iam.add_role_to_instance_profile(InstanceProfileName="nodes", RoleName="nodes")
    tags = [{"ResourceType": kind, "Tags": [{"Key": "a", "Value": "b"}]} for kind in ("instance", "volume")]
    data = {"IamInstanceProfile": {"Name": "nodes"}, "TagSpecifications": tags}
    aws.ec2.create_launch_template_version(LaunchTemplateName=template, SourceVersion="1", LaunchTemplateData=data)
    template_id = aws.ec2.describe_launch_templates(LaunchTemplateNames=[template])["LaunchTemplates"][0][
        "LaunchTemplateId"
    ]
    change = {
        "AutoScalingGroupName": group,
        "LaunchTemplate": {"LaunchTemplateName": template, "Version": "$Latest"},
    }
    from_a_template = {"ArnLike": {"ec2:LaunchTemplate": f"arn:aws:ec2:*:{ACCOUNT}:launch-template/*"}}
    kinds = [f"arn:aws:ec2:*:{ACCOUNT}:{kind}/*" for kind in ("instance", "volume")]
    needed = [
        allow("autoscaling:UpdateAutoScalingGroup"),
        allow("ec2:RunInstances", Condition=from_a_template),
        allow("ec2:CreateTags", kinds, Condition={"StringEquals": {"ec2:CreateAction": "RunInstances"}}),
        allow(
            "iam:PassRole",
            f"arn:aws:iam::{ACCOUNT}:role/nodes",
            Condition={"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
        ),
    ]
    update = held.client("autoscaling").update_auto_scaling_group
    for missing in range(1, len(needed)):
        held.to(*needed[:missing], *needed[missing + 1 :])
        said = f"You are not authorized to use launch template: {template_id}"
        assert refusal(update, **change) == ("AccessDenied", said, 403), missing
        update(AutoScalingGroupName=group, MaxSize=9)
    held.to(*needed)
    update(**change)
    run = held.client("ec2").run_instances
    bare = {"ImageId": aws.image("base-1"), "MinCount": 1, "MaxCount": 1}
    assert refusal(run, **bare)[0] == "UnauthorizedOperation", "the condition asks for a template"
    until(lambda: len(aws.members(group)) == 1)


def test_parameters_of_aws_belong_to_no_account(held: Held) -> None:
    """https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-public-parameters.html"""
    theirs = "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/standard/recommended/image_id"
    ssm = held.client("ssm")
    held.to(allow("ssm:GetParameter", f"arn:aws:ssm:*:{ACCOUNT}:parameter/*"))
    assert refusal(ssm.get_parameter, Name=theirs)[0] == "AccessDeniedException"
    assert ssm.get_parameter(Name="/images/base/current:1")["Parameter"]["Value"]
    held.to(allow("ssm:GetParameter", "arn:aws:ssm:*::parameter/aws/service/*"))
    assert ssm.get_parameter(Name=theirs)["Parameter"]["Value"]
    assert refusal(ssm.get_parameter, Name="/images/base/current")[0] == "AccessDeniedException"


def test_the_simulator_says_what_the_policy_says(held: Held) -> None:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html"""
    group = f"arn:aws:autoscaling:{REGION}:{ACCOUNT}:autoScalingGroup:*:autoScalingGroupName/a"
    held.to(allow("autoscaling:DetachInstances", Condition=ONLY_OWN), allow("iam:SimulatePrincipalPolicy", ROLE))
    told = {"ContextKeyName": "aws:ResourceTag/team", "ContextKeyType": "string", "ContextKeyValues": ["own"]}
    asked = {"PolicySourceArn": ROLE, "ActionNames": ["autoscaling:DetachInstances"], "ResourceArns": [group]}
    simulate = held.client("iam").simulate_principal_policy
    decided = [
        simulate(**asked, **more)["EvaluationResults"][0]["EvalDecision"] for more in ({}, {"ContextEntries": [told]})
    ]
    assert decided == ["implicitDeny", "allowed"]
    asked["PolicySourceArn"] = f"arn:aws:iam::{ACCOUNT}:role/another"
    assert refusal(simulate, **asked)[0] == "AccessDenied"


def test_a_policy_that_is_not_evaluated_is_refused_when_it_is_put(aws: Aws, held: Held) -> None:
    """A rule of the proving ground: nothing of a policy is passed over."""
    with pytest.raises(aws.client("iam").exceptions.MalformedPolicyDocumentException, match="StringLike"):
        held.to(allow("ec2:*", Condition={"StringLike": {"aws:ResourceTag/team": "*"}}))


def test_an_action_whose_resources_nobody_knows_is_told_and_not_guessed(held: Held) -> None:
    """A rule of the proving ground."""
    held.to()
    stop = held.client("ec2").stop_instances
    assert refusal(stop, InstanceIds=["i-00000000000000000"])[0] == "UnauthorizedOperation"
    held.to(allow("ec2:StopInstances"))
    code, message, _ = refusal(stop, InstanceIds=["i-00000000000000000"])
    assert code == "InternalFailure"
    assert "ec2:StopInstances, whose resources aws/demands.py does not know" in message
