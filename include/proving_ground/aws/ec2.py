"""EC2's API where moto acts at once or forgets: instances, images, launch template versions.

Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/
"""

# Each method is one AWS operation; its documentation is AWS' own.
# ruff: noqa: D102
from __future__ import annotations

import fnmatch
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from moto.ec2.responses import EC2Response

from node_rotation.testing.scaling_values import AwsFault, LaunchFailed, TemplateRef
from proving_ground.aws.images import iso, parse_time
from proving_ground.aws.physics import ActionResult, Physics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# moto stops after 15 without a token; AWS goes to 200.
_MOST_TEMPLATES = 200
_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


class Ec2Physics(Physics, EC2Response):  # type: ignore[misc]
    """Instead of moto's own."""

    def _perform(self, call: Any) -> Any:
        # Once it is allowed, a dry run is answered before anything else of the request is looked at, for every action.
        if str(call.parameters.get("DryRun", "")).lower() == "true":
            raise AwsFault("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
        return super()._perform(call)

    # Instances

    def run_instances(self) -> ActionResult:
        self.error_on_dryrun()
        asked = self.asked()
        if known := self._repeated(asked):
            return known
        template = self._template(asked)
        self._complete(template)
        self._check_capacity(asked, template)
        result = super().run_instances()
        self._remember(asked, result)
        reservation: Any = result.result
        for record in reservation.instances:
            self.world.machines.adopt(record)
        return result

    def terminate_instances(self) -> ActionResult:
        machines = self.world.machines
        for instance_id in self._ids():
            if machines.protected(instance_id):
                raise AwsFault(
                    "OperationNotPermitted",
                    f"The instance '{instance_id}' may not be terminated. Modify its 'disableApiTermination' "
                    "instance attribute and try again.",
                )
        return self._change("TerminatingInstances", lambda i: machines.terminate(i, lambda: None))

    def stop_instances(self) -> ActionResult:
        self._check_states("stopped", ("pending", "running", "stopping", "stopped"))
        return self._change("StoppingInstances", self.world.machines.stop)

    def start_instances(self) -> ActionResult:
        self._check_states("started", ("pending", "running", "stopped"))
        return self._change("StartingInstances", self.world.machines.start)

    def create_tags(self) -> ActionResult:
        # moto tags what does not exist.
        for resource in self.asked().get("Resources") or ():
            if resource.startswith("i-"):
                self.world.machines.state(resource)
        return super().create_tags()

    # Images

    def register_image(self) -> ActionResult:
        self.error_on_dryrun()
        asked = self.asked()
        image_id = self.world.images.register(
            asked["Name"],
            architecture=asked.get("Architecture") or "i386",
            tags={
                tag["Key"]: tag["Value"]
                for spec in asked.get("TagSpecifications") or ()
                if spec.get("ResourceType") == "image"
                for tag in spec.get("Tags") or ()
            },
        )
        self.world.images.record(image_id).description = asked.get("Description", "")
        return ActionResult({"ImageId": image_id})

    def describe_images(self) -> ActionResult:
        found: Any = super().describe_images().result
        asked = self.asked()
        dates = [f["Values"] for f in asked.get("Filters") or () if f["Name"] == "creation-date"]
        # A machine image that is asked for by its id is answered whatever its age.
        hidden = not asked.get("IncludeDeprecated") and not asked.get("ImageIds")
        images = [
            image
            for image in found["Images"]
            if all(_fits(iso(image.creation_date), patterns) for patterns in dates)
            and not (hidden and self._hidden(image))
        ]
        return ActionResult({"Images": images})

    def enable_image_deprecation(self) -> ActionResult:
        asked = self.asked()
        when = asked["DeprecateAt"]
        self.world.images.deprecate(asked["ImageId"], parse_time(str(when)))
        return ActionResult({"Return": True})

    def _filters_from_querystring(self) -> dict[str, Any]:
        filters: dict[str, Any] = super()._filters_from_querystring()
        if self._get_action() == "DescribeImages":
            # moto knows no creation-date and answers nothing at all when asked for it.
            filters.pop("creation-date", None)
        return filters

    def _hidden(self, image: Any) -> bool:
        when = self.world.images.deprecations.get(image.id)
        return when is not None and when <= datetime.now(UTC) and image.owner_id != self.current_account

    # Launch templates

    def create_launch_template(self) -> ActionResult:
        asked = self.asked()
        if known := self._repeated(asked):
            return known
        result = super().create_launch_template()
        # moto takes the template's own tags for tags of what is launched from it.
        data = self.world.machines.template(TemplateRef(template_name=asked["LaunchTemplateName"])).versions[0].data
        tagged = [spec for spec in data.pop("TagSpecifications", ()) if spec["ResourceType"] != "launch-template"]
        data.update({"TagSpecifications": tagged} if tagged else {})
        return self._remember(asked, result)

    def create_launch_template_version(self) -> ActionResult:
        asked = self.asked()
        if known := self._repeated(asked):
            return known
        if source := asked.get("SourceVersion"):
            ref = TemplateRef(asked.get("LaunchTemplateId"), asked.get("LaunchTemplateName"))
            inherited = self.world.machines.template(ref).get_version(source).data
            self.params["LaunchTemplateData"] = {**inherited, **asked.get("LaunchTemplateData", {})}
        return self._remember(asked, super().create_launch_template_version())

    def describe_launch_templates(self) -> ActionResult:
        self.params.setdefault("MaxResults", _MOST_TEMPLATES)
        return super().describe_launch_templates()

    def describe_launch_template_versions(self) -> ActionResult:
        self.params.setdefault("MaxResults", _MOST_TEMPLATES)
        result = super().describe_launch_template_versions()
        if self.asked().get("ResolveAlias"):
            found: Any = result.result
            for version in found["LaunchTemplateVersions"]:
                data = version["LaunchTemplateData"]
                version["LaunchTemplateData"] = {**data, "ImageId": self._resolve(data.get("ImageId", ""))}
        return result

    def _repeated(self, asked: Mapping[str, Any]) -> ActionResult | None:
        """The first answer, if this client token was seen before.

        Source: https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
        """
        known: tuple[Any, ActionResult] | None = self.world.answers.get(
            (self._get_action(), asked.get("ClientToken") or "")
        )
        if known is None:
            return None
        if known[0] != asked:
            raise AwsFault(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
            )
        return known[1]

    def _remember(self, asked: Mapping[str, Any], result: ActionResult) -> ActionResult:
        if token := asked.get("ClientToken"):
            self.world.answers[self._get_action(), token] = (asked, result)
        return result

    def _resolve(self, image: str) -> str:
        try:
            return self.world.images.resolve(image)
        except LaunchFailed as error:
            raise AwsFault("InvalidParameterValue", str(error)) from error

    def _template(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        spec = asked.get("LaunchTemplate")
        if not spec:
            return {}
        ref = TemplateRef(spec.get("LaunchTemplateId"), spec.get("LaunchTemplateName"))
        version = self.world.machines.template(ref).get_version(spec.get("Version") or "$Default")
        return dict(version.data)

    def _complete(self, template: Mapping[str, Any]) -> None:
        image_id = self._resolve(self.params.get("ImageId") or template.get("ImageId") or "")
        if image_id not in self.ec2_backend.amis:
            raise AwsFault("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
        self.params["ImageId"] = image_id
        # moto launches the minimum; AWS launches as many as it can, up to the maximum.
        self.params["MinCount"] = self.params.get("MaxCount") or 1

    def _check_capacity(self, asked: Mapping[str, Any], template: Mapping[str, Any]) -> None:
        machines = self.world.machines
        subnet = asked.get("SubnetId")
        named = (asked.get("Placement") or {}).get("AvailabilityZone") or f"{self.region}a"
        zone = machines.zone_of(subnet) if subnet else named
        instance_type = asked.get("InstanceType") or template.get("InstanceType") or "m1.small"
        if text := self.world.faults.capacity(instance_type, zone, ()):
            raise AwsFault("InsufficientInstanceCapacity", text, 500)

    def _ids(self) -> list[str]:
        self.error_on_dryrun()
        ids = list(self.asked().get("InstanceIds") or [])
        for instance_id in ids:
            self.world.machines.state(instance_id)
        return ids

    def _check_states(self, verb: str, allowed: tuple[str, ...]) -> None:
        for instance_id in self._ids():
            if self.world.machines.state(instance_id) not in allowed:
                raise AwsFault(
                    "IncorrectInstanceState",
                    f"This instance '{instance_id}' is not in a state from which it can be {verb}.",
                )

    def _change(self, key: str, act: Callable[[str], None]) -> ActionResult:
        changes = []
        for instance_id in self._ids():
            before = self.world.machines.state(instance_id)
            act(instance_id)
            changes.append(
                {
                    "InstanceId": instance_id,
                    "PreviousState": _state(before),
                    "CurrentState": _state(self.world.machines.state(instance_id)),
                }
            )
        return ActionResult({key: changes})


def _state(name: str) -> dict[str, Any]:
    return {"Name": name, "Code": _CODES[name]}


def _fits(text: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)
