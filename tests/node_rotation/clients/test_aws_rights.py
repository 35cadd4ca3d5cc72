"""Rights on managed node groups, target groups and the record of frozen images, against the proving ground's AWS."""

from __future__ import annotations

import json
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from tests.node_rotation.clients.holding import TRUST, filled, hold

from node_rotation.checkup.rights import (
    FREEZE_CHANGES,
    FREEZE_READS,
    LAUNCHES,
    MACHINE_CHANGES,
    NODEGROUP_ACTIONS,
    TARGET_ACTIONS,
    Answer,
    aws_actions,
)
from node_rotation.clearance.freeze import PATH
from node_rotation.clients.aws import AwsCloud
from node_rotation.clients.aws_account import AwsAccount
from node_rotation.clients.aws_models import share
from node_rotation.world.aws import ScalingGroup
from proving_ground.aws import request_log
from proving_ground.aws.server import AwsServer
from proving_ground.scenario import Fault

ACCOUNT = "410987654398"
RELEASE = "amazon-eks-node-al2023-x86_64-standard-1.36-v20261101"
NUMBERED = ("plain", "tagged")
SCENARIO = {
    "name": "rights",
    "account": ACCOUNT,
    "timing": {"boot": "50ms", "shutdown": "50ms", "reconcile": "50ms"},
    "images": [
        {"name": RELEASE, "created": "2026-11-01T06:00:00.000Z", "owner": "amazon", "release": "1.36.1-20261101"}
    ],
    "target_groups": [{"name": "dev-web"}],
    "clusters": [
        {
            "name": "dev",
            "environment": "dev",
            "groups": [
                {"name": name, "kind": "eks-managed", "image": RELEASE, "min": 0, "max": 2, "desired": 0}
                for name in ("workers", "updated")
            ]
            + [{"name": "served", "image": RELEASE, "min": 0, "max": 2, "desired": 0, "target_groups": ["dev-web"]}]
            + [{"name": name, "image": RELEASE, "version": "1", "min": 0, "max": 2, "desired": 0} for name in NUMBERED],
        }
    ],
}


@pytest.fixture
def session(server: AwsServer) -> boto3.Session:
    return share(
        boto3.Session(aws_access_key_id="rotation", aws_secret_access_key="unused", region_name=server.world.region)
    )


@pytest.fixture
def account(session: boto3.Session) -> AwsAccount:
    return AwsAccount(session)


def denied(server: AwsServer, action: str) -> None:
    service, operation = action.replace("elasticloadbalancing:", "elbv2:").split(":")
    fault = {"service": service, "action": operation, "code": "AccessDeniedException", "status": 403}
    server.world.faults.add(Fault.model_validate({"kind": "error", **fault}))


def those(answers: Any, answer: Answer) -> set[str]:
    return {action for action, found in answers.items() if found is answer}


def simulated(server: AwsServer, action: str) -> str:
    """What IAM's simulator was asked about last, for this action."""
    asked = [r.parameters for r in request_log.read(server.world.requests.path) if r.action.startswith("Simulate")]
    (resource,) = [parameters["ResourceArns"] for parameters in asked if action in parameters["ActionNames"]][-1]
    return str(resource)


@pytest.fixture
def tagged(session: boto3.Session) -> ScalingGroup:
    """A group whose template tags what it launches, and gives it a role of another name than the profile's."""
    iam, ec2 = session.client("iam"), session.client("ec2")
    with suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName="nodes", AssumeRolePolicyDocument=TRUST)
        iam.create_instance_profile(InstanceProfileName="eks-0abc", Path="/dev/")
        iam.add_role_to_instance_profile(InstanceProfileName="eks-0abc", RoleName="nodes")
    profile = iam.get_instance_profile(InstanceProfileName="eks-0abc")["InstanceProfile"]["Arn"]
    tags = [{"ResourceType": kind, "Tags": [{"Key": "team", "Value": "a"}]} for kind in ("instance", "volume")]
    data = {"IamInstanceProfile": {"Arn": profile}, "TagSpecifications": tags}
    template = {"LaunchTemplateName": "dev-tagged"}
    made = ec2.create_launch_template_version(**template, SourceVersion="1", LaunchTemplateData=data)
    version = str(made["LaunchTemplateVersion"]["VersionNumber"])
    session.client("autoscaling").update_auto_scaling_group(
        AutoScalingGroupName="dev-tagged", LaunchTemplate={**template, "Version": version}
    )
    return AwsCloud(session).groups(["dev-tagged"])["dev-tagged"]


def granted(action: str, resource: str) -> bool:
    """Whether docs/iam-policy.json allows an action on a resource of the cluster dev."""
    statements = [s for s in json.loads(filled(ACCOUNT))["Statement"] if action in s["Action"]]
    patterns = (p for s in statements for p in ([s["Resource"]] if isinstance(s["Resource"], str) else s["Resource"]))
    return any(fnmatchcase(resource, pattern) for pattern in patterns)


def test_all_rights_on_a_managed_group_are_told_and_it_is_not_updated(
    server: AwsServer, session: boto3.Session, account: AwsAccount
) -> None:
    answers = account.may_update(NODEGROUP_ACTIONS, "dev", "workers")
    assert answers == dict.fromkeys(NODEGROUP_ACTIONS, Answer.ALLOWED)
    assert granted("eks:UpdateNodegroupVersion", simulated(server, "eks:UpdateNodegroupVersion"))
    assert AwsCloud(session).managed_group("dev", "workers").in_flight is None


@pytest.mark.parametrize("action", NODEGROUP_ACTIONS)
def test_each_denial_of_eks_is_told(server: AwsServer, account: AwsAccount, action: str) -> None:
    denied(server, action)
    assert those(account.may_update(NODEGROUP_ACTIONS, "dev", "workers"), Answer.DENIED) == {action}


def test_a_group_that_may_not_be_described_is_still_asked_about_by_name(server: AwsServer, account: AwsAccount) -> None:
    for action in NODEGROUP_ACTIONS:
        denied(server, action)
    assert those(account.may_update(NODEGROUP_ACTIONS, "dev", "workers"), Answer.DENIED) == set(NODEGROUP_ACTIONS)
    assert granted("eks:UpdateNodegroupVersion", simulated(server, "eks:UpdateNodegroupVersion"))


def test_without_the_simulator_reads_stand_in_and_the_update_is_unknown(
    server: AwsServer, session: boto3.Session, account: AwsAccount
) -> None:
    cloud = AwsCloud(session)
    group = cloud.managed_group("dev", "updated")
    cloud.update_managed_group(group, release=group.release, force=False, token="doctor")
    denied(server, "iam:SimulatePrincipalPolicy")
    updated = account.may_update(NODEGROUP_ACTIONS, "dev", "updated")
    assert those(updated, Answer.UNKNOWN) == {"eks:UpdateNodegroupVersion"}
    never = account.may_update(NODEGROUP_ACTIONS, "dev", "workers")
    assert those(never, Answer.UNKNOWN) == {"eks:DescribeUpdate", "eks:UpdateNodegroupVersion"}


def test_all_rights_on_target_groups_are_told_and_nobody_is_taken_out(
    server: AwsServer, session: boto3.Session, account: AwsAccount
) -> None:
    group = AwsCloud(session).groups(["dev-served"])["dev-served"]
    assert set(TARGET_ACTIONS) <= set(aws_actions(group, image_step=False))
    assert account.may(TARGET_ACTIONS, group) == dict.fromkeys(TARGET_ACTIONS, Answer.ALLOWED)
    assert granted("elasticloadbalancing:DeregisterTargets", simulated(server, TARGET_ACTIONS[1]))
    changes = {r.action for r in request_log.mutations(server.world.requests.path)}
    assert not changes & {"DeregisterTargets", "RegisterTargets"}


@pytest.mark.parametrize("action", TARGET_ACTIONS)
def test_each_denial_of_load_balancing_is_told(
    server: AwsServer, session: boto3.Session, account: AwsAccount, action: str
) -> None:
    group = AwsCloud(session).groups(["dev-served"])["dev-served"]
    denied(server, action)
    assert those(account.may(TARGET_ACTIONS, group), Answer.DENIED) == {action}


def test_a_group_without_machines_is_asked_about_by_its_own_tags(session: boto3.Session) -> None:
    """A machine that is not there has no tags, so that a policy by tags would allow nothing on it."""
    held = hold(session, ACCOUNT)
    group = AwsCloud(held).groups(["dev-served"])["dev-served"]
    assert not group.members
    actions = aws_actions(group, image_step=True)
    assert set(MACHINE_CHANGES) <= set(actions)
    assert AwsAccount(held).may(actions, group) == dict.fromkeys(actions, Answer.ALLOWED)
    held = hold(session, ACCOUNT, "TerminateAndMarkMachinesOfThisCluster")
    assert those(AwsAccount(held).may(actions, group), Answer.DENIED) == set(MACHINE_CHANGES)


def test_all_that_launching_from_a_template_needs_is_allowed(session: boto3.Session, tagged: ScalingGroup) -> None:
    account = AwsAccount(hold(session, ACCOUNT))
    assert account.may_launch(tagged) == dict.fromkeys(LAUNCHES, Answer.ALLOWED)


@pytest.mark.parametrize("action", LAUNCHES)
def test_each_statement_without_which_auto_scaling_takes_no_template_is_missed(
    session: boto3.Session, tagged: ScalingGroup, action: str
) -> None:
    held = hold(session, ACCOUNT, LAUNCHES[action][0])
    assert those(AwsAccount(held).may_launch(tagged), Answer.DENIED) == {action}
    version = {"LaunchTemplateId": tagged.template.id, "Version": tagged.template.version}
    with pytest.raises(ClientError, match="not authorized to use launch template"):
        held.client("autoscaling").update_auto_scaling_group(AutoScalingGroupName=tagged.name, LaunchTemplate=version)


def test_a_role_that_may_be_no_node_s_is_missed_by_its_own_name(session: boto3.Session, tagged: ScalingGroup) -> None:
    """NODE_ROLE was filled in with the name of something else."""
    iam, account = session.client("iam"), AwsAccount(hold(session, ACCOUNT))
    policy = filled(ACCOUNT).replace("role/nodes", "role/eks-0abc")
    iam.put_role_policy(RoleName="node-rotation", PolicyName="published", PolicyDocument=policy)
    assert those(account.may_launch(tagged), Answer.DENIED) == {"iam:PassRole"}


def test_tags_and_role_are_asked_about_only_where_the_template_has_them(session: boto3.Session) -> None:
    plain = AwsCloud(session).groups(["dev-plain"])["dev-plain"]
    held = hold(session, ACCOUNT, *(LAUNCHES[action][0] for action in ("ec2:CreateTags", "iam:PassRole")))
    assert AwsAccount(held).may_launch(plain) == {"ec2:RunInstances": Answer.ALLOWED}
    version = {"LaunchTemplateId": plain.template.id, "Version": plain.template.version}
    held.client("autoscaling").update_auto_scaling_group(AutoScalingGroupName=plain.name, LaunchTemplate=version)


def test_a_role_that_nobody_tells_us_is_unknown(session: boto3.Session, tagged: ScalingGroup) -> None:
    account = AwsAccount(hold(session, ACCOUNT, "OnlyForTheDoctorToFindTheNodeRole"))
    assert those(account.may_launch(tagged), Answer.UNKNOWN) == {"iam:PassRole"}


def test_without_the_simulator_or_the_template_nobody_tells_about_launches(
    session: boto3.Session, tagged: ScalingGroup
) -> None:
    for statement in ("OnlyForTheDoctorToAskAboutItself", "LookAtEverything"):
        account = AwsAccount(hold(session, ACCOUNT, statement))
        assert account.may_launch(tagged) == dict.fromkeys(LAUNCHES, Answer.UNKNOWN)


def test_the_record_of_frozen_images_is_read_and_nothing_is_written_there(
    server: AwsServer, session: boto3.Session, account: AwsAccount
) -> None:
    actions = (*FREEZE_READS, *FREEZE_CHANGES)
    assert account.may_record(actions, PATH) == dict.fromkeys(actions, Answer.ALLOWED)
    assert granted("ssm:PutParameter", simulated(server, "ssm:PutParameter"))
    assert AwsCloud(session).parameters(PATH) == ()


@pytest.mark.parametrize("action", [*FREEZE_READS, *FREEZE_CHANGES])
def test_each_denial_of_the_record_is_told(server: AwsServer, account: AwsAccount, action: str) -> None:
    denied(server, action)
    assert those(account.may_record((*FREEZE_READS, *FREEZE_CHANGES), PATH), Answer.DENIED) == {action}


def test_without_the_simulator_writing_the_record_is_unknown(server: AwsServer, account: AwsAccount) -> None:
    denied(server, "iam:SimulatePrincipalPolicy")
    assert those(account.may_record((*FREEZE_READS, *FREEZE_CHANGES), PATH), Answer.UNKNOWN) == set(FREEZE_CHANGES)
