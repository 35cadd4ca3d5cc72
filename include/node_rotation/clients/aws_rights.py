"""What a rotation may do in an AWS account: asked, never tried for real."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from node_rotation.checkup.rights import Answer
from node_rotation.clients import aws_values as values
from node_rotation.clients.aws_calls import Calls
from node_rotation.clients.aws_errors import DENIED, translated

if TYPE_CHECKING:
    from node_rotation.world.aws import ScalingGroup

BALANCING = "elasticloadbalancing"
DRY_RUN = "DryRunOperation"
NOBODY = "i-00000000000000000"  # asked about where a group has no machine
NO_UPDATE = "00000000-0000-0000-0000-000000000000"  # asked about where EKS has never updated a group
Tries = Mapping[str, Callable[[], Any]]
"""Action → a call that tells whether it is allowed, and changes nothing."""


class Rights:
    """The rights of one identity in one account and region.

    EC2 answers ``DryRun`` with whether the call would be allowed, tags and conditions included. The others have no
    such thing: their reads are made, their changes are left to IAM's own simulator, if that may be asked.
    https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
    """

    def __init__(self, calls: Calls, region: str) -> None:
        self._calls, self._region = calls, region

    def identity(self) -> str:
        """The ARN that AWS takes us for."""
        with translated("sts", "GetCallerIdentity", f"our credentials in {self._region}"):
            return str(self._calls.sts.get_caller_identity()["Arn"])

    def may(self, actions: Sequence[str], group: ScalingGroup) -> Mapping[str, Answer]:
        """Whether these actions are allowed on a group, its machines, its template and its target groups."""
        tries = {**self._reads(group), **self._machine(group), **self._template(group), **self._targets(group)}
        told = {action: _answer(tries[action]) for action in actions if action in tries}
        by_service = {"autoscaling": f"autoScalingGroup:*:autoScalingGroupName/{group.name}", "ec2": "instance/*"}
        for service, resource in by_service.items():
            left = [action for action in actions if action not in tries and action.startswith(f"{service}:")]
            told |= self._simulated(left, service, resource, group.tags)
        left = [action for action in actions if action not in told]
        for target_group in group.target_groups:  # what is denied on one of them is denied
            found = self._simulated(left, BALANCING, target_group.split(":", 5)[5], {})
            told |= {action: answer for action, answer in found.items() if told.get(action) is not Answer.DENIED}
        return told

    def may_update(self, actions: Sequence[str], cluster: str, nodegroup: str) -> Mapping[str, Answer]:
        """Whether these actions of EKS are allowed on a managed node group."""
        tries = self._updates(cluster, nodegroup)
        told = {action: _answer(tries[action]) for action in actions if action in tries}
        told = {action: answer for action, answer in told.items() if answer is not Answer.UNKNOWN}
        left = [action for action in actions if action not in told]
        return {**told, **self._simulated(left, "eks", *self._nodegroup(cluster, nodegroup))}

    def may_record(self, actions: Sequence[str], path: str) -> Mapping[str, Answer]:
        """Whether these actions of SSM are allowed on the parameters below a path."""
        ssm = self._calls.ssm
        tries: Tries = {"ssm:GetParametersByPath": lambda: ssm.get_parameters_by_path(Path=path, MaxResults=1)}
        told = {action: _answer(tries[action]) for action in actions if action in tries}
        left = [action for action in actions if action not in tries]
        return {**told, **self._simulated(left, "ssm", f"parameter{path}/*", {})}

    def _reads(self, group: ScalingGroup) -> Tries:
        scaling, ec2, name = self._calls.autoscaling, self._calls.ec2, group.name
        named = {"AutoScalingGroupName": name}
        return {
            "autoscaling:DescribeAutoScalingGroups": lambda: scaling.describe_auto_scaling_groups(MaxRecords=1),
            "autoscaling:DescribeInstanceRefreshes": lambda: scaling.describe_instance_refreshes(**named),
            "autoscaling:DescribeLaunchConfigurations": lambda: scaling.describe_launch_configurations(MaxRecords=1),
            "autoscaling:DescribeLifecycleHooks": lambda: scaling.describe_lifecycle_hooks(**named),
            "autoscaling:DescribeScalingActivities": lambda: scaling.describe_scaling_activities(**named, MaxRecords=1),
            "autoscaling:DescribeWarmPool": lambda: scaling.describe_warm_pool(**named),
            "ec2:DescribeImages": lambda: ec2.describe_images(DryRun=True),
            "ec2:DescribeInstanceTypes": lambda: ec2.describe_instance_types(DryRun=True),
            "ec2:DescribeInstances": lambda: ec2.describe_instances(DryRun=True),
        }

    def _machine(self, group: ScalingGroup) -> Tries:
        ec2, machine = self._calls.ec2_once, group.members[0].instance_id if group.members else NOBODY
        protection = {"InstanceId": machine, "Attribute": "disableApiTermination", "DryRun": True}
        read = {"ec2:DescribeInstanceAttribute": lambda: ec2.describe_instance_attribute(**protection)}
        if not group.members:  # a machine that is not there has no tags: where they count, all would be denied
            return read
        tag = {"Resources": [machine], "Tags": [{"Key": "node-rotation/run", "Value": "doctor"}], "DryRun": True}
        return {
            **read,
            "ec2:CreateTags": lambda: ec2.create_tags(**tag),
            "ec2:DeleteTags": lambda: ec2.delete_tags(**tag),
            "ec2:TerminateInstances": lambda: ec2.terminate_instances(InstanceIds=[machine], DryRun=True),
        }

    def _template(self, group: ScalingGroup) -> Tries:
        if group.template.launch_configuration:
            return {}
        ec2, dry = self._calls.ec2_once, {**values.address(group.template), "DryRun": True}
        data = {"SourceVersion": "1", "LaunchTemplateData": {}}
        return {
            "ec2:DescribeLaunchTemplateVersions": lambda: ec2.describe_launch_template_versions(**dry),
            "ec2:CreateLaunchTemplateVersion": lambda: ec2.create_launch_template_version(**dry, **data),
            "ec2:ModifyLaunchTemplate": lambda: ec2.modify_launch_template(**dry, DefaultVersion="1"),
        }

    def _targets(self, group: ScalingGroup) -> Tries:
        if not group.target_groups:
            return {}
        balancing, asked = self._calls.elasticloadbalancing, {"TargetGroupArn": group.target_groups[0]}
        return {"elasticloadbalancing:DescribeTargetHealth": lambda: balancing.describe_target_health(**asked)}

    def _updates(self, cluster: str, nodegroup: str) -> Tries:
        eks, update = self._calls.eks, {"name": cluster, "nodegroupName": nodegroup}
        return {
            "eks:DescribeNodegroup": lambda: eks.describe_nodegroup(clusterName=cluster, nodegroupName=nodegroup),
            "eks:DescribeUpdate": lambda: eks.describe_update(**update, updateId=self._an_update(cluster, nodegroup)),
            "eks:ListUpdates": lambda: eks.list_updates(**update, maxResults=1),
        }

    def _an_update(self, cluster: str, nodegroup: str) -> str:
        try:
            found = self._calls.eks.list_updates(name=cluster, nodegroupName=nodegroup, maxResults=1)["updateIds"]
        except (ClientError, BotoCoreError):
            return NO_UPDATE
        return str(found[0]) if found else NO_UPDATE

    def _nodegroup(self, cluster: str, nodegroup: str) -> tuple[str, Mapping[str, str]]:
        """What its ARN says after the account, and its tags: conditions may ask for both."""
        try:
            found = self._calls.eks.describe_nodegroup(clusterName=cluster, nodegroupName=nodegroup)["nodegroup"]
        except (ClientError, BotoCoreError):
            return f"nodegroup/{cluster}/{nodegroup}/*", {}
        return found["nodegroupArn"].split(":", 5)[5], found.get("tags") or {}

    def _simulated(
        self, actions: Sequence[str], service: str, resource: str, tags: Mapping[str, str]
    ) -> Mapping[str, Answer]:
        if not actions:
            return {}
        partition, account, principal = _principal(self.identity())
        context = [
            {"ContextKeyName": f"aws:ResourceTag/{key}", "ContextKeyType": "string", "ContextKeyValues": [value]}
            for key, value in tags.items()
        ]
        try:
            answer = self._calls.iam.simulate_principal_policy(
                PolicySourceArn=principal,
                ActionNames=list(actions),
                ResourceArns=[f"arn:{partition}:{service}:{self._region}:{account}:{resource}"],
                ContextEntries=context,
            )
        except (ClientError, BotoCoreError):
            return dict.fromkeys(actions, Answer.UNKNOWN)
        decided = {r["EvalActionName"]: r["EvalDecision"] == "allowed" for r in answer["EvaluationResults"]}
        return {a: _YES_NO[decided[a]] if a in decided else Answer.UNKNOWN for a in actions}


_YES_NO = {True: Answer.ALLOWED, False: Answer.DENIED}


def _answer(call: Callable[[], Any]) -> Answer:
    try:
        call()
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        return Answer.ALLOWED if code == DRY_RUN else Answer.DENIED if code in DENIED else Answer.UNKNOWN
    except BotoCoreError:
        return Answer.UNKNOWN
    return Answer.ALLOWED


def _principal(identity: str) -> tuple[str, str, str]:
    """Partition, account, and whose policies count: of an assumed role those of the role."""
    _, partition, service, _, account, name = identity.split(":", 5)
    if service == "sts" and name.startswith("assumed-role/"):
        return partition, account, f"arn:{partition}:iam::{account}:role/{name.split('/')[1]}"
    return partition, account, identity
