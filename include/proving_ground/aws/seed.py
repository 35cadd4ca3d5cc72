"""From a scenario to images, parameters, subnets, templates and groups, by AWS' own API."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from node_rotation.testing import seeds
from node_rotation.testing.account import told
from node_rotation.testing.managed_values import CUSTOM, Nodegroup
from node_rotation.testing.scaling_values import TemplateRef
from proving_ground.aws.images import RESOLVE

if TYPE_CHECKING:
    from proving_ground.aws.world import AwsWorld
    from proving_ground.scenario import Cluster, Image, NodeGroup, Override, Scenario, TargetGroup

_LAUNCH_DEADLINE_S = 60.0
_OWNED = "kubernetes.io/cluster/"


def seed(world: AwsWorld, scenario: Scenario) -> None:
    """Fill a world; every group's instances are launched, not yet booted, when this returns.

    :raises TimeoutError: if a group whose template is to change has not launched its instances in time.
    """
    _Seeder(world, scenario).run()


class _Seeder:
    def __init__(self, world: AwsWorld, scenario: Scenario) -> None:
        self._world, self._scenario = world, scenario
        self._ec2 = world.client("ec2")
        self._autoscaling = world.client("autoscaling")
        self._images: dict[str, str] = {}
        self._subnets: dict[str, str] = {}
        self._vpc = ""
        self._targets: dict[str, str] = {}
        self._balancers = world.client("elbv2")
        self._parameters = {p.name: p for p in scenario.parameters}

    def run(self) -> None:
        for image in self._scenario.images:
            self._images[image.name] = self._image(image)
        resolved = {g.resolve_ssm for c in self._scenario.clusters for g in c.groups if g.resolve_ssm}
        for name in self._parameters.keys() - resolved:
            self._point(name)
        self._network()
        for target_group in self._scenario.target_groups:
            self._targets[target_group.name] = self._target_group(target_group)
        for cluster in self._scenario.clusters:
            for group in cluster.groups:
                self._group(cluster, group)
        for name in self._parameters.keys() & resolved:
            self._point(name)

    def _image(self, image: Image) -> str:
        with self._world.lock:
            image_id = self._world.images.register(
                image.name,
                created=image.created,
                owner=image.owner,
                architecture=image.architecture,
                deprecated=image.deprecated,
                behaviour=image.behaviour,
                fails_after=image.fails_after,
                tags=image.tags,
            )
            if image.release:
                self._world.images.releases[image_id] = image.release
            return image_id

    def _point(self, name: str) -> None:
        parameter = self._parameters[name]
        self._world.point(name, self._images[parameter.image], parameter.modified)

    def _network(self) -> None:
        vpc = self._vpc = self._ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        letters = sorted({z for c in self._scenario.clusters for g in c.groups for z in g.zones})
        for number, letter in enumerate(letters):
            # A /20 per zone leaves room for thousands of machines.
            subnet = self._ec2.create_subnet(
                VpcId=vpc,
                CidrBlock=f"10.0.{16 * number}.0/20",
                AvailabilityZone=f"{self._scenario.region}{letter}",
            )
            self._subnets[letter] = subnet["Subnet"]["SubnetId"]

    def _target_group(self, target_group: TargetGroup) -> str:
        """A target group behind a load balancer of its own: without one its targets would be unused."""
        elb, name = self._balancers, target_group.name
        made = elb.create_target_group(Name=name, Protocol="TCP", Port=30080, VpcId=self._vpc)["TargetGroups"][0]
        arn = str(made["TargetGroupArn"])
        balancer = elb.create_load_balancer(Name=name, Type="network", Subnets=list(self._subnets.values()))
        elb.create_listener(
            LoadBalancerArn=balancer["LoadBalancers"][0]["LoadBalancerArn"],
            Protocol="TCP",
            Port=80,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": arn}],
        )
        with self._world.lock:  # the API takes whole seconds of delay, and no time of health checks
            record = self._world.targets.group(arn)
            record.delay_s, record.healthy_s = target_group.deregistration_delay, target_group.healthy_after
        return arn

    def _group(self, cluster: Cluster, group: NodeGroup) -> None:
        name = f"{cluster.name}-{group.name}"
        if group.resolve_ssm:
            self._world.point(group.resolve_ssm, self._images[group.image])
        source = (
            self._configuration(name, group)
            if group.template == "launch_configuration"
            else self._template(cluster, name, group)
        )
        self._autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=name,
            MinSize=group.min,
            MaxSize=group.max,
            DesiredCapacity=group.desired,
            VPCZoneIdentifier=",".join(self._subnets[letter] for letter in group.zones),
            NewInstancesProtectedFromScaleIn=group.new_instances_protected,
            TargetGroupARNs=[self._targets[name] for name in group.target_groups],
            HealthCheckType=group.health_check,
            Tags=[
                {
                    "ResourceId": name,
                    "ResourceType": "auto-scaling-group",
                    "Key": key,
                    "Value": value,
                    "PropagateAtLaunch": True,
                }
                for key, value in _tags(cluster, group).items()
            ],
            **source,
        )
        with self._world.lock:  # heartbeats shorter than AWS' API takes, for worlds in a hurry
            for hook in group.hooks:
                self._world.autoscaling.put_hook(name, told(seeds.Hook(**hook.model_dump())))
        if group.next_image or group.resolve_ssm:
            self._wait_launched(name, group.desired)
        if group.kind == "eks-managed":
            self._nodegroup(cluster, name, group)
        if group.next_image:
            self._next(name, group)

    def _nodegroup(self, cluster: Cluster, name: str, group: NodeGroup) -> None:
        """EKS' record; with AMI type CUSTOM there is a launch template of the user's beside EKS' own."""
        template = None
        if group.ami_type == CUSTOM:
            data = {"ImageId": self._images[group.image], "InstanceType": group.instance_type}
            answer = self._ec2.create_launch_template(
                LaunchTemplateName=f"{name}-user", LaunchTemplateData=data, TagSpecifications=_template_tags(cluster)
            )
            template = TemplateRef(answer["LaunchTemplate"]["LaunchTemplateId"], f"{name}-user", "1")
        with self._world.lock:
            self._world.eks.create(
                Nodegroup(
                    cluster=cluster.name,
                    name=group.name,
                    asg=name,
                    ami_type=group.ami_type,
                    version=group.kubernetes,
                    release="" if template else self._world.images.releases.get(self._images[group.image], ""),
                    template=template,
                    max_unavailable=group.max_unavailable,
                    max_unavailable_percentage=group.max_unavailable_percentage,
                    strategy=group.update_strategy,
                )
            )

    def _configuration(self, name: str, group: NodeGroup) -> dict[str, Any]:
        self._autoscaling.create_launch_configuration(
            LaunchConfigurationName=name,
            ImageId=self._images[group.image],
            InstanceType=group.instance_type,
        )
        return {"LaunchConfigurationName": name}

    def _template(self, cluster: Cluster, name: str, group: NodeGroup) -> dict[str, Any]:
        image = RESOLVE + group.resolve_ssm if group.resolve_ssm else self._images[group.image]
        self._ec2.create_launch_template(
            LaunchTemplateName=name,
            LaunchTemplateData={"ImageId": image, "InstanceType": group.instance_type},
            TagSpecifications=_template_tags(cluster),
        )
        spec = {"LaunchTemplateName": name, "Version": group.version}
        if group.template == "launch_template":
            return {"LaunchTemplate": spec}
        template: dict[str, Any] = {"LaunchTemplateSpecification": spec}
        if group.overrides:
            template["Overrides"] = [_override(name, override) for override in group.overrides]
        return {"MixedInstancesPolicy": {"LaunchTemplate": template}}

    def _next(self, name: str, group: NodeGroup) -> None:
        image = self._images[str(group.next_image)]
        if group.template != "launch_configuration":
            users = f"{name}-user" if group.kind == "eks-managed" and group.ami_type == CUSTOM else name
            self._ec2.create_launch_template_version(
                LaunchTemplateName=users, SourceVersion="1", LaunchTemplateData={"ImageId": image}
            )
            return
        # A launch configuration can't be changed: the group gets a second one.
        self._autoscaling.create_launch_configuration(
            LaunchConfigurationName=f"{name}-2", ImageId=image, InstanceType=group.instance_type
        )
        self._autoscaling.update_auto_scaling_group(AutoScalingGroupName=name, LaunchConfigurationName=f"{name}-2")

    def _wait_launched(self, name: str, desired: int) -> None:
        """What launches after the template has changed would be on the new image at once."""
        deadline = time.monotonic() + _LAUNCH_DEADLINE_S
        while time.monotonic() < deadline:
            with self._world.lock:
                if self._world.autoscaling.group(name).capacity() >= desired:
                    return
            time.sleep(0.05)
        raise TimeoutError(
            f"group {name} has not launched {desired} instances in {_LAUNCH_DEADLINE_S:.0f} s; look at the "
            "scenario's capacity faults"
        )


def _override(template: str, override: Override) -> dict[str, Any]:
    entry: dict[str, Any] = {"InstanceType": override.instance_type}
    if override.weight:
        entry["WeightedCapacity"] = str(override.weight)
    if override.version:
        entry["LaunchTemplateSpecification"] = {"LaunchTemplateName": template, "Version": override.version}
    return entry


def _template_tags(cluster: Cluster) -> list[dict[str, Any]]:
    """As docs/connections.md asks for them."""
    tags = [{"Key": f"{_OWNED}{cluster.name}", "Value": "owned"}]
    return [{"ResourceType": "launch-template", "Tags": tags}]


def _tags(cluster: Cluster, group: NodeGroup) -> dict[str, str]:
    tags = {f"{_OWNED}{cluster.name}": "owned", "Name": f"{cluster.name}-{group.name}"}
    if group.kind == "kops":
        role = "node" if group.role == "worker" else "control-plane"
        tags |= {
            "KubernetesCluster": cluster.name,
            "kops.k8s.io/instancegroup": group.name,
            f"k8s.io/role/{role}": "1",
        }
    return tags | group.tags
