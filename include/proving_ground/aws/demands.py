"""What a call asks IAM for: the resources that it names, with their tags.

Which action knows which resources and condition keys is the service authorization reference's:
https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from moto.core.exceptions import ServiceException
from moto.iam.models import iam_backends

from node_rotation.testing.scaling_values import TemplateRef
from proving_ground.aws import arns
from proving_ground.aws.images import PUBLIC
from proving_ground.aws.policies import Demand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from proving_ground.aws.world import AwsWorld

    Asked = Mapping[str, Any]
    Tags = Mapping[str, str]
    Named = Iterator[tuple[str, Tags]]

PREFIXES = {"elbv2": "elasticloadbalancing", "service-quotas": "servicequotas"}
"""IAM's name of a service whose API is called otherwise."""
NEEDS_NO_RIGHT = {"sts:GetCallerIdentity"}
_WITHOUT_RESOURCES = {
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:DescribeAutoScalingInstances",
    "autoscaling:DescribeInstanceRefreshes",
    "autoscaling:DescribeLaunchConfigurations",
    "autoscaling:DescribeLifecycleHooks",
    "autoscaling:DescribeScalingActivities",
    "autoscaling:DescribeTags",
    "autoscaling:DescribeWarmPool",
    "ec2:DescribeImages",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeInstances",
    "ec2:DescribeLaunchTemplateVersions",
    "ec2:DescribeLaunchTemplates",
    "ec2:DescribeSubnets",
    "elasticloadbalancing:DescribeTargetHealth",
}
_LAUNCHED = ("instance", "network-interface", "security-group", "subnet", "volume")
_KINDS = {"i": "instance", "lt": "launch-template", "vol": "volume"}
_ANY = "*"  # where a resource is named that is not there


def of_call(world: AwsWorld, service: str, operation: str, asked: Asked) -> tuple[Demand, ...] | None:
    """Every right that a call needs, its own first; None if this is no action whose resources are known here.

    Whoever calls holds the world's lock.

    :param service: as its API is called.
    :param asked: the call's parameters by their botocore names.
    """
    action = f"{PREFIXES.get(service, service)}:{operation}"
    if action in NEEDS_NO_RIGHT:
        return ()
    if action in _WITHOUT_RESOURCES:
        return (Demand(action),)
    if action == "ec2:RunInstances":
        return tuple(_launching(world, asked.get("LaunchTemplate")))
    if action not in _NAMED:
        return None
    return tuple(Demand(action, arn, _tagged(tags)) for arn, tags in _NAMED[action](world, asked))


def of_templates(world: AwsWorld, service: str, asked: Asked) -> dict[str, tuple[Demand, ...]]:
    """By launch template: what Auto Scaling makes sure of before it takes one for a group.

    https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-launch-template-permissions.html
    """
    if service != "autoscaling":
        return {}
    mixed = (asked.get("MixedInstancesPolicy") or {}).get("LaunchTemplate") or {}
    specs = [asked.get("LaunchTemplate"), mixed.get("LaunchTemplateSpecification")]
    specs += [override.get("LaunchTemplateSpecification") for override in mixed.get("Overrides") or ()]
    found = {}
    for spec in filter(None, specs):
        if record := _template(world, spec):
            found[str(record.id)] = tuple(_launching(world, spec))
    return found


def _launching(world: AwsWorld, spec: Asked | None) -> Iterator[Demand]:
    """What whoever launches machines must be allowed, and, from a template, what comes with it."""
    template = _template(world, spec) if spec else None
    context = {} if template is None else {"ec2:LaunchTemplate": _ec2(world, "launch-template", template.id)}
    for kind in _LAUNCHED:
        yield Demand("ec2:RunInstances", _ec2(world, kind, _ANY), context)
    yield Demand("ec2:RunInstances", f"arn:aws:ec2:{world.region}::image/{_ANY}", context)
    if template is None or spec is None:
        return
    (named,) = _ec2_by_id(world, [template.id])
    yield Demand("ec2:RunInstances", named[0], {**context, **_tagged(named[1])})
    try:
        data = template.get_version(spec.get("Version") or "$Default").data
    except ServiceException:  # no such version: the call itself will say so
        return
    for tagged in data.get("TagSpecifications") or ():
        created = _ec2(world, tagged["ResourceType"], _ANY)
        yield Demand("ec2:CreateTags", created, {"ec2:CreateAction": "RunInstances"})
    for role in _roles(world, data.get("IamInstanceProfile") or {}):
        yield Demand("iam:PassRole", role, {"iam:PassedToService": "ec2.amazonaws.com"})


def _roles(world: AwsWorld, profile: Asked) -> Iterator[str]:
    backend = iam_backends[world.account]["aws"]
    for known in backend.get_instance_profiles():
        if profile.get("Name") == known.name or profile.get("Arn") == known.arn:
            yield from (role.arn for role in known.roles)


def _tagged(tags: Tags) -> dict[str, str]:
    return {f"aws:ResourceTag/{key}": value for key, value in tags.items()}


# Auto Scaling


def _group(world: AwsWorld, name: str | None) -> tuple[str, Tags]:
    group = world.autoscaling.groups.get(name or "")
    if group is None:
        return arns.group(world.region, world.account, name or _ANY, unique=_ANY), {}
    return arns.group(world.region, world.account, group.name), {tag.key: tag.value for tag in group.tags.values()}


def _named_group(world: AwsWorld, asked: Asked) -> Named:
    yield _group(world, asked["AutoScalingGroupName"])


def _tagged_groups(world: AwsWorld, asked: Asked) -> Named:
    yield from (_group(world, name) for name in dict.fromkeys(tag["ResourceId"] for tag in asked["Tags"]))


def _group_of_machine(world: AwsWorld, asked: Asked) -> Named:
    machine = asked["InstanceId"]
    yield _group(world, next((g.name for g in world.autoscaling.groups.values() if machine in g.members), None))


# EC2


def _ec2(world: AwsWorld, kind: str, resource: str) -> str:
    return f"arn:aws:ec2:{world.region}:{world.account}:{kind}/{resource}"


def _ec2_by_id(world: AwsWorld, ids: Iterable[str]) -> Named:
    for resource in ids:
        yield _ec2(world, _KINDS[resource.split("-")[0]], resource), world.machines.tags_of(resource)


def _machines(world: AwsWorld, asked: Asked) -> Named:
    yield from _ec2_by_id(world, asked.get("InstanceIds") or [asked["InstanceId"]])


def _tagged_resources(world: AwsWorld, asked: Asked) -> Named:
    yield from _ec2_by_id(world, asked["Resources"])


def _template(world: AwsWorld, spec: Asked) -> Any:
    with suppress(ServiceException):
        return world.machines.template(TemplateRef(spec.get("LaunchTemplateId"), spec.get("LaunchTemplateName")))
    return None


def _named_template(world: AwsWorld, asked: Asked) -> Named:
    found = _template(world, asked)
    if found is None:
        yield _ec2(world, "launch-template", asked.get("LaunchTemplateId") or _ANY), {}
    else:
        yield from _ec2_by_id(world, [found.id])


# The others


def _parameter(world: AwsWorld, name: str) -> tuple[str, Tags]:
    account = "" if name.startswith(PUBLIC) else world.account
    return f"arn:aws:ssm:{world.region}:{account}:parameter/{name.split(':')[0].removeprefix('/')}", {}


def _parameters(world: AwsWorld, asked: Asked) -> Named:
    names = asked.get("Names") or [asked.get("Name") or asked["Path"]]
    yield from (_parameter(world, name) for name in names)


def _cluster(world: AwsWorld, asked: Asked) -> Named:
    yield f"arn:aws:eks:{world.region}:{world.account}:cluster/{asked['name']}", {}


def _nodegroup(world: AwsWorld, asked: Asked) -> Named:
    cluster = asked.get("clusterName") or asked["name"]
    yield arns.nodegroup(world.region, world.account, cluster, asked["nodegroupName"]), {}


def _updates(world: AwsWorld, asked: Asked) -> Named:
    yield from _cluster(world, asked)
    if asked.get("nodegroupName"):
        yield from _nodegroup(world, asked)


def _target_group(world: AwsWorld, asked: Asked) -> Named:
    yield asked["TargetGroupArn"], {}


def _quota(world: AwsWorld, asked: Asked) -> Named:
    quota = f"{asked['ServiceCode']}/{asked['QuotaCode']}"
    yield f"arn:aws:servicequotas:{world.region}:{world.account}:{quota}", {}


def _principal(world: AwsWorld, asked: Asked) -> Named:
    yield asked["PolicySourceArn"], {}


def _profile(world: AwsWorld, asked: Asked) -> Named:
    name = asked["InstanceProfileName"]
    known = (one.arn for one in iam_backends[world.account]["aws"].get_instance_profiles() if one.name == name)
    yield next(known, f"arn:aws:iam::{world.account}:instance-profile/{name}"), {}


def _role(world: AwsWorld, asked: Asked) -> Named:
    yield asked["RoleArn"], {}


_NAMED: dict[str, Callable[[AwsWorld, Asked], Named]] = {
    "autoscaling:AttachInstances": _named_group,
    "autoscaling:CreateAutoScalingGroup": _named_group,
    "autoscaling:CreateOrUpdateTags": _tagged_groups,
    "autoscaling:DeleteAutoScalingGroup": _named_group,
    "autoscaling:DeleteTags": _tagged_groups,
    "autoscaling:DetachInstances": _named_group,
    "autoscaling:ResumeProcesses": _named_group,
    "autoscaling:SuspendProcesses": _named_group,
    "autoscaling:TerminateInstanceInAutoScalingGroup": _group_of_machine,
    "autoscaling:UpdateAutoScalingGroup": _named_group,
    "ec2:CreateLaunchTemplateVersion": _named_template,
    "ec2:CreateTags": _tagged_resources,
    "ec2:DeleteTags": _tagged_resources,
    "ec2:DescribeInstanceAttribute": _machines,
    "ec2:ModifyLaunchTemplate": _named_template,
    "ec2:TerminateInstances": _machines,
    "eks:DescribeCluster": _cluster,
    "eks:DescribeNodegroup": _nodegroup,
    "eks:DescribeUpdate": _updates,
    "eks:ListUpdates": _updates,
    "eks:UpdateNodegroupVersion": _nodegroup,
    "elasticloadbalancing:DeregisterTargets": _target_group,
    "elasticloadbalancing:RegisterTargets": _target_group,
    "iam:GetInstanceProfile": _profile,
    "iam:SimulatePrincipalPolicy": _principal,
    "servicequotas:GetServiceQuota": _quota,
    "ssm:GetParameter": _parameters,
    "ssm:GetParameters": _parameters,
    "ssm:GetParametersByPath": _parameters,
    "ssm:PutParameter": _parameters,
    "sts:AssumeRole": _role,
}
