"""EKS' managed node groups over HTTP: one method per operation; the state machine does the rest.

Source: https://docs.aws.amazon.com/eks/latest/APIReference/. Groups come from the scenario: CreateNodegroup is moto's
own and makes no Auto Scaling group.
"""

# Each method is one AWS operation; its documentation is AWS' own.
# ruff: noqa: D102
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from moto.core.exceptions import ServiceException

from node_rotation.managed.ami_types import AMI_TYPES
from node_rotation.testing.managed_values import Nodegroup, UpdateRecord
from node_rotation.testing.scaling_values import AwsFault, GroupChange, LaunchFailed, TemplateRef
from proving_ground.aws import arns
from proving_ground.aws.physics import ActionResult, Physics
from proving_ground.aws.scaling_shapes import moment

if TYPE_CHECKING:
    from node_rotation.testing.managed_groups import ManagedGroups
    from proving_ground.aws.world import AwsWorld

PATHS = (
    "{0}/clusters/(?P<name>[^/]+)/node-groups/(?P<nodegroupName>[^/]+)/update-version$",
    "{0}/clusters/(?P<name>[^/]+)/updates$",
    "{0}/clusters/(?P<name>[^/]+)/updates/(?P<updateId>[^/]+)$",
)
"""What moto's EKS does not route."""


class NodegroupPhysics(Physics):
    """For the groups that the scenario made; mixed in before moto's."""

    @property
    def _eks(self) -> ManagedGroups:
        return self.world.eks

    def describe_nodegroup(self) -> ActionResult:
        asked = self.asked()
        return ActionResult(
            {"nodegroup": self._nodegroup_shape(self._eks.group(asked["clusterName"], asked["nodegroupName"]))}
        )

    def list_nodegroups(self) -> ActionResult:
        cluster = self.asked()["clusterName"]
        return ActionResult({"nodegroups": sorted(name for found, name in self._eks.groups if found == cluster)})

    def update_nodegroup_version(self) -> ActionResult:
        asked = self.asked()
        update = self._eks.update_version(
            asked["clusterName"],
            asked["nodegroupName"],
            version=asked.get("version") or "",
            release=asked.get("releaseVersion") or "",
            template=_template(asked.get("launchTemplate")),
            force=bool(asked.get("force")),
            token=asked.get("clientRequestToken") or "",
        )
        return ActionResult({"update": _update_shape(update)})

    def update_nodegroup_config(self) -> ActionResult:
        asked = self.asked()
        config = asked.get("updateConfig") or {}
        update = self._eks.update_config(
            asked["clusterName"],
            asked["nodegroupName"],
            max_unavailable=config.get("maxUnavailable"),
            max_unavailable_percentage=config.get("maxUnavailablePercentage"),
            strategy=config.get("updateStrategy") or "",
            sizes=_sizes(asked.get("scalingConfig")),
            token=asked.get("clientRequestToken") or "",
        )
        return ActionResult({"update": _update_shape(update)})

    def describe_update(self) -> ActionResult:
        asked = self.asked()
        found = self._eks.update(asked["name"], asked.get("nodegroupName") or "", asked["updateId"])
        return ActionResult({"update": _update_shape(found)})

    def list_updates(self) -> ActionResult:
        asked = self.asked()
        found = self._eks.group(asked["name"], asked.get("nodegroupName") or "").updates
        return ActionResult({"updateIds": list(found)})

    def _nodegroup_shape(self, group: Nodegroup) -> dict[str, Any]:
        sizes = self.world.autoscaling.group(group.asg)
        found: dict[str, Any] = {
            "nodegroupName": group.name,
            "clusterName": group.cluster,
            "nodegroupArn": arns.nodegroup(self.region, self.current_account, group.cluster, group.name),
            "version": group.version,
            "status": group.status,
            "amiType": group.ami_type,
            "scalingConfig": {
                "minSize": sizes.min_size,
                "maxSize": sizes.max_size - group.surplus,
                "desiredSize": sizes.desired - group.surplus,
            },
            "resources": {"autoScalingGroups": [{"name": group.asg}]},
            "updateConfig": _config(group),
            "health": {"issues": [{"code": c, "message": m, "resourceIds": list(r)} for c, m, r in group.issues]},
        }
        if group.release:
            found["releaseVersion"] = group.release
        if group.template is not None:
            ref = group.template
            found["launchTemplate"] = {"id": ref.template_id, "name": ref.template_name, "version": ref.version}
        return found


class GroundTemplates:
    """``managed_values.Templates`` over this AWS' images, parameters and launch templates."""

    def __init__(self, world: AwsWorld) -> None:
        self._world = world

    def newest(self, ami_type: str, version: str) -> str:
        """The release of the image that AWS' parameter names; empty if there is none."""
        known = AMI_TYPES.get(ami_type)
        parameter = self._world.images.public.get(known.parameter(version)) if known else None
        return self._world.images.releases.get(parameter.values[-1][0], "") if parameter else ""

    def image_of(self, ami_type: str, version: str, release: str) -> str:
        """The image of a release version; :raises LookupError: if there is none."""
        known = AMI_TYPES[ami_type]
        for image_id, found in self._world.images.releases.items():
            record = self._world.images.record(image_id)
            right = known.release_in(version, record.name) and record.architecture == known.architecture
            if release and right and found == release:
                return image_id
        raise LookupError(release)

    def resolve(self, template: TemplateRef) -> tuple[str, str]:
        """The number and the image of a version of a user's launch template; :raises LookupError: if it is gone."""
        try:
            blueprint = self._world.machines.blueprint(template)
        except (LaunchFailed, ServiceException, AwsFault) as error:
            raise LookupError(str(error)) from error
        return blueprint.version or "", blueprint.image_id

    def relaunch(self, asg: str, image_id: str) -> None:
        """Write a version of EKS' own template, which the group launches at ``$Latest``. Not under the lock."""
        with self._world.lock:
            group = self._world.autoscaling.group(asg)
            launched = self._world.autoscaling.reconciler.blueprint(group)
        if launched.image_id == image_id:
            return
        try:
            self._world.client("ec2").create_launch_template_version(
                LaunchTemplateId=launched.template_id or "",
                SourceVersion="$Latest",
                LaunchTemplateData={"ImageId": image_id},
            )
        except ClientError as error:
            raise LookupError(str(error)) from error


def _config(group: Nodegroup) -> dict[str, Any]:
    found: dict[str, Any] = {"updateStrategy": group.strategy}
    if group.max_unavailable_percentage is not None:
        found["maxUnavailablePercentage"] = group.max_unavailable_percentage
    else:
        found["maxUnavailable"] = group.max_unavailable or 1
    return found


def _template(asked: Any) -> TemplateRef | None:
    if not asked:
        return None
    return TemplateRef(asked.get("id"), asked.get("name"), str(asked.get("version") or "$Default"))


def _sizes(asked: Any) -> GroupChange | None:
    if not asked:
        return None
    return GroupChange(min_size=asked.get("minSize"), max_size=asked.get("maxSize"), desired=asked.get("desiredSize"))


def _update_shape(update: UpdateRecord) -> dict[str, Any]:
    return {
        "id": update.id,
        "status": update.status,
        "type": update.type,
        "params": [{"type": kind, "value": value} for kind, value in update.params],
        "createdAt": moment(update.created_at),
        "errors": [{"errorCode": c, "errorMessage": m, "resourceIds": list(r)} for c, m, r in update.errors],
    }
