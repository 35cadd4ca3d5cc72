"""What a rotation may do in an AWS account: asked, never tried for real."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from node_rotation.checkup.rights import LAUNCHES, Answer
from node_rotation.clients import aws_values as values
from node_rotation.clients.aws_calls import Calls
from node_rotation.clients.aws_errors import DENIED, translated

if TYPE_CHECKING:
    from node_rotation.world.aws import ScalingGroup, TemplateSpec

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
            told |= self._simulated(left, self._arn(service, resource), _tagged(group.tags))
        left = [action for action in actions if action not in told]
        for target_group in group.target_groups:  # what is denied on one of them is denied
            found = self._simulated(left, target_group, {})
            told |= {action: answer for action, answer in found.items() if told.get(action) is not Answer.DENIED}
        return told

    def may_launch(self, group: ScalingGroup) -> Mapping[str, Answer]:
        """Whether those of ``LAUNCHES`` that the group's templates call for are allowed."""
        told: dict[str, Answer] = {}
        for template in dict.fromkeys((group.template, *filter(None, group.overrides))):
            for action, answer in self._launching(template):
                told[action] = max(told.get(action, answer), answer, key=_WORST.index)
        return told

    def may_update(self, actions: Sequence[str], cluster: str, nodegroup: str) -> Mapping[str, Answer]:
        """Whether these actions of EKS are allowed on a managed node group."""
        tries = self._updates(cluster, nodegroup)
        told = {action: _answer(tries[action]) for action in actions if action in tries}
        told = {action: answer for action, answer in told.items() if answer is not Answer.UNKNOWN}
        left = [action for action in actions if action not in told]
        return {**told, **(self._simulated(left, *self._nodegroup(cluster, nodegroup)) if left else {})}

    def may_record(self, actions: Sequence[str], path: str) -> Mapping[str, Answer]:
        """Whether these actions of SSM are allowed on the parameters below a path."""
        ssm = self._calls.ssm
        tries: Tries = {"ssm:GetParametersByPath": lambda: ssm.get_parameters_by_path(Path=path, MaxResults=1)}
        told = {action: _answer(tries[action]) for action in actions if action in tries}
        left = [action for action in actions if action not in tries]
        return {**told, **self._simulated(left, self._arn("ssm", f"parameter{path}/*"), {})}

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

    def _launching(self, template: TemplateSpec) -> Iterator[tuple[str, Answer]]:
        """Each right that launching from a template needs, as often as it is needed."""
        versions = [template.version or values.DEFAULT_VERSION]
        try:
            found = self._calls.ec2.describe_launch_template_versions(**values.address(template), Versions=versions)
            (version,) = found["LaunchTemplateVersions"]
        except (ClientError, BotoCoreError, ValueError):
            yield from dict.fromkeys(LAUNCHES, Answer.UNKNOWN).items()
            return
        # Of what is launched: what is there before, subnets say, a policy may allow one by one.
        launched, data = self._arn("ec2", "instance/*"), version["LaunchTemplateData"]
        source = {"ec2:LaunchTemplate": self._arn("ec2", f"launch-template/{version['LaunchTemplateId']}")}
        yield from self._simulated(["ec2:RunInstances"], launched, source).items()
        for tagged in data.get("TagSpecifications") or ():
            kind = self._arn("ec2", f"{tagged['ResourceType']}/*")
            yield from self._simulated(["ec2:CreateTags"], kind, {"ec2:CreateAction": "RunInstances"}).items()
        if profile := data.get("IamInstanceProfile"):
            yield "iam:PassRole", self._may_pass(profile.get("Name") or profile["Arn"].rpartition("/")[2])

    def _may_pass(self, profile: str) -> Answer:
        """Whether EC2 may be given the role of an instance profile; only IAM knows which that is."""
        try:
            found = self._calls.iam.get_instance_profile(InstanceProfileName=profile)["InstanceProfile"]
            (role,) = found["Roles"]
        except (ClientError, BotoCoreError, ValueError):
            return Answer.UNKNOWN
        passed = {"iam:PassedToService": "ec2.amazonaws.com"}
        return self._simulated(["iam:PassRole"], role["Arn"], passed)["iam:PassRole"]

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
        """Its ARN and, as a context, its tags: conditions may ask for both."""
        try:
            found = self._calls.eks.describe_nodegroup(clusterName=cluster, nodegroupName=nodegroup)["nodegroup"]
        except (ClientError, BotoCoreError):
            return self._arn("eks", f"nodegroup/{cluster}/{nodegroup}/*"), {}
        return found["nodegroupArn"], _tagged(found.get("tags") or {})

    @cached_property
    def _asker(self) -> tuple[str, str, str]:
        return _principal(self.identity())

    def _arn(self, service: str, resource: str) -> str:
        partition, account, _ = self._asker
        return f"arn:{partition}:{service}:{self._region}:{account}:{resource}"

    def _simulated(self, actions: Sequence[str], resource: str, context: Mapping[str, str]) -> Mapping[str, Answer]:
        """What IAM's simulator says.

        :param resource: its ARN.
        :param context: condition keys with their values.
        """
        if not actions:
            return {}
        entries = [
            {"ContextKeyName": key, "ContextKeyType": "string", "ContextKeyValues": [value]}
            for key, value in context.items()
        ]
        _, _, principal = self._asker
        try:
            answer = self._calls.iam.simulate_principal_policy(
                PolicySourceArn=principal,
                ActionNames=list(actions),
                ResourceArns=[resource],
                ContextEntries=entries,
            )
        except (ClientError, BotoCoreError):
            return dict.fromkeys(actions, Answer.UNKNOWN)
        decided = {r["EvalActionName"]: r["EvalDecision"] == "allowed" for r in answer["EvaluationResults"]}
        return {a: _YES_NO[decided[a]] if a in decided else Answer.UNKNOWN for a in actions}


_YES_NO = {True: Answer.ALLOWED, False: Answer.DENIED}
_WORST = (Answer.ALLOWED, Answer.UNKNOWN, Answer.DENIED)


def _tagged(tags: Mapping[str, str]) -> dict[str, str]:
    return {f"aws:ResourceTag/{key}": value for key, value in tags.items()}


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
