"""The AWS account of a world in memory: its images, parameters, templates and groups, from their seeds."""

from __future__ import annotations

from typing import Any

from node_rotation.model import Image
from node_rotation.testing import seeds
from node_rotation.testing.autoscaling import AutoScaling
from node_rotation.testing.ec2 import Ec2, TemplateVersions, epoch, fake_id
from node_rotation.testing.managed_groups import ManagedGroups
from node_rotation.testing.managed_values import CUSTOM, Nodegroup
from node_rotation.testing.scaling_transitions import OWNER_AFTER
from node_rotation.testing.scaling_transitions import hook as hook_of
from node_rotation.testing.scaling_values import Group, GroupTag, LaunchSource, Override, Place, TemplateRef
from node_rotation.testing.targets import TargetGroup, Targets

AMAZON = "602401143452"
SILENT = ("never-joins", "joins-not-ready")


class Account:
    """Knows the seeds behind what EC2 and Auto Scaling hold.

    :param images: filled here, by image id.
    :param groups: filled here, by Auto Scaling group name.
    """

    def __init__(self, seed: seeds.WorldSeed, ec2: Ec2, scaling: AutoScaling, targets: Targets) -> None:
        self._seed, self._ec2, self._scaling, self._targets = seed, ec2, scaling, targets
        self.images: dict[str, seeds.Image] = {}
        self.groups: dict[str, seeds.Group] = {}

    def build(self) -> None:
        """Make everything the seed names; the machines boot from here on."""
        for image in self._seed.images:
            self.add_image(image)
        for parameter in self._seed.parameters:
            self.put_parameter(parameter)
        for targets in self._seed.target_groups:
            arn = self.target_group(targets.name)
            self._targets.create(TargetGroup(arn, targets.deregistration_delay, targets.healthy_after))
        for group in self._seed.groups:
            self.add_group(group)

    def asg(self, group: str) -> str:
        """The Auto Scaling group's name of a node group."""
        return f"{self._seed.cluster}-{group}"

    def target_group(self, name: str) -> str:
        """The ARN of a target group, by its name in the seed."""
        where = f"arn:aws:elasticloadbalancing:{self._seed.region}:{self._seed.account}"
        return f"{where}:targetgroup/{name}/{fake_id('tg', name)[3:]}"

    def answers(self, instance_id: str) -> bool:
        """Whether what runs on a machine answers the health checks of load balancers."""
        instance = self._ec2.found.get(instance_id)
        return instance is not None and self.images[instance.image_id].behaviour not in SILENT

    def image_id(self, name: str) -> str:
        """The id of an image, by its name in the seed.

        :raises ValueError: if the seed names no such image.
        """
        image_id = fake_id("ami", name)
        if image_id not in self.images:
            raise ValueError(f"There is no image {name!r} in the world.")
        return image_id

    def add_image(self, image: seeds.Image) -> str:
        """Publish an image; answers its id."""
        image_id = fake_id("ami", image.name)
        owner = {"self": self._seed.account, "amazon": AMAZON}.get(image.owner, image.owner)
        self.images[image_id] = image
        self._ec2.images[image_id] = Image.model_validate(
            {
                "id": image_id,
                "name": image.name,
                "owner": owner,
                "created": image.created,
                "architecture": image.architecture,
                "deprecated": image.deprecated,
            }
        )
        return image_id

    def put_parameter(self, parameter: seeds.Parameter) -> None:
        """Write an SSM parameter; undated, it is as old as its image."""
        image_id = self.image_id(parameter.image)
        written = epoch(parameter.modified or self.images[image_id].created)
        release = parameter.name.endswith("/release_version")
        self._ec2.put_parameter(parameter.name, self.images[image_id].release if release else image_id, written)

    def add_template_version(self, group: str, image: str) -> str:
        """Write a further version of a group's launch template; answers its number."""
        template = self._ec2.template_named(self.user_template(self.groups[self.asg(group)]))
        return template.add(self.image_id(image), self.groups[self.asg(group)].instance_type)

    def publish_next(self) -> None:
        """What comes out once the machines run: second template versions, and parameters that moved on."""
        for group in self._seed.groups:
            if group.next_image:
                self.add_template_version(group.name, group.next_image)
        for parameter in self._seed.parameters:
            self.put_parameter(parameter)

    def user_template(self, group: seeds.Group) -> str:
        """The launch template that users write: a managed group's own is EKS'."""
        name = self.asg(group.name)
        return f"{name}-user" if group.kind == "eks-managed" and group.ami_type == CUSTOM else name

    def add_nodegroups(self, eks: ManagedGroups) -> None:
        """Have EKS know its managed groups."""
        for group in (g for g in self._seed.groups if g.kind == "eks-managed"):
            template = self._ec2.template_named(self.user_template(group))
            ref = TemplateRef(template.id, template.name, "1") if group.ami_type == CUSTOM else None
            eks.create(
                Nodegroup(
                    cluster=self._seed.cluster,
                    name=group.name,
                    asg=self.asg(group.name),
                    ami_type=group.ami_type,
                    version=group.kubernetes,
                    release="" if ref else self.images[self.image_id(group.image)].release,
                    template=ref,
                    max_unavailable=group.max_unavailable,
                    max_unavailable_percentage=group.max_unavailable_percentage,
                    strategy=group.update_strategy,
                )
            )

    def add_group(self, group: seeds.Group) -> None:
        """Create an Auto Scaling group with its template."""
        name, image_id = self.asg(group.name), self.image_id(group.image)
        self.groups[name] = group
        template = TemplateVersions(name, fake_id("lt", name))
        self._ec2.templates[template.id] = template
        if (theirs := self.user_template(group)) != name:
            users = self._ec2.templates[fake_id("lt", theirs)] = TemplateVersions(theirs, fake_id("lt", theirs))
            users.add(image_id, group.instance_type)
        if group.resolve_ssm:  # the group starts on its own image, whatever the parameter says later
            self._ec2.put_parameter(group.resolve_ssm, image_id)
            template.add(f"resolve:ssm:{group.resolve_ssm}", group.instance_type)
        else:
            template.add(image_id, group.instance_type)
        self._scaling.create(
            Group(
                name=name,
                source=self._source(group, template),
                min_size=group.min,
                max_size=group.max,
                desired=group.desired,
                places=tuple(Place(f"{self._seed.region}{zone}") for zone in group.zones),
                tags={key: GroupTag(key, value, propagate=True) for key, value in self._tags(group).items()},
                new_instances_protected=group.new_instances_protected,
                attributes={
                    "TargetGroupARNs": [self.target_group(named) for named in group.target_groups],
                    "HealthCheckType": group.health_check,
                },
                hooks={hook.name: hook_of(told(hook)) for hook in group.hooks},
            )
        )

    def _tags(self, group: seeds.Group) -> dict[str, str]:
        cluster = self._seed.cluster
        tags = {f"kubernetes.io/cluster/{cluster}": "owned", "Name": self.asg(group.name)}
        if group.kind == "kops":
            role = "node" if group.role == "worker" else "control-plane"
            tags |= {
                "KubernetesCluster": cluster,
                "kops.k8s.io/instancegroup": group.name,
                f"k8s.io/role/{role}": "1",
            }
        return tags | dict(group.tags)

    def _source(self, group: seeds.Group, template: TemplateVersions) -> LaunchSource:
        if group.template == "launch_configuration":
            self._ec2.configurations[template.name] = (self.image_id(group.image), group.instance_type)
            return LaunchSource(configuration=template.name)
        ref = TemplateRef(template.id, template.name, group.version)
        overrides = tuple(
            Override(
                o.instance_type,
                o.weight or 1,
                TemplateRef(template.id, template.name, o.version) if o.version else None,
            )
            for o in group.overrides
        )
        return LaunchSource(template=ref, mixed=group.template == "mixed_instances", overrides=overrides)


def told(hook: seeds.Hook) -> dict[str, Any]:
    """A hook of a seed as PutLifecycleHook is told it."""
    return {
        "LifecycleHookName": hook.name,
        "LifecycleTransition": f"autoscaling:EC2_INSTANCE_{hook.transition.upper()}",
        "HeartbeatTimeout": hook.heartbeat,
        "DefaultResult": hook.result,
        OWNER_AFTER: hook.completes_after,
    }
